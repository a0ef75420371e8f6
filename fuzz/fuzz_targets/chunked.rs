//! Chunked bodies: read the same in any pieces, and as a naive reader does; trailers bounded.
//! Input: a byte that chooses the pieces, then the body.
//! The laws are in engine/wire/tests/laws/chunked.rs, where `cargo test` runs them too.
#![no_main]

#[path = "../../engine/wire/tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::chunked::from_fuzz(data));
