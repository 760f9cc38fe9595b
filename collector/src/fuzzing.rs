//! The decoders of what comes from elsewhere, for `fuzz/run` alone.

/// A record of the kernel programs' ring.
pub fn kernel_record(bytes: &[u8]) {
    crate::syscalls::decoded(bytes);
}

/// A message of DNS, as a process sends it.
pub fn dns_message(bytes: &[u8]) {
    crate::syscalls::asked(bytes);
}

/// An event as the API server logs it.
pub fn audit_event(json: &[u8]) {
    crate::audit::read(json);
}

/// An alert as Falco posts it.
pub fn falco_alert(body: &[u8]) {
    let _ = crate::falco::row(body, "node", "cluster");
}
