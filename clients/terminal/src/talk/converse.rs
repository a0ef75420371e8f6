//! The talk itself, the same on both sides.
//!
//! **Job.** Lines typed go out, lines that come are shown, until one side ends. **Called by** `serve`, `join`.
//! **Calls** `console`, `wire::clean`.
//!
//! Not here: who comes and what happens afterwards.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use madang_wire::clean::clean;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{BUSY, HELP, Side};
use crate::console::{Gone, Input, LINE_BYTES_MAX, Output};
use crate::interrupt::Interrupt;
use crate::lines::LineCutter;
use crate::name::Name;

/// How long the other side has to take what we ended with.
const LINGER: Duration = Duration::from_secs(2);

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// The other side ended.
    Theirs,
    /// The other side had time for nothing but [`BUSY`].
    Busy,
    /// We did: the input ended, `/quit`, Ctrl+C.
    Ours,
    /// Neither did.
    Cut(io::Error),
    /// Nobody looks at what is shown.
    Unseen,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Unseen
    }
}

/// Who the other side is.
pub(super) struct Peer {
    /// Its address.
    address: String,
    name: RefCell<Option<Name>>,
}

impl Peer {
    pub(super) fn new(address: String) -> Self {
        Self { address, name: RefCell::new(None) }
    }

    /// What it is called.
    pub(super) fn label(&self) -> String {
        self.name.borrow().as_ref().map_or_else(|| self.address.clone(), ToString::to_string)
    }
}

/// Talks over `stream` until one side ends.
pub(super) async fn converse<S: AsyncRead + AsyncWrite>(
    stream: S,
    peer: &Peer,
    side: &Side,
    input: &mut Input,
    output: &Output,
    interrupt: &mut Interrupt,
) -> End {
    let (reader, writer) = tokio::io::split(stream);
    let hearing = hear(reader, peer, output);
    tokio::pin!(hearing);
    let said = {
        let saying = say(writer, side, input, output, interrupt);
        tokio::pin!(saying);
        tokio::select! {
            end = &mut hearing => return end,
            said = &mut saying => said,
        }
    };
    // What the other side said before it noticed is still heard; whoever is impatient asks again.
    let heard = tokio::select! {
        heard = tokio::time::timeout(LINGER, &mut hearing) => heard.ok(),
        () = interrupt.comes() => None,
    };
    match (said, heard) {
        (Ok(()), _) => End::Ours,
        // It cannot be written to because it has ended: that is how it ended.
        (Err(_), Some(end @ (End::Theirs | End::Busy | End::Unseen))) => end,
        (Err(error), _) => End::Cut(error),
    }
}

async fn hear(mut reader: impl AsyncRead + Unpin, peer: &Peer, output: &Output) -> End {
    let mut cutter = LineCutter::new(LINE_BYTES_MAX);
    let mut piece = [0; 4096];
    let mut heard = 0_u64;
    let mut busy = false;
    loop {
        let (lines, ended) = match reader.read(&mut piece).await {
            Ok(0) => (cutter.finish().into_iter().collect(), true),
            Ok(count) => (cutter.push(&piece[..count]), false),
            // TLS: the stream ended, but that this is the end was not said; perhaps somebody in between cut it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return End::Cut(io::Error::new(error.kind(), "it went without saying so"));
            }
            Err(error) => return End::Cut(error),
        };
        for line in lines {
            heard += 1;
            busy = heard == 1 && line == BUSY.as_bytes();
            // Shown only if more follows: alone it is the answer to our coming.
            if !busy && let Err(gone) = show(&line, peer, output).await {
                return gone.into();
            }
        }
        match (ended, busy) {
            (true, true) => return End::Busy,
            (true, false) => return End::Theirs,
            (false, _) => {}
        }
    }
}

async fn show(line: &[u8], peer: &Peer, output: &Output) -> Result<(), Gone> {
    let text = clean(line);
    if let Some(name) = text.strip_prefix("/nick ").and_then(|name| name.trim().parse::<Name>().ok()) {
        let before = peer.label();
        output.notice(format!("{before} is called {name}")).await?;
        *peer.name.borrow_mut() = Some(name);
        return Ok(());
    }
    // A program that reads us wants what was said; a person also wants to know who said it.
    let line = match (output.is_terminal, output.colours) {
        (false, _) => text,
        (true, false) => format!("{}: {text}", peer.label()),
        (true, true) => format!("\x1b[1;36m{}\x1b[0m: {text}", peer.label()),
    };
    output.line(line).await
}

async fn say(
    mut writer: impl AsyncWrite + Unpin,
    side: &Side,
    input: &mut Input,
    output: &Output,
    interrupt: &mut Interrupt,
) -> io::Result<()> {
    let saying = async {
        if let Some(name) = &side.name {
            writer.write_all(format!("/nick {name}\n").as_bytes()).await?;
            writer.flush().await?;
        }
        loop {
            let is_terminal = input.is_terminal;
            let Some(line) = input.line().await else { break };
            match (is_terminal, line) {
                (true, b"/quit") => break,
                (true, b"/help") => {
                    // Nobody to see it: the next line that comes ends the talk.
                    let _ = output.notice(HELP).await;
                }
                _ => {
                    let whole = [line, b"\n"].concat();
                    writer.write_all(&whole).await?;
                    writer.flush().await?;
                }
            }
            input.used();
        }
        io::Result::Ok(())
    };
    tokio::select! {
        said = saying => said?,
        () = interrupt.comes() => {}
    }
    writer.shutdown().await
}
