//! How a client that speaks in lines lives: over and over a connection, and on each what the stage asks for.
//!
//! **Job.** Connect, wait for what comes first (a line, another stage, a silence that is too long), cut the connection when the plan
//! wants it, come back. **Called by** `irc` and `line`, which say what their lines mean.
//!
//! Invariants
//! 1. No wait is without an end: who is answered by nothing gives the connection up.
//!
//! Not here: what is said and heard (`irc`, `line`), frames (`websocket`), requests (`sse`).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::book::Stage;
use super::diary::Diary;

const RETRY: Duration = Duration::from_millis(50);

/// The connection is over.
pub(super) struct Lost;

/// The two ends of a connection.
pub(super) struct Wire {
    lines: Lines<BufReader<OwnedReadHalf>>,
    out: OwnedWriteHalf,
}

impl Wire {
    /// Connects.
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Lost> {
        let stream = TcpStream::connect(address).await.map_err(|_| Lost)?;
        stream.set_nodelay(true).map_err(|_| Lost)?;
        let (read, out) = stream.into_split();
        Ok(Self { lines: BufReader::new(read).lines(), out })
    }

    /// Says these lines, which bear their ends.
    pub(super) async fn say(&mut self, lines: &str) -> Result<(), Lost> {
        self.out.write_all(lines.as_bytes()).await.map_err(|_| Lost)
    }
}

/// What is known of one connection.
pub(super) trait Talk {
    /// Its ends.
    fn wire(&mut self) -> &mut Wire;
    /// Whether the server knows who this is.
    fn greeted(&self) -> bool;
    /// Whether every question was answered: it may be silent for as long as it likes.
    fn answered(&self) -> bool;
}

/// A client that speaks in lines.
pub(super) trait Client {
    /// Of one connection.
    type Talk: Talk;

    /// What it keeps over all of them.
    fn diary(&mut self) -> &mut Diary;
    /// Connects and says who it is.
    async fn connect(&mut self) -> Result<Self::Talk, Lost>;
    /// Does what the stage asks for; whether everything is done.
    async fn act(&mut self, talk: &mut Self::Talk, stage: &Stage) -> Result<bool, Lost>;
    /// Reads a line.
    async fn heard(&mut self, talk: &mut Self::Talk, line: &str) -> Result<(), Lost>;
    /// A connection is over, whoever ended it: what was not answered on it is put where it belongs.
    fn over(&mut self, talk: Self::Talk);
}

/// Lives until everything is done.
pub(super) async fn live(client: &mut impl Client) {
    let silence = client.diary().silence;
    loop {
        let Ok(Ok(mut talk)) = tokio::time::timeout(silence, client.connect()).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let ended = converse(client, &mut talk).await;
        let greeted = talk.greeted();
        client.over(talk);
        match ended {
            Ok(()) => return,
            Err(Lost) if greeted => client.diary().lost(),
            // Its name is still taken by the connection before.
            Err(Lost) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// One connection, until everything is done or it is over.
async fn converse<C: Client>(client: &mut C, talk: &mut C::Talk) -> Result<(), Lost> {
    let silence = client.diary().silence;
    let mut stage = client.diary().book.stage.subscribe();
    let mut now = stage.borrow_and_update().clone();
    loop {
        if talk.greeted() && client.act(talk, &now).await? {
            return Ok(());
        }
        let quiet = talk.greeted() && talk.answered();
        tokio::select! {
            line = talk.wire().lines.next_line() => {
                let Ok(Some(line)) = line else { return Err(Lost) };
                client.heard(talk, &line).await?;
                let diary = client.diary();
                if now == Stage::Send && let Some(reset) = diary.cuts.frame() {
                    if reset {
                        let _ = talk.wire().out.as_ref().set_zero_linger(); // else it is cut with a FIN
                    }
                    diary.book.counts.borrow_mut().cuts += 1;
                    return Err(Lost);
                }
            }
            changed = stage.changed() => {
                changed.map_err(|_| Lost)?;
                now = stage.borrow_and_update().clone();
            }
            () = tokio::time::sleep(silence), if !quiet => return Err(Lost),
        }
    }
}
