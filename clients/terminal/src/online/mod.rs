//! Being in a chat of a server.
//!
//! **Job.** Join the pure client to a connection, a clock and a face: a screen, or lines. **Called by** the command line.
//! **Calls** `client`, `link`, `keys`, the faces.
//!
//! Invariants
//! 1. Whoever is slow - the server, the face - makes the others wait: what waits is bounded.
//!
//! Not here: what anything means (`client`), drawing (`screen`), lines (`lines`).

mod lines;
mod windows;

use std::collections::VecDeque;
use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use madang_host::{clock, random};
use tokio::sync::mpsc::{Permit, Receiver, Sender};

use crate::address::ChatUrl;
use crate::client::{Client, Out, Phase, Settings, Tell};
use crate::interrupt::Interrupt;
use crate::keys::Keys;
use crate::link::{Came, Link};
use crate::name::Name;
use crate::{Failure, Trust};

/// How to be in a chat.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Which.
    pub url: ChatUrl,
    /// As whom; `None`: by the name of the user of this machine.
    pub name: Option<Name>,
    /// A user's token.
    pub token: Option<String>,
    /// Where to begin.
    pub room: String,
    /// Messages of it to show first, for lines. 0 to 200.
    pub history: u64,
    /// Events as lines of JSON.
    pub json: bool,
    /// Go on listening after the end of the input.
    pub follow: bool,
    /// No screen, even at a terminal.
    pub plain: bool,
    /// Lines that begin with a slash are commands even if a program feeds them in.
    pub commands: bool,
    /// How long lines wait for a connection before that is a failure.
    pub patience: Duration,
    /// Whom to believe when TLS is spoken.
    pub trust: Trust,
    /// Where keys are kept.
    pub state: Option<PathBuf>,
}

/// What a face wants.
enum Wanted {
    /// Nothing but to be drawn again.
    Nothing,
    /// To end.
    End,
    /// To end in failure.
    Fail(String),
}

/// Where a person or a program sits.
trait Face {
    /// Something to be told. May wait for room.
    async fn tell(&mut self, tell: &Tell) -> Wanted;
    /// A frame as it came, for those who want it so.
    async fn frame(&mut self, frame: &str) -> Wanted;
    /// The model has changed.
    fn draw(&mut self, client: &Client, now: u64);
    /// Waits for something typed and does it. May be dropped and asked again.
    async fn next(&mut self, client: &mut Client, now: &dyn Fn() -> u64) -> Wanted;
    /// When it wants to be asked [`Face::is_over`] again.
    fn due(&self, client: &Client) -> Option<u64>;
    /// Whether it has had enough.
    fn is_over(&self, client: &Client, now: u64) -> Option<Wanted>;
    /// The end.
    async fn finish(self);
}

/// Is in the chat until it is left.
///
/// # Errors
/// It could not be reached, nobody was let in, or (as lines) a message was refused.
pub async fn chat(wish: Wish) -> Result<(), Failure> {
    let interrupt = Interrupt::new()?;
    let screen = !wish.plain && !wish.json && stdin().is_terminal() && stdout().is_terminal();
    let user = || std::env::var("USER").ok().and_then(|name| name.parse::<Name>().ok());
    let name = wish.name.clone().or_else(user).map_or_else(|| "guest".to_owned(), |name| name.to_string());
    let keys = Keys::new(wish.state.as_deref());
    let settings = Settings {
        key: if wish.token.is_none() { keys.get(&wish.url.to_string(), &name) } else { None },
        name,
        may_rename: wish.name.is_none(),
        token: wish.token.clone(),
        room: wish.room.clone(),
        history: wish.history,
        everything: screen,
        seed: random::seed(),
    };
    let client = Client::new(settings);
    if screen {
        let face = windows::Windows::start()?;
        run(client, wish, keys, face, interrupt).await
    } else {
        let face = lines::Lines::start(&wish)?;
        run(client, wish, keys, face, interrupt).await
    }
}

