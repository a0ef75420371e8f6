//! Heads of HTTP/1 answers: read the same in any pieces, framed as a naive reader frames them, nothing of the hop kept.
//! Input: a byte that chooses the method and the limit, a byte that chooses the pieces, then what the server sent.
//! The laws are in engine/wire/tests/laws/answer.rs, where `cargo test` runs them too.
#![no_main]

#[path = "../../engine/wire/tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::answer::from_fuzz(data));
