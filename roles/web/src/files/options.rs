//! What a `files` action does, as its code needs it.
//!
//! **Job.** Hold the checked settings of one folder and the limits of the per-worker caches.
//! **Made by** the assembler from [`FilesSettings`] and `[limits]`. **Read by** every module of `files`.
//!
//! Not here: keys, ranges and defaults of the settings (`config`).

use std::path::PathBuf;

use crate::config::{FilesSettings, Symlinks};

/// One folder and how it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesOptions {
    /// The folder. May itself be a symbolic link: it is followed, and looked at again when it changes.
    pub root: PathBuf,
    /// Names that answer for a folder, tried in order.
    pub index: Vec<String>,
    /// A path in the folder that answers, with 200, where nothing is found and the client takes HTML.
    pub fallback: Option<String>,
    /// Names tried in order, `{path}` stands for the path asked for. Empty means `["{path}"]`.
    pub tries: Vec<String>,
    /// List folders that have no index.
    pub listing: bool,
    /// Take files by PUT.
    pub upload: bool,
    /// Serve and list names that begin with a dot. `/.well-known` always is served.
    pub dotfiles: bool,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// How long an open file is used before it is looked at again, in milliseconds; 0 looks each time.
    pub cache_valid_ms: u64,
    /// Use `NAME.br`, `NAME.zst` and `NAME.gz` beside a file, where they are not older than it.
    pub precompressed: bool,
    /// Compress while serving; `None` never does.
    pub compress: Option<Compress>,
}

/// Which answers are compressed while serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compress {
    /// Smaller files are not worth it, in bytes. Default 1 KiB.
    pub bytes_min: u64,
    /// Larger files go out as they are, in bytes. Default 8 MiB.
    pub bytes_max: u64,
}

impl Default for Compress {
    fn default() -> Self {
        Self { bytes_min: 1024, bytes_max: 8 * 1024 * 1024 }
    }
}

impl FilesOptions {
    /// A folder with everything at its default.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            index: vec!["index.html".to_owned()],
            fallback: None,
            tries: Vec::new(),
            listing: false,
            upload: false,
            dotfiles: false,
            symlinks: Symlinks::Inside,
            cache_valid_ms: 1000,
            precompressed: true,
            compress: Some(Compress::default()),
        }
    }
}

impl From<&FilesSettings> for FilesOptions {
    fn from(settings: &FilesSettings) -> Self {
        Self {
            root: settings.root.clone(),
            index: settings.index.clone(),
            fallback: settings.fallback.clone(),
            tries: settings.tries.clone(),
            listing: settings.listing,
            upload: settings.upload,
            dotfiles: settings.dotfiles,
            symlinks: settings.symlinks,
            cache_valid_ms: u64::try_from(settings.cache_valid.as_millis()).unwrap_or(u64::MAX),
            precompressed: settings.compress,
            compress: settings.compress.then(Compress::default),
        }
    }
}

/// Limits of one worker's caches, shared by every folder it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Entries of the open-file cache, remembered absences included. Each holds at most one descriptor.
    pub entries_max: usize,
    /// Bytes of small files' contents and of the entries' names.
    pub bytes_max: usize,
    /// Bytes of remembered results of compression.
    pub compressed_bytes_max: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { entries_max: 1024, bytes_max: 8 * 1024 * 1024, compressed_bytes_max: 8 * 1024 * 1024 }
    }
}
