//! A short program of the operator's: given a text, it does something with it and ends.
//!
//! **Job.** Run it once with its input on stdin, keep the beginning of what it writes, end it when its time is over.
//! **Called by** `roles/console` (alerts). **Calls** the kernel, `running`.
//!
//! Invariants
//! 1. It ends within its time, and with it everything of its process group.
//! 2. What it reads is whole before it starts: who does not read it holds nobody up.
//! 3. What is kept of its output is bounded; what it writes beyond that is read and thrown away, so it does not hang.
//!
//! Not here: programs that stay (`spawn`), what the output means (the caller).

use std::io;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::PASSED_ON;
use super::exit::Exit;
use super::running::Running;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Hook {
    /// The program and its arguments; no shell reads it.
    pub run: Vec<String>,
    /// Where it starts.
    pub dir: PathBuf,
    /// Its environment beside PATH, HOME, LANG, LC_ALL, TZ and TMPDIR of ours.
    pub environment: Vec<(String, String)>,
    /// What it reads on stdin.
    pub input: Vec<u8>,
    /// It is killed after this.
    pub within: Duration,
    /// Bytes kept of its stdout, and again of its stderr.
    pub kept_bytes_max: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// How it ended; `None`: its time was over and it was killed.
    pub exit: Option<Exit>,
    /// The beginning of what it wrote to stdout.
    pub stdout: Vec<u8>,
    /// And to stderr.
    pub stderr: Vec<u8>,
}

/// Runs it to its end. Must be called on a tokio runtime.
///
/// # Errors
/// It could not be started.
pub async fn run(hook: Hook) -> io::Result<Done> {
    let program = hook.run.first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut input = std::fs::File::from(memfd_create("madang-hook", MemfdFlags::CLOEXEC)?);
    input.write_all(&hook.input)?;
    input.seek(SeekFrom::Start(0))?;
    #[allow(clippy::disallowed_methods)] // this is the place the ban points to
    let mut command = Command::new(program);
    let passed = PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    command.args(&hook.run[1..]).current_dir(&hook.dir).env_clear().envs(passed);
    command.envs(hook.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let pipes = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    let running = Running::of(child)?;
    let (mut out, mut err) = (Kept::new(pipes.0, &hook)?, Kept::new(pipes.1, &hook)?);
    let end = running.ended();
    tokio::pin!(end);
    let late = tokio::time::sleep(hook.within);
    tokio::pin!(late);
    let exit = loop {
        tokio::select! {
            exit = &mut end => break Some(exit),
            () = out.read() => {}
            () = err.read() => {}
            () = &mut late => {
                // One that ends just now is no error.
                let _ = running.signal(Signal::KILL);
                end.await;
                break None;
            }
        }
    };
    out.rest();
    err.rest();
    Ok(Done { exit, stdout: out.bytes, stderr: err.bytes })
}

/// One stream of its output.
struct Kept {
    pipe: Option<pipe::Receiver>,
    bytes: Vec<u8>,
    max: usize,
}

impl Kept {
    fn new(pipe: Option<OwnedFd>, hook: &Hook) -> io::Result<Self> {
        let pipe = pipe.map(pipe::Receiver::from_owned_fd).transpose()?;
        Ok(Self { pipe, bytes: Vec::new(), max: hook.kept_bytes_max })
    }

    /// Reads once; never again after its end.
    async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return std::future::pending().await };
        let mut piece = [0; 4096];
        match pipe.read(&mut piece).await {
            Ok(count @ 1..) => self.keep(&piece[..count]),
            Ok(0) | Err(_) => self.pipe = None,
        }
    }

    /// What is there when it has ended: somebody it left behind may hold the other end for ever.
    fn rest(&mut self) {
        let mut piece = [0; 4096];
        while self.bytes.len() < self.max
            && let Some(Ok(count @ 1..)) = self.pipe.as_ref().map(|pipe| pipe.try_read(&mut piece))
        {
            self.keep(&piece[..count]);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = self.max - self.bytes.len();
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::identity::Identity;

    fn hook(script: &str) -> Hook {
        Hook {
            run: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
            dir: "/".into(),
            environment: vec![("WHO".to_owned(), "madang".to_owned())],
            input: b"given".to_vec(),
            within: Duration::from_secs(20),
            kept_bytes_max: 1000,
        }
    }

    // Goal: it gets its input and environment, and what it writes comes back, cut.
    // Method: an echo, a flood, one that never reads, one that does not exist.
    #[tokio::test]
    async fn what_it_writes_comes_back_and_is_bounded() {
        let done = run(hook("cat; echo \" by $WHO\"; echo oh >&2; exit 3")).await.unwrap();
        assert_eq!(done.exit, Some(Exit::Code(3)));
        assert_eq!((&*done.stdout, &*done.stderr), (&b"given by madang\n"[..], &b"oh\n"[..]));

        let flood = run(hook("head -c 300000 /dev/zero")).await.unwrap();
        assert_eq!((flood.exit, flood.stdout.len()), (Some(Exit::Code(0)), 1000));

        let unread = Hook { input: vec![b'x'; 1 << 20], ..hook("exit 0") };
        assert_eq!(run(unread).await.unwrap().exit, Some(Exit::Code(0)));

        let none = Hook { run: vec!["/no/such/program".to_owned()], ..hook("") };
        assert_eq!(run(none).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    // Goal: its time is its time, for all of its group. Method: a shell that waits for a child that sleeps for a minute.
    #[tokio::test]
    async fn one_that_takes_too_long_is_ended_with_its_children() {
        let slow = Hook { within: Duration::from_millis(100), ..hook("sleep 60 & echo $!; wait") };
        let done = run(slow).await.unwrap();
        assert_eq!(done.exit, None);
        let child: u32 = String::from_utf8(done.stdout).unwrap().trim().parse().unwrap();
        // Killed, and the kernel needs a moment; one that goes on would be waited for in vain.
        if let Some(child) = Identity::of(child).and_then(|child| Running::found(&child)) {
            tokio::time::timeout(Duration::from_secs(10), child.ended()).await.unwrap();
        }
    }
}
