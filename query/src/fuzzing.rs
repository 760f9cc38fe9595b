//! What reads statements and parameters, for `fuzz/run` alone.

use crate::{Role, gate};

/// A statement, by every way.
pub fn statement(text: &str) {
    for role in [Role::Admin, Role::Tenant] {
        let _ = gate::admit(role, text);
    }
    crate::pgwire::read(text);
}

/// A parameter in PostgreSQL's protocol: a byte for its type, a byte for its format, its bytes.
pub fn parameter(data: &[u8]) {
    if let [kind, format, bytes @ ..] = data {
        crate::pgwire::read_parameter(usize::from(*kind), *format, bytes);
    }
}
