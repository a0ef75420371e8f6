//! A client's websocket frames: read the same in any pieces, and as a naive reader does; bounded; ours read as they were meant.
//! Input: a byte that chooses the pieces, one that chooses the limit of a message, then the frames.
//! The laws are in engine/wire/tests/laws/websocket.rs, where `cargo test` runs them too.
#![no_main]

#[path = "../../engine/wire/tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::websocket::from_fuzz(data));
