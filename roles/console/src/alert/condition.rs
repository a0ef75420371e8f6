//! What an alert watches: `when`, read and judged.
//!
//! **Job.** Read the text of `when`; say of one fact whether it is bad by it. Pure. **Called by** `config`, `rules`.
//!
//! Invariants
//! 1. Nothing is judged from what is not known: then what was so stays so.
//! 2. A number that was too small has to grow a tenth beyond its bound before all is well: no flapping at the edge.
//!
//! Not here: when somebody is told (`rules`).

use std::fmt;
use std::time::Duration;

use madang_settings::unit::{self, show_duration};

use super::fact::Fact;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// An app ended too often, nothing starts it any more.
    AppFailed,
    /// An app's instances ended unasked more often than this.
    AppRestarts {
        /// More than so many.
        over: u32,
        /// In this time.
        within: Duration,
    },
    /// No instance of an app that should run is ready.
    AppNotReady {
        /// For so long.
        for_: Duration,
    },
    /// A new version of an app was not well and the old one goes on.
    DeployTakenBack,
    /// No server of a pool is up.
    PoolDown {
        /// For so long.
        for_: Duration,
    },
    /// A server of a pool is down.
    ServerDown {
        /// For so long.
        for_: Duration,
    },
    /// A certificate ends soon.
    CertificateExpires {
        /// In less than this.
        within: Duration,
    },
    /// The data folder's file system is nearly full.
    DiskUnder {
        /// Percent free, 1 to 99.
        percent: u32,
    },
    /// The machine's memory is nearly used up.
    MemoryUnder {
        /// Percent available, 1 to 99.
        percent: u32,
    },
}

/// What `of` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Apps.
    Apps,
    /// Pools.
    Pools,
    /// Sites and streams.
    Sites,
    /// The machine has no names.
    Nothing,
}

/// What may be written, for those who wrote something else.
pub const KNOWN: [&str; 9] = [
    "app failed",
    "app restarts over 5 in 10m",
    "app not ready for 30s",
    "deploy taken back",
    "pool down",
    "server down",
    "certificate expires in 14d",
    "disk under 10 %",
    "memory under 5 %",
];

impl Condition {
    /// Reads `when`. `None`: it is none of [`KNOWN`].
    pub fn parse(text: &str) -> Option<Self> {
        // "10 %" and "10%" are the same.
        let text = text.replace('%', " % ");
        let words: Vec<&str> = text.split_whitespace().collect();
        let percent = |text: &str| text.parse().ok().filter(|percent| (1..=99).contains(percent));
        Some(match words[..] {
            ["app", "failed"] => Self::AppFailed,
            ["app", "restarts", "over", over, "in", within] => Self::AppRestarts {
                over: over.parse().ok().filter(|over| (1..=1000).contains(over))?,
                within: lasting(within)?,
            },
            ["app", "not", "ready", ref rest @ ..] => Self::AppNotReady { for_: for_so_long(rest)? },
            ["deploy", "taken", "back"] => Self::DeployTakenBack,
            ["pool", "down", ref rest @ ..] => Self::PoolDown { for_: for_so_long(rest)? },
            ["server", "down", ref rest @ ..] => Self::ServerDown { for_: for_so_long(rest)? },
            ["certificate", "expires", "in", within] => Self::CertificateExpires { within: lasting(within)? },
            ["disk", "under", bound, "%"] => Self::DiskUnder { percent: percent(bound)? },
            ["memory", "under", bound, "%"] => Self::MemoryUnder { percent: percent(bound)? },
            _ => return None,
        })
    }

    /// What its `of` names.
    pub const fn names(&self) -> Names {
        match self {
            Self::AppFailed | Self::AppRestarts { .. } | Self::AppNotReady { .. } | Self::DeployTakenBack => {
                Names::Apps
            }
            Self::PoolDown { .. } | Self::ServerDown { .. } => Names::Pools,
            Self::CertificateExpires { .. } => Names::Sites,
            Self::DiskUnder { .. } | Self::MemoryUnder { .. } => Names::Nothing,
        }
    }

