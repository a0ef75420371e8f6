//! Versions on disk, side by side: `DATA/apps/NAME/releases/N`, and what is remembered of them.
//!
//! **Job.** Make a version's folder from a folder or an archive, remember which versions there are and how each deploy
//! ended, find them again at the next start (docs/decisions/0016-releases.md). **Called by** `keeper`, `app`. **Calls** the
//! file system.
//!
//! Invariants
//! 1. A folder named by a number is whole: it was written under another name, flushed, and renamed.
//! 2. Nothing of an archive is written outside its own folder, and no more of it than was allowed.
//!
//! Not here: whether a version is well (`deploy`), when its folder may go (`keeper`).

mod bounds;
mod copy;
mod image;
mod prepare;
pub mod record;
pub mod resume;
mod tree;
mod unpack;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::bounds::{Progress, Unfit};
pub use self::prepare::{Order, Prepared, Source, clear, prepare};

/// Where what a version runs is from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Origin {
    /// The folder that the settings name, where it lies.
    #[default]
    Settings,
    /// A copy of a folder.
    Folder {
        /// That was copied.
        path: String,
    },
    /// An archive of a folder.
    Archive {
        /// The file.
        path: String,
        /// Of the file.
        digest: String,
    },
    /// An image: files with a command of their own, run with them as its root.
    Image {
        /// The file.
        path: String,
        /// Of the image.
        digest: String,
    },
}

/// What an image says of how it is run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFacts {
    /// Entrypoint and Cmd, in one.
    pub run: Vec<String>,
    /// Names and values.
    pub env: Vec<(String, String)>,
    /// Where it starts, seen from its own root.
    pub dir: String,
    /// `name`, `name:group`, or numbers; `None`: root.
    pub user: Option<String>,
}

/// What a version is made of, as a file can remember it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Where it is from.
    pub origin: Origin,
    /// The number of the folder it runs from; `None`: the settings' `dir`.
    pub tree: Option<u32>,
    /// What the folder takes, in bytes.
    pub bytes: u64,
    /// Of an image only.
    pub image: Option<ImageFacts>,
}

impl Made {
    /// What the settings say, where it lies.
    pub const fn of_settings() -> Self {
        Self { origin: Origin::Settings, tree: None, bytes: 0, image: None }
    }
}

/// Why there is a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cause {
    /// The app was started for the first time.
    First,
    /// The settings are others than before.
    Settings,
    /// `madang app deploy`.
    Deploy,
    /// `madang app restart`.
    Restart,
    /// `madang app rollback` to that version.
    Rollback {
        /// Which.
        to: u32,
    },
}

/// The folder of an app's versions.
pub fn folder(apps: &Path, app: &str) -> PathBuf {
    apps.join(app).join("releases")
}

/// The folder of one version's files.
pub fn place(trees: &Path, number: u32) -> PathBuf {
    trees.join(number.to_string())
}
