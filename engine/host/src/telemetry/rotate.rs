//! A log file that rotates by size and age and stays within a bound on disk.
//!
//! **Job.** Append; when the file is full or old, rename it `NAME.1` (older ones move on) and begin anew; remove the oldest.
//! **Called by** `writer`. **Calls** the file system.
//!
//! Invariants
//! 1. A line is never split over two files.
//! 2. A full disk loses lines, never the process: what fails is counted and tried again later.
//!
//! Not here: what is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// When to rotate and what to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of one file.
    pub size: u64,
    /// Age of one file.
    pub age: Duration,
    /// Rotated files kept.
    pub keep: usize,
    /// Bytes of all files of the log.
    pub bytes_max: u64,
}

/// The file.
pub struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    written: u64,
    born: Instant,
}

impl RotatingFile {
    /// Opens or makes the file (mode 0640).
    pub fn open(path: &Path, rotation: Rotation, now: Instant) -> io::Result<Self> {
        let mut this = Self { path: path.to_owned(), rotation, file: None, written: 0, born: now };
        this.reopen(now)?;
        Ok(this)
    }

    /// Opens the path anew: somebody else rotated it.
    pub fn reopen(&mut self, now: Instant) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
        self.written = file.metadata()?.len();
        self.file = Some(file);
        self.born = now;
        Ok(())
    }

    /// Appends whole lines.
    pub fn append(&mut self, lines: &[u8], now: Instant) -> io::Result<()> {
        let full = self.written > 0 && self.written + lines.len() as u64 > self.rotation.size;
        let old = self.written > 0 && now.saturating_duration_since(self.born) > self.rotation.age;
        if full || old {
            self.rotate(now)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                self.reopen(now)?;
                self.file.as_mut().ok_or(io::ErrorKind::NotFound)?
            }
        };
        file.write_all(lines)?;
        self.written += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, now: Instant) -> io::Result<()> {
        let numbered = |number: usize| PathBuf::from(format!("{}.{number}", self.path.display()));
        remove(&numbered(self.rotation.keep))?;
        for number in (1..self.rotation.keep).rev() {
            if let Err(error) = std::fs::rename(numbered(number), numbered(number + 1))
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
        }
        std::fs::rename(&self.path, numbered(1))?;
        let mut total = self.rotation.size;
        for number in 1..=self.rotation.keep {
            total += std::fs::metadata(numbered(number)).map_or(0, |meta| meta.len());
            if total > self.rotation.bytes_max {
                remove(&numbered(number))?;
            }
        }
        self.reopen(now)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: lines stay whole, files stay within size, count and total.
    #[test]
    fn a_log_rotates_and_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let rotation = Rotation { size: 100, age: Duration::from_secs(60), keep: 5, bytes_max: 350 };
        let start = crate::clock::now();
        let mut file = RotatingFile::open(&path, rotation, start).unwrap();
        for number in 0..100 {
            file.append(format!("line {number:04} of the log\n").as_bytes(), start).unwrap();
        }
        let mut total = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(text.len() <= 100 && text.lines().all(|line| line.len() == 20), "{text}");
            total += text.len();
        }
        assert!(total <= 350, "{total}");
        assert!(std::fs::read_to_string(&path).unwrap().contains("line 0099"));
        file.append(b"later\n", start + Duration::from_secs(61)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "later\n");
    }
}
