//! The access log as it stands.
//!
//! **Job.** Show its last lines and what is added. **Called by** `super`. Not here: apps' logs.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use crate::cli::{Ended, complain};

/// The last lines, and what follows.
pub(super) fn show(folder: &Path, follow: bool, lines: usize) -> Ended {
    let path = folder.join("access.log");
    let open = || std::fs::File::open(&path);
    let mut file = match open() {
        Ok(file) => file,
        Err(error) => {
            if error.kind() == std::io::ErrorKind::NotFound {
                complain(&format!(
                    "there is no access log at {}; write `access = \"text\"` under [log] to have one",
                    path.display()
                ));
            } else {
                complain(&format!("cannot read {}: {error}", path.display()));
            }
            return Ended::Failed;
        }
    };
    let length = file.metadata().map_or(0, |meta| meta.len());
    // Enough for the lines wanted at a kilobyte each.
    let from = length.saturating_sub((lines as u64 + 1) * 1024);
    let mut tail = Vec::new();
    if file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut tail)).is_err() {
        return Ended::Failed;
    }
    let text = String::from_utf8_lossy(&tail);
    let mut last: Vec<&str> = text.lines().skip(usize::from(from > 0)).collect();
    last.drain(..last.len().saturating_sub(lines));
    let mut out = std::io::stdout().lock();
    for line in last {
        if writeln!(out, "{line}").is_err() {
            return Ended::Done;
        }
    }
    if !follow {
        return Ended::Done;
    }
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(0) => {
                let rotated = std::fs::metadata(&path)
                    .is_ok_and(|meta| meta.len() < reader.stream_position().unwrap_or(0));
                if rotated && let Ok(file) = open() {
                    reader = BufReader::new(file);
                }
                #[allow(clippy::disallowed_methods)] // a file has no event to wait for that works everywhere
                std::thread::sleep(Duration::from_millis(200));
            }
            Ok(_) => {
                if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                    return Ended::Done;
                }
            }
            Err(_) => return Ended::Failed,
        }
    }
}
