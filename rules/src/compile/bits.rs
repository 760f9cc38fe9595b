//! A truth value for each row of a group, with the two common cases free.

/// Truth values of `len` rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bits {
    /// No row.
    None,
    /// Every row.
    All,
    /// The rows whose bit is set; bits beyond the last row are clear.
    Some(Vec<u64>),
}

// === impl Bits ===

impl Bits {
    /// One bit a row.
    pub(crate) fn from_fn(len: usize, mut holds: impl FnMut(usize) -> bool) -> Self {
        let mut words = Vec::with_capacity(len.div_ceil(64));
        let mut any = 0;
        for start in (0..len).step_by(64) {
            let mut word = 0_u64;
            for bit in 0..(len - start).min(64) {
                word |= u64::from(holds(start + bit)) << bit;
            }
            any |= word;
            words.push(word);
        }
        if any == 0 { Self::None } else { Self::Some(words) }
    }

    pub(crate) fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (this, Self::All) => this,
            (Self::All, other) => other.clone(),
            (Self::Some(mut words), Self::Some(others)) => {
                let mut any = 0;
                for (word, other) in words.iter_mut().zip(others) {
                    *word &= other;
                    any |= *word;
                }
                if any == 0 { Self::None } else { Self::Some(words) }
            }
        }
    }

    pub(crate) fn or(self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (this, Self::None) => this,
            (Self::None, other) => other.clone(),
            (Self::Some(mut words), Self::Some(others)) => {
                for (word, other) in words.iter_mut().zip(others) {
                    *word |= other;
                }
                Self::Some(words)
            }
        }
    }

    pub(crate) fn not(self, len: usize) -> Self {
        match self {
            Self::None => Self::All,
            Self::All => Self::None,
            Self::Some(mut words) => {
                let mut any = 0;
                for (index, word) in words.iter_mut().enumerate() {
                    *word = !*word & mask(len, index);
                    any |= *word;
                }
                if any == 0 { Self::None } else { Self::Some(words) }
            }
        }
    }

    /// The rows that hold, ascending.
    pub(crate) fn rows(&self, len: usize) -> Vec<usize> {
        match self {
            Self::None => Vec::new(),
            Self::All => (0..len).collect(),
            Self::Some(words) => {
                let mut rows = Vec::new();
                for (index, &word) in words.iter().enumerate() {
                    let mut word = word;
                    while word != 0 {
                        rows.push(index * 64 + word.trailing_zeros() as usize);
                        word &= word - 1;
                    }
                }
                rows
            }
        }
    }
}

/// The bits of the `index`-th word that stand for rows.
fn mask(len: usize, index: usize) -> u64 {
    let bits = len.saturating_sub(index * 64);
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_are_row_wise_logic(rows in prop::collection::vec(any::<(bool, bool)>(), 1..200)) {
            let len = rows.len();
            let of = |get: fn(&(bool, bool)) -> bool| Bits::from_fn(len, |row| get(&rows[row]));
            let (a, b) = (of(|row| row.0), of(|row| row.1));
            let expect = |get: fn(&(bool, bool)) -> bool| (0..len).filter(|row| get(&rows[*row])).collect::<Vec<_>>();
            prop_assert_eq!(a.clone().and(&b).rows(len), expect(|row| row.0 && row.1));
            prop_assert_eq!(a.clone().or(&b).rows(len), expect(|row| row.0 || row.1));
            prop_assert_eq!(a.not(len).rows(len), expect(|row| !row.0));
        }
    }
}
