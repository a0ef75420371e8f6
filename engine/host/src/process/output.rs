//! What a program writes, by line.
//!
//! **Job.** Give a program somewhere to write, and read it in bounded lines. **Called by** `roles/supervise`. **Calls** the kernel.
//!
//! It is a named pipe that the program holds open in both directions: it lives as long as the program does, so a server that
//! takes over reads on, and the end of a server never ends a program by SIGPIPE. Closed or not, nothing is made of it.
//!
//! Invariants
//! 1. A line is at most [`LINE_BYTES_MAX`] and a mark that says how much was cut off.
//! 2. Nobody is read faster than [`BYTES_PER_TURN`] a [`TURN`]: who floods beyond that waits, and costs others little.
//!
//! Not here: where lines go, how many of them are kept (`roles/supervise`).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::net::unix::pipe;

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// What is read of one program in a turn, in bytes: 10 MiB a second.
const BYTES_PER_TURN: usize = 1024 * 1024;
/// What is read at once.
const PIECE_BYTES: usize = 16 * 1024;
/// How long a turn is.
const TURN: Duration = Duration::from_millis(100);

/// The reading end.
pub struct Output {
    pipe: pipe::Receiver,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// What of it was cut off.
    cut_off: usize,
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
        Ok(Self::reading(pipe::OpenOptions::new().read_write(true).open_receiver(path)?))
    }

    /// The reading end of a pipe that has no name. Must be called on a tokio runtime.
    pub fn of(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self::reading(pipe::Receiver::from_owned_fd(pipe)?))
    }

    const fn reading(pipe: pipe::Receiver) -> Self {
        Self { pipe, begun: Vec::new(), cut_off: 0, read: 0 }
    }

    /// Waits for more and hands every whole line on, without its end. Never ends by itself. Nothing is lost when it is dropped.
    pub async fn lines(&mut self, mut line: impl FnMut(&[u8])) -> io::Result<()> {
        if self.read >= BYTES_PER_TURN {
            tokio::time::sleep(TURN).await;
            self.read = 0;
        }
        self.pipe.readable().await?;
        let mut piece = [0; PIECE_BYTES];
        match self.pipe.try_read(&mut piece) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.read += count;
                self.take(&piece[..count], &mut line);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What is left when the program has ended, a last line without an end included.
    pub fn rest(mut self, mut line: impl FnMut(&[u8])) {
        // A flood stands in the pipe at most: 1 MiB is the largest one may be.
        let mut piece = [0; PIECE_BYTES];
        for _ in 0..64 {
            // Of the kernel itself: the runtime may not have heard yet that the last words are there.
            match rustix::io::read(&self.pipe, &mut piece) {
                Ok(count @ 1..) => self.take(&piece[..count], &mut line),
                _ => break,
            }
        }
        if !self.begun.is_empty() {
            self.end_line(&mut line);
        }
    }

    fn take(&mut self, piece: &[u8], line: &mut impl FnMut(&[u8])) {
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let ends = parts.peek().is_some();
            if ends && self.begun.is_empty() && part.len() <= LINE_BYTES_MAX {
                line(part.strip_suffix(b"\r").unwrap_or(part));
                continue;
            }
            let room = (LINE_BYTES_MAX - self.begun.len()).min(part.len());
            self.begun.extend_from_slice(&part[..room]);
            self.cut_off += part.len() - room;
            if ends {
                self.end_line(line);
            }
        }
    }

    fn end_line(&mut self, line: &mut impl FnMut(&[u8])) {
        let mut whole = std::mem::take(&mut self.begun);
        match std::mem::take(&mut self.cut_off) {
            0 => line(whole.strip_suffix(b"\r").unwrap_or(&whole)),
            more => {
                whole.extend_from_slice(format!(" [cut: {more} bytes more]").as_bytes());
                line(&whole);
            }
        }
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
        while lengths.is_empty() {
            output.lines(|line| lengths.push(line.len())).await.unwrap();
        }
        output.rest(|line| lengths.push(line.len()));
        assert_eq!(lengths, [LINE_BYTES_MAX + " [cut: 10 bytes more]".len(), 4]);
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
