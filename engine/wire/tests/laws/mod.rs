//! What must hold for any bytes whatever: the laws of the parsers of `wire`.
//!
//! **Job.** State each law once. `tests/properties.rs` feeds them generated values and the kept corpora, the targets in
//! `fuzz/fuzz_targets` feed them what libFuzzer finds. A law that is broken panics.
//!
//! Not here: single cases with their known answers (`tests/corpus`, the unit tests).
#![allow(dead_code, unreachable_pub)] // each fuzz target uses one law
#![allow(clippy::unwrap_used, clippy::panic)] // a broken law stops the run: that is how it is told

pub mod answer;
pub mod chunked;
pub mod client_hello;
pub mod head;
pub mod irc;
pub mod path;
pub mod proxy;
pub mod websocket;

/// The lengths of the pieces in which bytes arrive. Endless; the same seed gives the same pieces.
#[derive(Clone, Copy)]
pub struct Pieces {
    state: u32,
    longest: u32,
}

impl Pieces {
    /// Seed 0: byte by byte. Others: pieces of 1 to `seed` bytes.
    pub fn new(seed: u8) -> Self {
        Self { state: u32::from(seed) | 1 << 16, longest: u32::from(seed.max(1)) }
    }
}

impl Iterator for Pieces {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        // Numerical Recipes' generator: any will do that hits every length.
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from((self.state >> 16) % self.longest + 1).ok()
    }
}
