//! What somebody shows to be let in: tokens of outside issuers and of ours, cookies' contents, keys, sets of keys, SCRAM's first words.
//! Input: a byte that chooses what the rest is (engine/identity/src/laws/mod.rs, `from_fuzz`); heads and claims are signed as they are.
//! The laws are there, too, where `cargo test` runs them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| madang_identity::laws::from_fuzz(data));
