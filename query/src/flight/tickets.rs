//! Tickets: what GetFlightInfo gives out and DoGet takes.
//!
//! ```text
//!   version │ handle │ expires │ whose │ statement │ signature
//!      1    │   16   │    8    │  32   │     …     │    32      bytes
//! ```
//!
//! A ticket is no secret and no right: whoever presents it must have logged in,
//! and be the one it was made for. Its signature keeps others from making one
//! that names him as its maker. The key lives as long as the process.

use ring::hmac;

/// How long a ticket counts, seconds.
const TTL_S: i64 = 3_600;
const VERSION: u8 = 1;
const HANDLE: std::ops::Range<usize> = 1..17;
const EXPIRES: std::ops::Range<usize> = 17..25;
const OWNER: std::ops::Range<usize> = 25..57;
const SIGNATURE_BYTES: usize = 32;

/// Makes tickets and knows its own.
pub(super) struct Tickets {
    key: hmac::Key,
}

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticket {
    /// What its query is cancelled by.
    pub(super) handle: u128,
    pub(super) sql: String,
}

// === impl Tickets ===

impl Tickets {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// A ticket for one principal, given by its fingerprint.
    pub(super) fn make(&self, ticket: &Ticket, owner: &[u8; 32], now_s: i64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(OWNER.end + ticket.sql.len() + SIGNATURE_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&ticket.handle.to_be_bytes());
        bytes.extend_from_slice(&now_s.saturating_add(TTL_S).to_be_bytes());
        bytes.extend_from_slice(owner);
        bytes.extend_from_slice(ticket.sql.as_bytes());
        let signature = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(signature.as_ref());
        bytes
    }

    /// What a ticket stands for; `None` if it was not made here, for somebody
    /// else, or too long ago.
    pub(super) fn read(&self, bytes: &[u8], owner: &[u8; 32], now_s: i64) -> Option<Ticket> {
        let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        hmac::verify(&self.key, signed, signature).ok()?;
        let expires = i64::from_be_bytes(signed.get(EXPIRES)?.try_into().ok()?);
        let current = *signed.first()? == VERSION && now_s < expires;
        if !current || signed.get(OWNER)? != owner {
            return None;
        }
        Some(Ticket {
            handle: u128::from_be_bytes(signed.get(HANDLE)?.try_into().ok()?),
            sql: std::str::from_utf8(signed.get(OWNER.end..)?).ok()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANNA: [u8; 32] = [1; 32];
    const BEN: [u8; 32] = [2; 32];

    fn tickets() -> Tickets {
        Tickets::new(&[7; 32])
    }

    #[test]
    fn a_ticket_counts_for_its_asker_here_and_for_an_hour() {
        let ticket = Ticket { handle: 5, sql: "SELECT 'ü'".into() };
        let bytes = tickets().make(&ticket, &ANNA, 1_000);
        assert_eq!(tickets().read(&bytes, &ANNA, 1_000 + TTL_S - 1), Some(ticket));
        assert_eq!(tickets().read(&bytes, &ANNA, 1_000 + TTL_S), None, "it has expired");
        assert_eq!(tickets().read(&bytes, &BEN, 1_000), None, "it is somebody else's");
        assert_eq!(
            Tickets::new(&[8; 32]).read(&bytes, &ANNA, 1_000),
            None,
            "it was signed by another process"
        );
    }

    proptest! {
        #[test]
        fn no_change_of_a_ticket_is_accepted(sql in ".{0,40}", at: prop::sample::Index, bits in 1u8..) {
            let mut bytes = tickets().make(&Ticket { handle: 1, sql }, &ANNA, 0);
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            prop_assert_eq!(tickets().read(&bytes, &ANNA, 0), None);
            bytes.truncate(at);
            prop_assert_eq!(tickets().read(&bytes, &ANNA, 0), None);
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(tickets().read(&bytes, &ANNA, 0), None);
        }
    }
}
