//! The side that waits.
//!
//! **Job.** Listen; talk with one guest after the other; tell others that it is busy. **Called by** the command line.
//! **Calls** `door`, `converse`.
//!
//! Invariants
//! 1. One guest at a time; another one is told within a second and holds no place longer.
//! 2. A line a person typed for one guest never reaches the next. What a program feeds in waits for a guest.
//!
//! Not here: the talk (`converse`), the socket and its TLS (`door`).

use std::io;
use std::time::Duration;

use madang_host::net::stream::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;

use super::converse::{End, Peer, converse};
use super::door::Door;
use super::{BUSY, HELP, Side};
use crate::Failure;
use crate::address::Way;
use crate::console::{Gone, Input, Output};
use crate::interrupt::Interrupt;

/// How long somebody who is told that we are busy may take to hear it.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// How many are told at once; further ones are closed without a word, to them and to us.
const REFUSED_AT_ONCE_MAX: usize = 16;

/// Waits there, talks with whoever comes, until this side ends.
///
/// # Errors
/// The address cannot be had.
pub async fn serve(at: &Way, side: &Side) -> Result<(), Failure> {
    let mut door = Door::open(at, side.certificate.as_ref())?;
    let mut interrupt = Interrupt::new()?;
    let output = Output::start()?;
    let mut input = Input::start()?;
    // However it ended, it was this side that ended.
    let _ = receive(&mut door, side, &mut input, &output, &mut interrupt).await;
    output.finish().await;
    Ok(())
}

async fn receive(
    door: &mut Door,
    side: &Side,
    input: &mut Input,
    output: &Output,
    interrupt: &mut Interrupt,
) -> Result<(), Gone> {
    output.notice(format!("listening on {}; Ctrl+C ends", door.told)).await?;
    if let Some(fingerprint) = door.fingerprint {
        output
            .notice(format!("its certificate's SHA-256, for the other side's --pin: {fingerprint}"))
            .await?;
    }
    match (door.only_this_machine, door.fingerprint) {
        (true, _) => {}
        (false, Some(_)) => output.notice("whoever reaches this port may talk").await?,
        (false, None) => {
            output.notice("whoever reaches this port may talk, and others on the way may read it").await?;
        }
    }
    let mut refused = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            guest = door.next(output) => guest?,
            () = alone(input, output) => return Ok(()),
            () = interrupt.comes() => return Ok(()),
        };
        output.notice(format!("{address} is here")).await?;
        let peer = Peer::new(address);
        let talk = converse(stream, &peer, side, input, output, interrupt);
        let end = meanwhile(talk, door, &peer, &mut refused, output).await?;
        let who = peer.label();
        match end {
            End::Ours => return Ok(()),
            End::Unseen => return Err(Gone),
            End::Theirs | End::Busy => output.notice(format!("{who} has left; waiting for the next")).await?,
            End::Cut(error) => {
                output
                    .notice(format!("the talk with {who} was cut off: {error}; waiting for the next"))
                    .await?;
            }
        }
        if input.is_terminal && input.used().is_some() {
            output.notice("your last line did not reach them").await?;
        }
    }
}

/// The talk; whoever comes meanwhile is told that we are busy.
async fn meanwhile(
    talk: impl Future<Output = End>,
    door: &mut Door,
    guest: &Peer,
    refused: &mut JoinSet<Result<io::Result<()>, Elapsed>>,
    output: &Output,
) -> Result<End, Gone> {
    tokio::pin!(talk);
    loop {
        let (stream, address) = tokio::select! {
            end = &mut talk => return Ok(end),
            other = door.next(output) => other?,
        };
        while refused.try_join_next().is_some() {}
        if refused.len() >= REFUSED_AT_ONCE_MAX {
            continue;
        }
        refused.spawn(tokio::time::timeout(REFUSED_WITHIN, refuse(stream)));
        output.notice(format!("{address} was told that you are talking with {}", guest.label())).await?;
    }
}

/// Nobody is here: resolves when the input has ended and nothing of it waits for a guest.
async fn alone(input: &mut Input, output: &Output) {
    loop {
        let typed = input.is_terminal;
        let word = match input.line().await {
            None => return,
            Some(b"/quit") if typed => return,
            Some(b"/help") if typed => HELP,
            Some(_) if typed => "nobody is here yet: it was not sent",
            // What a program feeds in waits for a guest.
            Some(_) => std::future::pending().await,
        };
        input.used();
        // Nobody to see it: the next guest's coming ends it.
        let _ = output.notice(word).await;
    }
}

/// Says that we are busy and waits until that was heard: closing at once, with bytes unread, would take the word back.
async fn refuse(mut stream: Stream) -> io::Result<()> {
    stream.write_all(format!("{BUSY}\n").as_bytes()).await?;
    stream.shutdown().await?;
    let mut piece = [0; 512];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}
