//! The question of a DNS message. Pure; any bytes give a question or none.

use std::fmt::Write;

/// Bytes of a message's header.
const HEADER: usize = 12;
/// The longest name there is, dots included.
const NAME_MAX: usize = 255;
/// A label's length has these bits unset; set ones refer to another place.
const POINTER_BITS: u8 = 0xc0;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The message's number.
    pub(super) id: u16,
    /// Without the last dot; `.` for the root. Bytes that are no letters, digits
    /// or the usual signs are written `\DDD`, as in zone files.
    pub(super) name: String,
    /// E.g. `A`, `AAAA`, or `TYPE65280`.
    pub(super) kind: String,
    /// `IN`, or e.g. `CH`, `CLASS9`.
    pub(super) class: String,
}

/// The first question of a query; an answer asks nothing.
pub(super) fn question(message: &[u8]) -> Option<Question> {
    let (header, mut rest) = message.split_first_chunk::<HEADER>()?;
    let [id_high, id_low, flags, _, count_high, count_low, ..] = *header;
    let is_answer = flags & 0x80 != 0;
    if is_answer || (count_high, count_low) == (0, 0) {
        return None;
    }
    let mut name = String::new();
    let mut bytes = 0;
    loop {
        let (length, after) = rest.split_first()?;
        rest = after;
        if *length == 0 {
            break;
        }
        // A first name has nothing before it to refer to.
        if length & POINTER_BITS != 0 {
            return None;
        }
        let (label, after) = rest.split_at_checked(usize::from(*length))?;
        rest = after;
        bytes += label.len() + 1;
        if bytes > NAME_MAX {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        label.iter().for_each(|byte| push(&mut name, *byte));
    }
    if name.is_empty() {
        name.push('.');
    }
    let [kind_high, kind_low, class_high, class_low] = *rest.first_chunk::<4>()?;
    Some(Question {
        id: u16::from_be_bytes([id_high, id_low]),
        name,
        kind: kind(u16::from_be_bytes([kind_high, kind_low])),
        class: class(u16::from_be_bytes([class_high, class_low])),
    })
}

fn push(name: &mut String, byte: u8) {
    match byte {
        b'.' | b'\\' => {
            name.push('\\');
            name.push(char::from(byte));
        }
        b'!'..=b'~' => name.push(char::from(byte)),
        byte => drop(write!(name, "\\{byte:03}")),
    }
}

fn kind(number: u16) -> String {
    let name = match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        number => return format!("TYPE{number}"),
    };
    name.to_owned()
}

fn class(number: u16) -> String {
    match number {
        1 => "IN".to_owned(),
        3 => "CH".to_owned(),
        4 => "HS".to_owned(),
        255 => "ANY".to_owned(),
        number => format!("CLASS{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(flags: u8, labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label);
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message
    }

    #[test]
    fn a_query_is_read() {
        let asked = question(&message(1, &[b"example", b"com"], 28)).unwrap();
        assert_eq!(
            asked,
            Question { id: 0x1234, name: "example.com".into(), kind: "AAAA".into(), class: "IN".into() }
        );
        assert_eq!(question(&message(1, &[], 2)).unwrap().name, ".");
        assert_eq!(question(&message(1, &[b"x"], 65280)).unwrap().kind, "TYPE65280");
        assert_eq!(question(&message(0x81, &[b"example"], 1)), None, "an answer");
    }

    #[test]
    fn strange_names_stay_readable() {
        let asked = question(&message(1, &[b"a.b\\", b"\x1b[1m\n\xff"], 1)).unwrap();
        assert_eq!(asked.name, "a\\.b\\\\.\\027[1m\\010\\255");
    }

    #[test]
    fn what_is_cut_or_refers_elsewhere_is_no_question() {
        let whole = message(1, &[b"example", b"com"], 1);
        for length in 0..whole.len() {
            assert_eq!(question(&whole[..length]), None, "{length} bytes");
        }
        let mut pointer = message(1, &[], 1);
        pointer[12] = 0xc0;
        assert_eq!(question(&pointer), None);
        let many: Vec<&[u8]> = vec![b"a"; 200];
        assert_eq!(question(&message(1, &many, 1)), None, "longer than a name may be");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_question_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(asked) = question(&bytes) {
                prop_assert!(asked.name.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(asked.name.len() <= 4 * NAME_MAX);
            }
        }
    }
}
