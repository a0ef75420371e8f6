//! What the machine has left: disk and memory.
//!
//! **Job.** One look at each. **Reads** statvfs(3), /proc/meminfo. **Called by** `madang` (alerts). **Calls** the kernel.
//!
//! Invariants
//! 1. What cannot be read gives `None`, never a made-up number.
//!
//! Not here: this process (`process_facts`), whether it is enough (`roles/console`, `doctor`).

use std::path::Path;

use rustix::fs::statvfs;

use crate::process_facts::parse_kib;

/// So much of so much, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// What is left.
    pub bytes: u64,
    /// Of this.
    pub of: u64,
}

impl Left {
    /// Of 1000.
    pub fn permille(self) -> u64 {
        let permille = u128::from(self.bytes) * 1000 / u128::from(self.of.max(1));
        u64::try_from(permille).unwrap_or(1000).min(1000)
    }
}

/// What whoever is not root may still write where this folder lies; as df(1) counts it.
pub fn disk(folder: &Path) -> Option<Left> {
    let stat = statvfs(folder).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let of = (used + stat.f_bavail) * stat.f_frsize;
    (of > 0).then_some(Left { bytes: stat.f_bavail * stat.f_frsize, of })
}

/// Memory that programs can still get without anything going to swap.
pub fn memory() -> Option<Left> {
    read_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn read_memory(meminfo: &str) -> Option<Left> {
    Some(Left { bytes: parse_kib(meminfo, "MemAvailable")?, of: parse_kib(meminfo, "MemTotal")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_or_nothing() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:   4096 kB\n";
        let left = read_memory(text).unwrap();
        assert_eq!((left.bytes, left.of, left.permille()), (4 << 20, 16 << 20, 250));
        assert_eq!(read_memory("MemTotal: 16384 kB\n"), None);
        assert_eq!(Left { bytes: 5, of: 0 }.permille(), 1000);
        let here = disk(Path::new("/")).unwrap();
        assert!(here.bytes <= here.of);
        assert_eq!(disk(Path::new("/no/such/folder")), None);
        assert!(memory().unwrap().bytes > 0);
    }
}
