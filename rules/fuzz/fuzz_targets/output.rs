#![no_main]

#[path = "../harness.rs"]
#[allow(dead_code, reason = "each target calls one of its functions")]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::output(data));