async fn run(
    mut client: Client,
    wish: Wish,
    keys: Keys,
    mut face: impl Face,
    mut interrupt: Interrupt,
) -> Result<(), Failure> {
    let born = clock::now();
    let now = move || u64::try_from(born.elapsed().as_millis()).unwrap_or(u64::MAX);
    let at = |ms: u64| -> Instant { born + Duration::from_millis(ms) };
    let mut link: Option<Link> = None;
    let mut unsent: VecDeque<String> = VecDeque::new();
    let ended = loop {
        let mut wanted = Wanted::Nothing;
        while let Some(out) = client.poll() {
            match out {
                Out::Connect => {
                    unsent.clear();
                    link = Some(Link::open(wish.url.clone(), wish.trust.clone()));
                }
                Out::Drop => link = None,
                Out::Frame(frame) => unsent.push_back(frame),
                Out::Tell(tell) => {
                    if let Tell::Key(key) = &tell {
                        keys.put(&wish.url.to_string(), &client.me, key);
                    }
                    wanted = first(wanted, face.tell(&tell).await);
                }
                Out::Quit(None) => wanted = first(wanted, Wanted::End),
                Out::Quit(Some(why)) => wanted = first(wanted, Wanted::Fail(why)),
            }
        }
        if let Some(over) = face.is_over(&client, now()) {
            wanted = first(wanted, over);
        }
        match wanted {
            Wanted::Nothing => {}
            Wanted::End => break Ok(()),
            Wanted::Fail(why) => break Err(Failure::Told(why)),
        }
        face.draw(&client, now());
        let due = [client.due(now()), face.due(&client)].into_iter().flatten().min().map(at);
        let (came, out) = match &mut link {
            Some(link) => (Some(&mut link.came), Some(&link.out)),
            None => (None, None),
        };
        let wanted = tokio::select! {
            came = next(came) => arrived(&mut client, &mut face, came, now()).await,
            permit = room(out), if !unsent.is_empty() => {
                if let (Some(permit), Some(frame)) = (permit, unsent.pop_front()) {
                    permit.send(frame);
                }
                Wanted::Nothing
            }
            () = clock::due(due) => {
                client.tick(now());
                Wanted::Nothing
            }
            wanted = face.next(&mut client, &now) => wanted,
            () = interrupt.comes() => Wanted::End,
        };
        if matches!(client.phase, Phase::Away(_)) {
            link = None;
            unsent.clear();
        }
        match wanted {
            Wanted::Nothing => {}
            Wanted::End => break Ok(()),
            Wanted::Fail(why) => break Err(Failure::Told(why)),
        }
    };
    close(link).await;
    face.finish().await;
    ended
}

fn first(a: Wanted, b: Wanted) -> Wanted {
    if matches!(a, Wanted::Nothing) { b } else { a }
}

async fn arrived(client: &mut Client, face: &mut impl Face, came: Came, now: u64) -> Wanted {
    match came {
        Came::Opened => client.opened(now),
        Came::Text(text) => {
            let wanted = face.frame(&text).await;
            client.received(&text, now);
            return wanted;
        }
        Came::Closed(code, why) => {
            client.closed(code, &why, now);
            // An address that is wrong is no reason to wait; whoever was let in once comes back.
            if !client.was_here() && code.is_none() {
                return Wanted::Fail(why);
            }
        }
    }
    Wanted::Nothing
}

async fn next(came: Option<&mut Receiver<Came>>) -> Came {
    match came {
        Some(came) => {
            came.recv().await.unwrap_or_else(|| Came::Closed(None, "the connection was cut".to_owned()))
        }
        None => std::future::pending().await,
    }
}

async fn room(out: Option<&Sender<String>>) -> Option<Permit<'_, String>> {
    match out {
        Some(out) => out.reserve().await.ok(),
        None => std::future::pending().await,
    }
}

/// Closes in order, so that the server need not find out by itself; not for longer than a moment.
async fn close(link: Option<Link>) {
    let Some(mut link) = link else { return };
    let (ended, _) = tokio::sync::mpsc::channel(1);
    drop(std::mem::replace(&mut link.out, ended));
    let over = async { while let Some(Came::Opened | Came::Text(_)) = link.came.recv().await {} };
    let _ = tokio::time::timeout(Duration::from_millis(500), over).await;
}
