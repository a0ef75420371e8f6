//! Which process: its number, when it began, in which life of the machine.
//!
//! **Job.** Name a process so that another one with the same number is never taken for it, over restarts of ours and of the
//! machine's. **Reads** /proc (proc_pid_stat(5), boot_id of random(4)). **Called by** `running`, `roles/supervise`.
//!
//! Not here: keeping it in a file (`roles/supervise`).

use serde::{Deserialize, Serialize};

use crate::process_facts::{parse_kib, parse_start_ticks};

/// A process, as a file can remember it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub number: u32,
    /// When it began, in clock ticks since the machine did.
    pub start_ticks: u64,
    /// Of this life of the machine.
    pub boot: String,
}

impl Identity {
    /// Of a process that runs now, or has ended and was not waited for yet.
    pub fn of(number: u32) -> Option<Self> {
        let start_ticks = parse_start_ticks(&std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?)?;
        Some(Self { number, start_ticks, boot: boot()? })
    }

    /// Whether that process is still the one of this number.
    pub fn is_there(&self) -> bool {
        Self::of(self.number).is_some_and(|now| now == *self)
    }
}

fn boot() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// Resident memory of a process in bytes.
pub fn resident_bytes(number: u32) -> Option<u64> {
    parse_kib(&std::fs::read_to_string(format!("/proc/{number}/status")).ok()?, "VmRSS")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: only the very same process is recognised. Method: ourselves, and ourselves with each part changed.
    #[test]
    fn another_process_of_the_same_number_is_not_taken_for_it() {
        let us = Identity::of(std::process::id()).unwrap();
        assert!(us.is_there());
        assert!(!Identity { start_ticks: us.start_ticks + 1, ..us.clone() }.is_there());
        assert!(!Identity { boot: "another".to_owned(), ..us.clone() }.is_there());
        assert!(!Identity { number: u32::MAX, ..us }.is_there());
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 16);
    }
}
