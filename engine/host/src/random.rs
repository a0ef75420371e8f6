//! Random bytes from the kernel.
//!
//! **Job.** Secrets and seeds. **Called by** `madang`. **Calls** getrandom(2).
//!
//! Not here: numbers drawn from a seed (each state machine has its own).

use std::io;

/// Thirty-two bytes nobody can guess.
pub fn secret() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// A seed that differs from start to start.
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the seed is 0: worse spread, nothing else.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
