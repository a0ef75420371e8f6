//! Heads of HTTP/1 requests: read the same in any pieces, canonical once accepted, the same when written again.
//! Input: a byte that chooses TLS and limits, a byte that chooses the pieces, then what was sent.
//! The laws are in engine/wire/tests/laws/head.rs, where `cargo test` runs them too.
#![no_main]

#[path = "../../engine/wire/tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::head::from_fuzz(data));
