//! Processes: where they are born and how they end.
//!
//! **Job.** Start this very program again ([`again`]) and programs of others ([`spawn`], by way of [`exec`]); know when and
//! how they ended ([`running`], [`exit`]); hear what they write and say ([`output`], [`said`]); see where one listens
//! ([`listening`]); run one to its end, on a runtime ([`hook`]) or for a command that waits ([`tool`]); have programs started
//! beside us, one for each connection ([`zygote`]).
//! **Called by** `madang`, `roles/supervise`. **Calls** the kernel.
//!
//! Invariants
//! 1. A child gets no descriptor but those named: all of ours are close-on-exec.
//! 2. A process is held by its pidfd: a number that was used again is never taken for it.
//!
//! Not here: which programs there are and when they run (`roles/supervise`).

pub mod again;
pub mod cgroup;
pub mod cpu;
pub mod exec;
pub mod exit;
pub mod gate;
pub mod hook;
pub mod identity;
pub mod listening;
pub mod output;
pub mod port;
mod root;
pub mod running;
pub mod said;
pub mod spawn;
pub mod tool;
pub mod zygote;

/// What of the server's environment programs of the operator's have too.
pub const PASSED_ON: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
