//! What is seen of the house, once a second.
//!
//! **Job.** Name what alerts can be about. **Made by** `madang`, which knows the other roles. **Read by** `condition`.
//!
//! Not here: judging (`condition`).

/// One thing as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// An app.
    App(AppFact),
    /// A pool of the settings (the pools that apps make are not among them: their apps are).
    Pool {
        /// Its name.
        name: String,
        /// Servers that are up.
        up: usize,
        /// Servers.
        of: usize,
    },
    /// A server of such a pool.
    Server {
        /// The pool.
        pool: String,
        /// Its address.
        server: String,
        /// In a word.
        state: &'static str,
        /// Why it is so; empty: unknown.
        why: String,
        /// `None`: it is being tried. One that the operator took out is not down.
        down: Option<bool>,
    },
    /// A certificate in use.
    Certificate {
        /// The site or stream.
        site: String,
        /// Its first name.
        name: String,
        /// Until it ends; negative: since.
        left_seconds: i64,
    },
    /// Where the data folder lies.
    Disk {
        /// The folder.
        folder: String,
        /// Of 1000.
        free_permille: u64,
        /// Bytes.
        free_bytes: u64,
    },
    /// The machine's memory.
    Memory {
        /// Of 1000.
        available_permille: u64,
        /// Bytes.
        available_bytes: u64,
    },
}

/// An app as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppFact {
    /// Its name.
    pub name: String,
    /// Why it was given up.
    pub failed: Option<String>,
    /// It does what it should, or nothing by the operator's wish: not on its way up.
    pub settled: bool,
    /// Whether an instance is ready, or none has to be (stopped, asleep, a job).
    pub ready: bool,
    /// Instances that ended unasked since the server started.
    pub restarts: u64,
    /// What the last of those wrote.
    pub last_lines: Vec<String>,
    /// The last deploy's version, and why it was taken back if it was.
    pub last_deploy: Option<(u32, Option<String>)>,
}

impl Fact {
    /// What it is about, for people.
    pub fn subject(&self) -> String {
        match self {
            Self::App(app) => format!("app {}", app.name),
            Self::Pool { name, .. } => format!("pool {name}"),
            Self::Server { pool, server, .. } => format!("server {server} of pool {pool}"),
            Self::Certificate { site, name, .. } => format!("certificate of {name} (site {site})"),
            Self::Disk { folder, .. } => format!("disk of {folder}"),
            Self::Memory { .. } => "memory".to_owned(),
        }
    }

    /// The name that `of` limits by; `None`: the machine has none.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::App(app) => Some(&app.name),
            Self::Pool { name, .. } => Some(name),
            Self::Server { pool, .. } => Some(pool),
            Self::Certificate { site, .. } => Some(site),
            Self::Disk { .. } | Self::Memory { .. } => None,
        }
    }
}
