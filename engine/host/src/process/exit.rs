//! How a process ended, in words.
//!
//! **Job.** One type for every way to end. **Made by** `process`. **Read by** `roles/supervise`, people.
//!
//! Not here: waiting for it (`running`).

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It returned.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Its number (signal(7)).
        number: i32,
        /// It left a core dump.
        core: bool,
    },
    /// It used more memory than it may.
    OutOfMemory {
        /// What it may, in bytes.
        limit: Option<u64>,
    },
    /// It never ran.
    NotStarted(String),
    /// It ran before this server and was not its child: the kernel told its parent.
    Unknown,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(number)) => Self::Signal { number, core: status.core_dumped() },
            (None, None) => Self::Unknown,
        }
    }
}

impl Exit {
    /// Whether it did what it had to.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => {
                write!(f, "ended with code {code}")?;
                f.write_str(meaning(*code))
            }
            Self::Signal { number, core } => {
                write!(f, "was killed by signal {number}{}", name(*number))?;
                f.write_str(if *core { ", core dumped" } else { "" })
            }
            Self::OutOfMemory { limit } => {
                f.write_str("was killed by signal 9: the kernel's out-of-memory killer")?;
                match limit {
                    Some(limit) => write!(f, "; limit {}", mebibytes(*limit)),
                    None => Ok(()),
                }
            }
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::Unknown => f.write_str("ended; how is not known, because an earlier server had started it"),
        }
    }
}

/// What shells and systemd mean by a code.
const fn meaning(code: i32) -> &'static str {
    match code {
        126 => " (what it should run cannot be run)",
        127 => " (what it should run was not found)",
        _ => "",
    }
}

fn name(number: i32) -> &'static str {
    match number {
        1 => " (HUP)",
        2 => " (INT)",
        3 => " (QUIT)",
        4 => " (ILL: a bug or another processor's program)",
        6 => " (ABRT: it gave up itself)",
        7 => " (BUS: a bug or a full disk)",
        8 => " (FPE: a bug)",
        9 => " (KILL)",
        11 => " (SEGV: a bug)",
        13 => " (PIPE)",
        14 => " (ALRM)",
        15 => " (TERM)",
        24 => " (XCPU: more CPU time than it may)",
        25 => " (XFSZ: a larger file than it may)",
        31 => " (SYS: a system call that is forbidden)",
        _ => "",
    }
}

fn mebibytes(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mib => format!("{mib} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_told_in_words() {
        check(Exit::from(ExitStatus::from_raw(0)), "ended with code 0");
        check(
            Exit::from(ExitStatus::from_raw(127 << 8)),
            "ended with code 127 (what it should run was not found)",
        );
        check(Exit::from(ExitStatus::from_raw(9)), "was killed by signal 9 (KILL)");
        check(
            Exit::from(ExitStatus::from_raw(0x80 | 11)),
            "was killed by signal 11 (SEGV: a bug), core dumped",
        );
        check(
            Exit::OutOfMemory { limit: Some(128 << 20) },
            "was killed by signal 9: the kernel's out-of-memory killer; limit 128 MiB",
        );
        check(Exit::NotStarted("no such file".to_owned()), "could not be started: no such file");

        #[track_caller]
        fn check(exit: Exit, want: &str) {
            assert_eq!(exit.to_string(), want);
        }
    }
}
