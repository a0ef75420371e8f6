//! Following logs: what is added is shown as it comes.
//!
//! **Job.** Look at each file again and again, read on where it ended, begin anew where it was exchanged. **Called by** `super`.
//!
//! Not here: which lines are wanted (`super`).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{Choice, Log};
use crate::cli::Ended;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

struct Tail<'a> {
    log: &'a Log,
    file: Option<File>,
    inode: u64,
    /// A line whose end was not written yet.
    begun: String,
}

pub(super) fn follow(logs: &[Log], choice: &Choice) -> Ended {
    let mut tails: Vec<Tail<'_>> = logs.iter().map(Tail::at_end).collect();
    loop {
        let mut lines: Vec<(String, String)> = tails.iter_mut().flat_map(|tail| tail.more(choice)).collect();
        lines.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut out = std::io::stdout().lock();
        for (_, line) in &lines {
            if out.write_all(line.as_bytes()).is_err() {
                return Ended::Done;
            }
        }
        if out.flush().is_err() {
            return Ended::Done;
        }
        drop(out);
        #[allow(clippy::disallowed_methods)] // a file has no event to wait for that works everywhere
        std::thread::sleep(LOOK_EVERY);
    }
}

impl<'a> Tail<'a> {
    fn at_end(log: &'a Log) -> Self {
        let mut tail = Self { log, file: None, inode: 0, begun: String::new() };
        tail.open();
        if let Some(file) = &mut tail.file {
            // One that cannot be sought is shown from its beginning.
            let _ = file.seek(SeekFrom::End(0));
        }
        tail
    }

    fn open(&mut self) {
        self.file = File::open(&self.log.path).ok();
        self.inode = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.ino());
    }

    fn more(&mut self, choice: &Choice) -> Vec<(String, String)> {
        let mut read = self.read();
        if inode(&self.log.path).is_some_and(|inode| inode != self.inode) {
            // What was added before it was exchanged is read above.
            self.open();
            read.extend(self.read());
        }
        self.begun.push_str(&String::from_utf8_lossy(&read));
        let Some(end) = self.begun.rfind('\n') else { return Vec::new() };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        choice.choose(&self.log.app, &whole)
    }

    fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file {
            // What cannot be read now is tried again with the next look.
            let _ = file.read_to_end(&mut bytes);
        }
        bytes
    }
}

fn inode(path: &Path) -> Option<u64> {
    Some(std::fs::metadata(path).ok()?.ino())
}
