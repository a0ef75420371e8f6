//! The crash drill: a server is killed again and again while clients talk, and nothing may be lost.
//!
//! **Job.** Start the server and its clients, kill the one and wait for the others, judge. **Called by** `main`.
//! **Calls** `plan` for what happens, the clients for what is said, `ledger` for what is right.
//!
//! Invariants
//! 1. The server is killed by SIGKILL while messages are under way, at moments that the seed decides; of several machines one
//!    at a time is killed or stopped, and clients go to the next.
//! 2. The last kill comes when everything was acknowledged: what is judged is what was on disk.
//! 3. No wait is without an end: a drill that stands still says what it was waiting for.
//!
//! Not here: faults of the network, of the database and of the bus.

mod book;
mod diary;
mod grounds;
mod irc;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod plan;
mod report;
mod server;
mod websocket;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use madang_host::clock;

use book::{Book, Stage};
use diary::Diary;
use grounds::Grounds;
use plan::{Fault, Plan};
use report::Report;
use rustix::process::Signal;
use server::{Addresses, Server, StartError};

/// Nothing moves for so long: it never will.
const STANDSTILL: Duration = Duration::from_secs(60);

/// What is rehearsed.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The server's program
    #[arg(long, default_value = "target/release/madang")]
    pub madang: PathBuf,
    /// Decides everything that is left to chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many clients, over all faces
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub clients: u32,
    /// How many messages, of all clients together
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub messages: u32,
    /// How often the server is killed while messages are sent
    #[arg(long, default_value_t = 20)]
    pub kills: u32,
    /// About how often each client is cut off
    #[arg(long, default_value_t = 10)]
    pub cuts: u32,
    /// By which faces clients come, in turn
    #[arg(long, value_delimiter = ',', default_value = "ws")]
    pub faces: Vec<Face>,
    /// How many machines; with more than one PostgreSQL and NATS are started for them, and machines are stopped as well as killed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub nodes: u32,
    /// The report as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Keep the server's folder, settings, data and all
    #[arg(long)]
    pub keep: bool,
}

/// The ways into a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Face {
    /// JSON over websocket
    Ws,
    /// Reading by server-sent events, writing by POST
    #[value(name = "sse+post")]
    SsePost,
    /// IRC with CHATHISTORY
    Irc,
    /// Lines of text, which cannot resume
    Line,
}

/// Why a drill has no result.
#[derive(Debug)]
pub enum Failure {
    /// The server did not start.
    Start(StartError),
    /// The kernel said no.
    Io {
        /// To what.
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// A face that this drill does not speak yet.
    Face(Face),
    /// Logs are read by clients that come over websockets.
    First,
    /// Nothing moved any more.
    Standstill {
        /// What was waited for.
        waiting_for: &'static str,
        /// How far it was.
        have: u64,
        /// Of how many.
        want: u64,
        /// What the server said last.
        said: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "{error}"),
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
            Self::Face(face) => write!(f, "no client of this drill speaks {face:?} yet"),
            Self::First => write!(f, "the first of --faces has to be ws: by it the logs are read in the end"),
            Self::Standstill { waiting_for, have, want, said } => {
                let seconds = STANDSTILL.as_secs();
                write!(
                    f,
                    "nothing moved for {seconds} s: {have} of {want} {waiting_for}; the server said last:\n{said}"
                )
            }
        }
    }
}

/// Rehearses; whether nothing was lost.
///
/// # Errors
/// [`Failure`]: the drill could not be held, which says nothing about the server's promises.
pub fn run(options: &Options) -> Result<bool, Failure> {
    if let Some(face) = options.faces.iter().find(|face| !matches!(face, Face::Ws | Face::Irc)) {
        return Err(Failure::Face(*face));
    }
    if options.faces.first() != Some(&Face::Ws) {
        return Err(Failure::First);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Io { doing: "start a runtime", error })?;
    let folder = tempfile::Builder::new().prefix("madang-crash-").tempdir();
    let mut folder = folder.map_err(|error| Failure::Io { doing: "make a folder", error })?;
    if options.keep {
        folder.disable_cleanup(true);
        eprintln!("madang-chat-drill: the server's folder is {}", folder.path().display());
    }
    let report = runtime.block_on(tokio::task::LocalSet::new().run_until(drill(options, folder.path())))?;
    report.tell(options.json);
    Ok(report.findings.is_empty())
}

