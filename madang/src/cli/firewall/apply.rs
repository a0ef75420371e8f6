//! Loading the packet filter, with a way back.
//!
//! **Job.** Load the table, ask whether the one who asked is still there, and take it back when nobody says so.
//! **Called by** `firewall`. **Calls** nft(8), this very program again as the one who waits.
//!
//! Invariants
//! 1. A process of its own waits for the answer. Whatever becomes of the terminal, the line or the one who asks (Ctrl-C, a line
//!    that is cut): without a "yes" in time what was there before is there again.
//! 2. What was there before is read before anything changes.
//!
//! Not here: the rules (`rules`).

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use madang_host::process::tool::Tool;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::install::{Stopped, stopped};
use crate::cli::{Ended, complain};

const TABLE: [&str; 3] = ["table", "inet", "madang"];
/// The one byte that keeps the table.
const KEEP: u8 = b'k';
/// More of our own table than there can be.
const BEFORE_BYTES_MAX: usize = 1024 * 1024;
/// Its length is told first, in so many digits.
const LENGTH_DIGITS: usize = 8;

/// Our table as it is loaded now; `None`: it is not.
pub(in crate::cli) fn loaded() -> Result<Option<String>, Stopped> {
    let said = Tool::new(["nft", "list"].iter().chain(&TABLE)).run().map_err(|error| {
        stopped("cannot look at the packet filter", format!("{error}; on Debian: apt-get install nftables"))
    })?;
    match said.well() {
        true => Ok(Some(said.out)),
        false if said.err.contains("No such file or directory") => Ok(None),
        false => Err(stopped("cannot look at the packet filter", said.err.trim())),
    }
}

/// Loads rules as one transaction.
fn load(words: &str) -> Result<(), Stopped> {
    let said = Tool::new(["nft", "-f", "-"]).input(words).must();
    said.map(|_| ()).map_err(|error| stopped("cannot load the packet filter", error))
}

/// Takes the table away. Whether it was there.
pub(super) fn unload() -> Result<bool, Stopped> {
    if loaded()?.is_none() {
        return Ok(false);
    }
    let said = Tool::new(["nft", "delete"].iter().chain(&TABLE)).must();
    said.map(|_| true).map_err(|error| stopped("cannot take the packet filter away", error))
}

/// Loads rules for good: no question.
pub(super) fn keep(words: &str) -> Result<(), Stopped> {
    load(words)
}

/// Loads rules, asks on the terminal, and takes them back unless somebody says yes within `within`. Whether they stay.
pub(super) fn ask(words: &str, within: Duration) -> Result<bool, Stopped> {
    let waits = |error: io::Error| stopped("nothing was changed: nobody could wait for the answer", error);
    if !io::stdin().is_terminal() {
        return Err(stopped(
            "nothing was changed",
            "there is no terminal to ask at; --yes keeps the rules without a question",
        ));
    }
    let before = loaded()?.unwrap_or_default();
    let seconds = within.as_secs().to_string();
    let mut waiter =
        Tool::new(["/proc/self/exe", "firewall", "--way-back", &seconds]).apart().map_err(waits)?;
    let mut way = waiter.stdin.take().ok_or_else(|| waits(io::ErrorKind::BrokenPipe.into()))?;
    write!(way, "{:0LENGTH_DIGITS$}", before.len())
        .and_then(|()| way.write_all(before.as_bytes()))
        .map_err(waits)?;
    if let Err(stop) = load(words) {
        // The waiter puts back what is there anyway.
        drop(way);
        let _ = waiter.wait();
        return Err(stop);
    }
    crate::cli::put(&format!(
        "The packet filter is loaded. Open a second connection to this machine now.\n\
         Type yes within {seconds} s to keep it; without an answer everything is as before: "
    ));
    // The question has no line end of its own. Nobody to read it is nobody to answer.
    let _ = io::stdout().flush();
    let kept = said_yes(within) && way.write_all(&[KEEP]).is_ok();
    drop(way);
    let ended = waiter.wait().map_err(waits)?;
    let kept = kept && ended.success();
    crate::cli::put(if kept { "kept\n" } else { "\ntaken back: everything is as before\n" });
    Ok(kept)
}

fn said_yes(within: Duration) -> bool {
    let stdin = io::stdin();
    if !readable(stdin.as_fd(), within) {
        return false;
    }
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "yes" | "y")
}

fn readable(from: BorrowedFd<'_>, within: Duration) -> bool {
    let timeout = Timespec { tv_sec: i64::try_from(within.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut wait = [PollFd::new(&from, PollFlags::IN)];
    // An error is no answer.
    poll(&mut wait, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// The one who waits: reads what was there, then one byte in time, or puts it back.
pub(super) fn way_back(within: Duration) -> Ended {
    // Not by the buffered stdin: it would take the answer in with what comes before it, and nobody would see it arrive.
    let Ok(mut asker) = io::stdin().as_fd().try_clone_to_owned().map(File::from) else {
        return Ended::Failed;
    };
    let Some(before) = before(&mut asker) else {
        // Nothing was loaded yet: whoever starts us says what was there first.
        return Ended::Failed;
    };
    let mut answer = [0];
    let kept =
        readable(asker.as_fd(), within) && matches!(asker.read(&mut answer), Ok(1)) && answer[0] == KEEP;
    if kept {
        return Ended::Done;
    }
    let back = if before.is_empty() {
        unload().map(|_| ())
    } else {
        load(&format!("table inet madang\ndelete table inet madang\n{before}"))
    };
    if let Err(stop) = back {
        complain(&stop.to_string());
    }
    Ended::Failed
}

/// Length and text of the table as it was.
fn before(from: &mut impl Read) -> Option<String> {
    let mut length = [0; LENGTH_DIGITS];
    from.read_exact(&mut length).ok()?;
    let length =
        std::str::from_utf8(&length).ok()?.parse().ok().filter(|length| *length <= BEFORE_BYTES_MAX)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}
