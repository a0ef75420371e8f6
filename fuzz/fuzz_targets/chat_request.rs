//! Requests of the chat's JSON protocol: what the schema takes is read, what it does not take is refused.
//! The laws are in roles/chat/src/protocol/laws.rs, where `cargo test` runs them too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| madang_chat::protocol::laws::from_fuzz(data));
