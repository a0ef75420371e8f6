//! IRC lines: the same in any pieces, the same when written again; whatever is written is one line.
//! Input: the first byte says in which pieces the rest arrives.
//! The laws are in engine/wire/tests/laws/irc.rs, where `cargo test` runs them too.
#![no_main]

#[path = "../../engine/wire/tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::irc::from_fuzz(data));
