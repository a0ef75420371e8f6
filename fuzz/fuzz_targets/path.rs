//! The canonical path: no dot segment, UTF-8, a fixed point, and what a naive reader makes of the same bytes.
//! Input: a path as sent.
//! The laws are in engine/wire/tests/laws/path.rs, where `cargo test` runs them too.
#![no_main]

#[path = "../../engine/wire/tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::path::hold(data));
