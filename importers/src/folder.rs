//! The files that are looked at.
//!
//! **Job.** Name what importers may ask: text, names, kinds, and the value of a JavaScript file. **Implemented by** `madang` for
//! the disk, here for memory ([`Memory`], tests and fuzzing).
//!
//! Invariants
//! 1. A file is at most [`FILE_BYTES_MAX`], a listing at most [`NAMES_MAX`]: whoever implements it keeps to that.
//!
//! Not here: what files mean.

use std::collections::BTreeMap;
use std::fmt;

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The most names that a listing gives.
pub const NAMES_MAX: usize = 4096;

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Nothing is there.
    Absent,
    /// It is larger than [`FILE_BYTES_MAX`].
    TooLarge,
    /// It is not text in UTF-8, or holds NUL characters.
    NotText,
    /// The system says why.
    Failed(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no such file"),
            Self::TooLarge => write!(f, "it is larger than {} MiB", FILE_BYTES_MAX / 1024 / 1024),
            Self::NotText => f.write_str("it is not text (UTF-8)"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// A file that can be run.
    Program,
    /// Another file.
    File,
    /// A folder.
    Folder,
}

/// A folder with everything below it; absolute paths lead out of it.
pub trait Folder {
    /// A file's text.
    ///
    /// # Errors
    /// [`Unreadable`] says why not.
    fn read(&self, path: &str) -> Result<String, Unreadable>;
    /// The names in a folder, sorted; none where there is no such folder.
    fn names(&self, folder: &str) -> Vec<String>;
    /// What is at a path.
    fn is(&self, path: &str) -> Option<Is>;
    /// What a JavaScript file exports, as JSON: found by running it.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    fn evaluate(&self, path: &str) -> Result<String, String>;
    /// How madang.toml names a path of this folder.
    fn named(&self, path: &str) -> String {
        path.to_owned()
    }
    /// The folder's own name.
    fn name(&self) -> String;
    /// Cores of this machine.
    fn cores(&self) -> u64;

    /// Whether a file is there.
    fn has(&self, path: &str) -> bool {
        matches!(self.is(path), Some(Is::File | Is::Program))
    }
    /// Whether a folder is there.
    fn has_folder(&self, path: &str) -> bool {
        self.is(path) == Some(Is::Folder)
    }
}

/// A folder in memory: paths to texts.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The files.
    pub files: BTreeMap<String, String>,
}

impl Memory {
    /// With one file.
    pub fn of(path: &str, text: &str) -> Self {
        Self { files: BTreeMap::from([(path.to_owned(), text.to_owned())]) }
    }
}

impl Folder for Memory {
    fn read(&self, path: &str) -> Result<String, Unreadable> {
        let text = self.files.get(path).ok_or(Unreadable::Absent)?;
        if text.len() > FILE_BYTES_MAX {
            return Err(Unreadable::TooLarge);
        }
        if text.contains('\0') { Err(Unreadable::NotText) } else { Ok(text.clone()) }
    }
    fn names(&self, folder: &str) -> Vec<String> {
        let inside = if folder.is_empty() || folder == "." { String::new() } else { format!("{folder}/") };
        let names = self.files.keys().filter_map(|path| path.strip_prefix(&inside)?.split('/').next());
        let mut names: Vec<String> = names.map(str::to_owned).take(NAMES_MAX).collect();
        names.dedup();
        names
    }
    fn is(&self, path: &str) -> Option<Is> {
        if self.files.contains_key(path) {
            return Some(Is::File);
        }
        let inside = format!("{path}/");
        self.files.keys().any(|known| known.starts_with(&inside)).then_some(Is::Folder)
    }
    fn evaluate(&self, _: &str) -> Result<String, String> {
        Err("there is no node here".to_owned())
    }
    fn name(&self) -> String {
        "project".to_owned()
    }
    fn cores(&self) -> u64 {
        2
    }
}