async fn drill(options: &Options, folder: &Path) -> Result<Report, Failure> {
    let began = clock::now();
    let mut plan = Plan::new(options);
    let grounds = match options.nodes {
        1 => None,
        _ => Some(Grounds::start(folder).await.map_err(Failure::Start)?),
    };
    let mut nodes = Vec::new();
    for node in 0..options.nodes {
        let place = folder.join(format!("node{node}"));
        std::fs::create_dir(&place).map_err(|error| Failure::Io { doing: "make a folder", error })?;
        let server = Server::start(&options.madang, &place, &options.faces, grounds.as_ref()).await;
        nodes.push(server.map_err(Failure::Start)?);
    }
    let addresses: Rc<[Addresses]> = nodes.iter().map(|node| node.addresses).collect();
    let mut drill = Drill { book: Book::new(), nodes, clients: u64::from(options.clients) };
    // The first client of each conversation that can reads its log in the end.
    let mut conversations = BTreeSet::new();
    for client in 0..options.clients {
        let diary = Diary::new(&drill.book, &plan, client);
        if plan.face(client) == Face::Irc {
            tokio::task::spawn_local(irc::Client::new(diary, Rc::clone(&addresses)).live());
            continue;
        }
        let places = plan.places(client);
        let audits: Vec<usize> =
            (0..places.len()).filter(|at| conversations.insert(places[*at].conversation.clone())).collect();
        tokio::task::spawn_local(websocket::Client::new(diary, Rc::clone(&addresses), &audits).live());
    }
    drill.everybody("clients said hello").await?;
    drill.enter(Stage::Join);
    drill.everybody("clients joined their rooms").await?;
    drill.enter(Stage::Send);
    let kills = std::mem::take(&mut plan.kills);
    let mut faults = 0;
    for kill in kills {
        drill.until("messages settled before the next fault", kill, Book::settled_count).await?;
        let (node, fault) = plan.fault(faults);
        drill.befall(node, fault).await?;
        faults += 1;
        let settled = drill.book.settled_count();
        eprintln!("madang-chat-drill: {faults} faults, {settled} of {} messages settled", options.messages);
    }
    drill.until("messages settled", u64::from(options.messages), Book::settled_count).await?;
    let sent_in = began.elapsed();
    for node in 0..drill.nodes.len() {
        drill.befall(node, Fault::Kill(Duration::ZERO)).await?;
    }
    drill.enter(Stage::Audit);
    drill.until("logs read", conversations.len() as u64, |book| book.audited_count() as u64).await?;
    let ends = drill.book.ends(conversations.into_iter());
    drill.enter(Stage::Finish(Rc::new(ends)));
    drill.everybody("clients saw everything").await?;
    let findings = drill.book.judged();
    let counts = drill.book.counts.borrow().clone();
    Ok(Report {
        seed: options.seed,
        clients: options.clients,
        nodes: options.nodes,
        faults: faults + u64::from(options.nodes),
        counts,
        sending_seconds: sent_in.as_secs_f64(),
        seconds: began.elapsed().as_secs_f64(),
        findings: sorted(&findings),
    })
}

struct Drill {
    book: Rc<Book>,
    nodes: Vec<Server>,
    clients: u64,
}

impl Drill {
    fn enter(&self, stage: Stage) {
        self.book.there.set(0);
        self.book.stage.send_replace(stage);
    }

    async fn everybody(&mut self, what: &'static str) -> Result<(), Failure> {
        self.until(what, self.clients, |book| u64::from(book.there.get())).await
    }

    /// Waits until `have` is `want`; gives up when nothing moves, or when the server has ended by itself.
    async fn until(
        &mut self,
        waiting_for: &'static str,
        want: u64,
        have: impl Fn(&Book) -> u64,
    ) -> Result<(), Failure> {
        while have(&self.book) < want {
            let moved = tokio::time::timeout(STANDSTILL, self.book.moved.notified()).await;
            if moved.is_err() {
                let have = have(&self.book);
                let mut said = String::new();
                for node in &mut self.nodes {
                    let ended = if node.ended() { "(it has ended)\n" } else { "" };
                    said.push_str(&format!("{ended}{}\n", node.said()));
                }
                for finding in self.book.judged().iter().take(5) {
                    said.push_str(&format!("found: {finding}\n"));
                }
                return Err(Failure::Standstill { waiting_for, have, want, said });
            }
        }
        Ok(())
    }

    async fn befall(&mut self, node: usize, fault: Fault) -> Result<(), Failure> {
        let Some(node) = self.nodes.get_mut(node) else { return Ok(()) };
        match fault {
            Fault::Kill(away) => {
                node.kill();
                tokio::time::sleep(away).await;
                node.again().await.map_err(Failure::Start)
            }
            Fault::Stop(asleep) => {
                node.signal(Signal::STOP);
                tokio::time::sleep(asleep).await;
                node.signal(Signal::CONT);
                Ok(())
            }
        }
    }
}

/// In words; the same findings in the same order, whatever found them first.
fn sorted(findings: &[ledger::Finding]) -> Vec<String> {
    let mut words: Vec<String> = findings.iter().map(ToString::to_string).collect();
    words.sort();
    words
}
