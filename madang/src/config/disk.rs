//! Settings files on disk.
//!
//! **Job.** Read files and list `conf.d/*.toml` for `settings::source`. Not here: parsing.

use std::io;
use std::path::{Path, PathBuf};

use madang_settings::source::{FILE_BYTES_MAX, Source};

/// The file system.
pub struct Disk;

impl Source for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        madang_host::file::read_text(path, FILE_BYTES_MAX as u64)
    }

    fn list(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((before, behind)) = name.split_once('*') else {
            return Ok(if pattern.is_file() { vec![pattern.to_owned()] } else { Vec::new() });
        };
        let folder =
            pattern.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let fits = name.to_str().is_some_and(|name| {
                name.len() >= before.len() + behind.len()
                    && name.starts_with(before)
                    && name.ends_with(behind)
                    && !name.starts_with('.')
            });
            if fits && entry.path().is_file() {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}