    /// How long it has to be so before anybody is told.
    pub const fn lasting(&self) -> Duration {
        match self {
            Self::AppNotReady { for_ } | Self::PoolDown { for_ } | Self::ServerDown { for_ } => *for_,
            _ => Duration::ZERO,
        }
    }

    /// Judges a fact; `None`: it is about something else. `restarts`: of that app within the condition's window.
    pub fn judge(&self, fact: &Fact, restarts: impl FnOnce(&str, u64) -> u32) -> Option<Judged> {
        let bound = |have: u64, percent: u32| {
            // In permille: 10 % holds until 11 %.
            let low = u64::from(percent) * 10;
            if have < low {
                Some(true)
            } else if have < low + low / 10 {
                None
            } else {
                Some(false)
            }
        };
        let judged = match (self, fact) {
            (Self::AppFailed, Fact::App(app)) => {
                let text = app.failed.as_deref().map_or_else(
                    || format!("app {} is well", app.name),
                    |why| format!("app {} has failed: {why}", app.name),
                );
                // One that starts again has not shown yet that it can.
                let bad = if app.failed.is_some() { Some(true) } else { app.settled.then_some(false) };
                let lines = if bad == Some(true) { app.last_lines.clone() } else { Vec::new() };
                Judged { lines, ..Judged::of(fact, bad, text) }
            }
            (Self::AppRestarts { over, within }, Fact::App(app)) => {
                let count = restarts(&app.name, app.restarts);
                let text = format!(
                    "app {}: {count} of its instances ended unasked within {}",
                    app.name,
                    show_duration(*within)
                );
                let bad = count > *over;
                let lines = if bad { app.last_lines.clone() } else { Vec::new() };
                Judged { lines, ..Judged::of(fact, Some(bad), text) }
            }
            (Self::AppNotReady { .. }, Fact::App(app)) => {
                let text = if app.ready {
                    format!("app {} is ready", app.name)
                } else {
                    format!("app {}: no instance is ready", app.name)
                };
                Judged::of(fact, Some(!app.ready), text)
            }
            (Self::DeployTakenBack, Fact::App(app)) => {
                let (version, why) = app.last_deploy.clone().unwrap_or_default();
                let text = match &why {
                    Some(why) => format!("app {}: version {version} was taken back: {why}", app.name),
                    None => format!("app {}: version {version} is in", app.name),
                };
                Judged { episode: u64::from(version), ..Judged::of(fact, Some(why.is_some()), text) }
            }
            (Self::PoolDown { .. }, Fact::Pool { name, up, of }) => {
                let text = format!("pool {name}: {up} of {of} servers are up");
                Judged::of(fact, Some(*up == 0), text)
            }
            (Self::ServerDown { .. }, Fact::Server { pool, server, state, why, down }) => {
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                Judged::of(fact, *down, format!("server {server} of pool {pool} is {state}{why}"))
            }
            (Self::CertificateExpires { within }, Fact::Certificate { site, name, left_seconds }) => {
                let bad = *left_seconds < i64::try_from(within.as_secs()).unwrap_or(i64::MAX);
                let text = format!("certificate of {name} (site {site}) {}", ends_in(*left_seconds));
                Judged::of(fact, Some(bad), text)
            }
            (Self::DiskUnder { percent }, Fact::Disk { folder, free_permille, free_bytes }) => {
                let text = format!(
                    "disk of {folder}: {}.{} % free ({} MiB)",
                    free_permille / 10,
                    free_permille % 10,
                    free_bytes >> 20
                );
                Judged::of(fact, bound(*free_permille, *percent), text)
            }
            (Self::MemoryUnder { percent }, Fact::Memory { available_permille, available_bytes }) => {
                let text = format!(
                    "memory of this machine: {}.{} % available ({} MiB)",
                    available_permille / 10,
                    available_permille % 10,
                    available_bytes >> 20
                );
                Judged::of(fact, bound(*available_permille, *percent), text)
            }
            _ => return None,
        };
        Some(judged)
    }
}

