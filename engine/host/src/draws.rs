//! Numbers drawn from a seed.
//!
//! **Job.** Make many well spread numbers of one that was handed in. **Called by** the state machines
//! of the roles, each with its own.
//!
//! This is SplitMix64 (Steele, Lea, Flood 2014): one addition and two multiplications a number, and any seed will do.
//! These numbers can be guessed by whoever sees a few of them: no secret is made of them.
//!
//! Not here: where seeds come from (`random`, or a test).

use std::time::Duration;

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    /// A stream from this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    #[allow(clippy::should_implement_trait)] // an iterator that never ends would invite `collect`
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `end`, without it; 0 when `end` is 0. By multiplication: the bias is below `end / 2^64`.
    pub const fn below(&mut self, end: u64) -> u64 {
        ((self.next() as u128 * end as u128) >> 64) as u64
    }

    /// From nothing to `longest`.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }

    /// `middle` give or take a tenth.
    pub fn around(&mut self, middle: Duration) -> Duration {
        middle - middle / 10 + self.up_to(middle / 5)
    }
}
