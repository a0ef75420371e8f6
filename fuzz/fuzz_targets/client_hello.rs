//! ClientHellos of TLS: read the same in any pieces and records, an answer within the most that is read.
//! Input: a byte that chooses the pieces, then the connection's beginning.
//! The laws are in engine/wire/tests/laws/client_hello.rs, where `cargo test` runs them too.
#![no_main]

#[path = "../../engine/wire/tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::client_hello::from_fuzz(data));
