//! Orders, line by line, from standard input as it becomes readable.
//!
//! **Job.** Keep what came and is not a whole line. **Called by** `crowd`, whose epoll tells when to read.
//!
//! Not here: what an order means (`load`).

use super::Failure;

const LINE_BYTES_MAX: usize = 4096;

/// What came on standard input.
#[derive(Debug, Default)]
pub(super) struct Orders {
    bytes: Vec<u8>,
    pub(super) ended: bool,
}

impl Orders {
    /// Reads once; never called when that would wait.
    pub(super) fn read(&mut self) -> Result<(), Failure> {
        let mut piece = [0; 512];
        let read = rustix::io::read(std::io::stdin(), &mut piece);
        let got = read.map_err(|error| Failure::Io { doing: "read orders", error: error.into() })?;
        self.ended = got == 0 || self.bytes.len() > LINE_BYTES_MAX;
        self.bytes.extend_from_slice(&piece[..got]);
        Ok(())
    }

    /// The next whole line.
    pub(super) fn take(&mut self) -> Option<String> {
        let end = memchr::memchr(b'\n', &self.bytes)?;
        let line = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
        self.bytes.drain(..=end);
        Some(line)
    }
}
