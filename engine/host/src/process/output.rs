//! What a program writes, by line.
//!
//! **Job.** Give a program somewhere to write, and read it in bounded lines. **Called by** `roles/supervise`. **Calls** the kernel.
//!
//! It is a named pipe that the program holds open in both directions: it lives as long as the program does, so a server that
//! takes over reads on, and the end of a server never ends a program by SIGPIPE. Closed or not, nothing is made of it.
//!
//! Invariants
//! 1. A line is at most [`LINE_BYTES_MAX`]; longer ones are cut into several.
//! 2. Nobody is read faster than [`BYTES_PER_TURN`] a [`TURN`]: who floods waits, and costs others nothing.
//!
//! Not here: where lines go (`roles/supervise`).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// What is read of one program in a turn, in bytes: 2.5 MiB a second.
const BYTES_PER_TURN: usize = 256 * 1024;
/// How long a turn is.
const TURN: Duration = Duration::from_millis(100);

/// The reading end.
pub struct Output {
    pipe: pipe::Receiver,
    unread: Vec<u8>,
    /// Read in this turn.
    read: usize,
}

/// Makes the pipe; gives the end that the program writes to.
pub fn make(path: &Path) -> io::Result<OwnedFd> {
    match mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(OpenOptions::new().read(true).write(true).open(path)?.into())
}

impl Output {
    /// Opens the reading end. Must be called on a tokio runtime.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Both directions: a pipe without a writer would be readable for ever.
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        Ok(Self { pipe, unread: Vec::new(), read: 0 })
    }

    /// The reading end of a pipe that has no name. Must be called on a tokio runtime.
    pub fn of(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self { pipe: pipe::Receiver::from_owned_fd(pipe)?, unread: Vec::new(), read: 0 })
    }

    /// Waits for more and hands every whole line on, without its end. Never ends by itself.
    pub async fn lines(&mut self, mut line: impl FnMut(&[u8])) -> io::Result<()> {
        if self.read >= BYTES_PER_TURN {
            tokio::time::sleep(TURN).await;
            self.read = 0;
        }
        let before = self.unread.len();
        self.unread.reserve(LINE_BYTES_MAX);
        let count = self.pipe.read_buf(&mut self.unread).await?;
        self.read += count;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.cut(before, &mut line);
        Ok(())
    }

    /// What is left when the program has ended, a last line without an end included.
    pub fn rest(mut self, mut line: impl FnMut(&[u8])) {
        // A flood stands in the pipe at most: 1 MiB is the largest one may be.
        for _ in 0..256 {
            let mut piece = [0; 4096];
            // Of the kernel itself: the runtime may not have heard yet that the last words are there.
            match rustix::io::read(&self.pipe, &mut piece) {
                Ok(count @ 1..) => {
                    let before = self.unread.len();
                    self.unread.extend_from_slice(&piece[..count]);
                    self.cut(before, &mut line);
                }
                _ => break,
            }
        }
        if !self.unread.is_empty() {
            line(&self.unread);
        }
    }

    fn cut(&mut self, mut seen: usize, line: &mut impl FnMut(&[u8])) {
        let mut from = 0;
        loop {
            let end = self.unread[seen..].iter().position(|byte| *byte == b'\n').map(|at| seen + at);
            match end {
                Some(end) if end - from <= LINE_BYTES_MAX => {
                    line(self.unread[from..end].strip_suffix(b"\r").unwrap_or(&self.unread[from..end]));
                    from = end + 1;
                }
                _ if self.unread.len() - from > LINE_BYTES_MAX => {
                    line(&self.unread[from..from + LINE_BYTES_MAX]);
                    from += LINE_BYTES_MAX;
                }
                _ => break,
            }
            seen = from;
        }
        self.unread.drain(..from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    // Goal: lines come whole and bounded, and the pipe outlives whoever reads and whoever writes.
    // Method: write in pieces, read, drop the reader, write on, open again.
    #[tokio::test]
    async fn lines_are_whole_and_bounded_and_nothing_is_lost_between_readers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut writer = std::fs::File::from(make(&path).unwrap());
        let mut output = Output::open(&path).unwrap();
        let mut got: Vec<String> = Vec::new();

        writer.write_all(b"one\r\ntwo\nthr").unwrap();
        output.lines(|line| got.push(String::from_utf8_lossy(line).into_owned())).await.unwrap();
        writer.write_all(b"ee\n\n").unwrap();
        output.lines(|line| got.push(String::from_utf8_lossy(line).into_owned())).await.unwrap();
        assert_eq!(got, ["one", "two", "three", ""]);

        drop(output);
        writer.write_all(b"while nobody reads\n").unwrap();
        drop(writer);
        // The pipe is kept by a program; here by this second writer.
        let writer = make(&path).unwrap();
        let mut output = Output::open(&path).unwrap();
        let mut long = std::fs::File::from(writer);
        long.write_all(&[b'x'; LINE_BYTES_MAX + 10]).unwrap();
        long.write_all(b"\nlast").unwrap();
        let mut lengths = Vec::new();
        output.lines(|line| lengths.push(line.len())).await.unwrap();
        output.rest(|line| lengths.push(line.len()));
        assert_eq!(lengths, [LINE_BYTES_MAX, 10, 4]);
    }

    // Goal: the last words of a program are there when its end is, even if nothing told the runtime yet.
    // Method: everything is written before the runtime gets a turn.
    #[tokio::test]
    async fn last_words_are_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut writer = std::fs::File::from(make(&path).unwrap());
        let output = Output::open(&path).unwrap();
        writer.write_all(b"it cannot\ngo on").unwrap();
        drop(writer);
        let mut got: Vec<String> = Vec::new();
        output.rest(|line| got.push(String::from_utf8_lossy(line).into_owned()));
        assert_eq!(got, ["it cannot", "go on"]);
    }
}
