//! Whole files that an operator named, read with a bound.
//!
//! **Job.** Read a settings, key or user file, never more of it than it may have.
//! **Called by** `tls`, the owners of settings. **Calls** the kernel.
//!
//! Invariants
//! 1. The bound holds for what is read, not for what `stat` promised: `/dev/zero` has length 0, a log may grow meanwhile.
//!
//! Not here: the files of a site (`roles/web/src/files`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads the whole file.
///
/// # Errors
/// As opening and reading; [`io::ErrorKind::FileTooLarge`] beyond `bytes_max` bytes, [`io::ErrorKind::IsADirectory`].
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let (bound, unit) = match bytes_max >> 20 {
            0 => (bytes_max >> 10, "KiB"),
            mib => (mib, "MiB"),
        };
        let message = format!("it is larger than {bound} {unit}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::InvalidData`] when it is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: no path an operator can write makes the server read without end.
    // Method: a file of exactly the bound, one byte more, a device that never ends, a folder, bytes that are no text.
    #[test]
    fn a_file_is_read_up_to_its_bound_and_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [0xff; 2048]).unwrap();

        assert_eq!(read(&path, 2048).unwrap().len(), 2048);
        check(read(&path, 2047), io::ErrorKind::FileTooLarge);
        check(read(Path::new("/dev/zero"), 2048), io::ErrorKind::FileTooLarge);
        check(read(folder.path(), 2048), io::ErrorKind::IsADirectory);
        check(read(&folder.path().join("none"), 2048), io::ErrorKind::NotFound);
        check(read_text(&path, 2048).map(String::into_bytes), io::ErrorKind::InvalidData);

        #[track_caller]
        fn check(got: io::Result<Vec<u8>>, want: io::ErrorKind) {
            assert_eq!(got.unwrap_err().kind(), want);
        }
    }
}
