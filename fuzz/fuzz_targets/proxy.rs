//! PROXY protocol headers, versions 1 and 2: read the same in any pieces, the same when written again.
//! Input: the front of a connection.
//! The laws are in engine/wire/tests/laws/proxy.rs, where `cargo test` runs them too.
#![no_main]

#[path = "../../engine/wire/tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::proxy::hold(data));