/// One fact by one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it is about, for people and to know it again: `app hello`.
    pub subject: String,
    /// `None`: it cannot be said.
    pub bad: Option<bool>,
    /// Another number is another time, even if it was never good between.
    pub episode: u64,
    /// One sentence.
    pub text: String,
    /// What it wrote last.
    pub lines: Vec<String>,
}

impl Judged {
    fn of(fact: &Fact, bad: Option<bool>, text: String) -> Self {
        Self { subject: fact.subject(), bad, episode: 0, text, lines: Vec::new() }
    }
}

fn lasting(text: &str) -> Option<Duration> {
    unit::duration(text)
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_secs(400 * 86_400))
}

fn for_so_long(words: &[&str]) -> Option<Duration> {
    match words {
        [] => Some(Duration::ZERO),
        ["for", text] => lasting(text),
        _ => None,
    }
}

fn ends_in(seconds: i64) -> String {
    match seconds {
        ..0 => "has ended".to_owned(),
        0..172_800 => format!("ends in {} h", seconds / 3600),
        _ => format!("ends in {} days", seconds / 86_400),
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasting = |f: &mut fmt::Formatter<'_>, what: &str, for_: Duration| match for_ {
            Duration::ZERO => f.write_str(what),
            for_ => write!(f, "{what} for {}", show_duration(for_)),
        };
        match self {
            Self::AppFailed => f.write_str("app failed"),
            Self::AppRestarts { over, within } => {
                write!(f, "app restarts over {over} in {}", show_duration(*within))
            }
            Self::AppNotReady { for_ } => lasting(f, "app not ready", *for_),
            Self::DeployTakenBack => f.write_str("deploy taken back"),
            Self::PoolDown { for_ } => lasting(f, "pool down", *for_),
            Self::ServerDown { for_ } => lasting(f, "server down", *for_),
            Self::CertificateExpires { within } => {
                write!(f, "certificate expires in {}", show_duration(*within))
            }
            Self::DiskUnder { percent } => write!(f, "disk under {percent} %"),
            Self::MemoryUnder { percent } => write!(f, "memory under {percent} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: everything that the documentation shows is read, and shown again as it was written; its neighbours are not.
    #[test]
    fn conditions_are_read_as_they_are_shown() {
        for known in KNOWN {
            check(known, Some(known));
        }
        check("  pool   down for 90s ", Some("pool down for 90s"));
        check("disk under 10%", Some("disk under 10 %"));
        check("app not ready", Some("app not ready"));
        for wrong in [
            "",
            "app",
            "app fails",
            "app failed twice",
            "app restarts over 0 in 10m",
            "app restarts over 5 in 10",
            "app restarts over 5",
            "app not ready for 0s",
            "app not ready for",
            "pool down 5s",
            "certificate expires in 2000d",
            "certificate expires",
            "disk under 0 %",
            "disk under 100 %",
            "disk under 10",
            "disk under 5 % %",
            "memory over 5 %",
        ] {
            check(wrong, None);
        }

        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            let read = Condition::parse(text).map(|condition| condition.to_string());
            assert_eq!(read.as_deref(), want, "{text:?}");
        }
    }

    // Goal: at the edge of a bound nothing flaps. Method: below, on, a little above, a tenth above.
    #[test]
    fn a_bound_has_to_be_passed_by_a_tenth_before_all_is_well() {
        check(99, Some(true));
        check(100, None);
        check(109, None);
        check(110, Some(false));

        #[track_caller]
        fn check(free_permille: u64, want: Option<bool>) {
            let fact = Fact::Disk { folder: "data".to_owned(), free_permille, free_bytes: 5 << 20 };
            let judged = Condition::DiskUnder { percent: 10 }.judge(&fact, |_, _| 0).unwrap();
            assert_eq!(judged.bad, want, "{}", judged.text);
        }
    }
}
