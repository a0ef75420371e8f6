//! The crash drill: a server is killed again and again while clients talk, and nothing may be lost.
//!
//! **Job.** Start the server and its clients, kill the one and wait for the others, judge. **Called by** `main`.
//! **Calls** `plan` for what happens, the clients for what is said, `ledger` for what is right.
//!
//! Invariants
//! 1. The server is killed by SIGKILL while messages are under way, at moments that the seed decides; with several machines one
//!    thing at a time breaks, of a machine or of what all stand on, and clients go to the next machine.
//! 2. The last kill comes when everything was acknowledged: what is judged is what was on disk.
//! 3. No wait is without an end: a drill that stands still says what it was waiting for.
//!
//! Not here: what breaks how (`house`), what a client is (`websocket`, `sse`, `irc`, `line`).

mod book;
mod diary;
mod grounds;
mod house;
mod http;
mod irc;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod line;
mod lines;
mod network;
mod plan;
mod report;
mod server;
mod sse;
mod told;
mod websocket;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use madang_host::clock;

use book::{Book, Stage};
use diary::Diary;
pub use house::Kind;
use house::{Blow, House};
use network::Network;
use plan::Plan;
use report::Report;
use server::StartError;
use tokio::signal::unix::{SignalKind, signal};

/// Nothing moves for so long: it never will.
const STANDSTILL: Duration = Duration::from_secs(60);
/// While something is broken messages are let out in so many portions.
const STEPS: u32 = 20;

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
    /// How often the server is killed while messages are sent, or something else breaks
    #[arg(long, default_value_t = 20)]
    pub kills: u32,
    /// About how often each client is cut off
    #[arg(long, default_value_t = 10)]
    pub cuts: u32,
    /// By which faces clients come, in turn
    #[arg(long, value_delimiter = ',', default_value = "ws,irc,sse+post,line")]
    pub faces: Vec<Face>,
    /// How many machines; with more than one PostgreSQL and NATS are started for them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub nodes: u32,
    /// What breaks with several machines; left out: everything. What cuts needs root and `ip`: the machines are in network namespaces
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<Kind>,
    /// The longest time that something stays broken with several machines, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=30))]
    pub outage_max: u64,
    /// The report as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Keep the server's folder, settings, data and all
    #[arg(long)]
    pub keep: bool,
    /// Set by the drill itself, when it runs within the namespaces it made
    #[arg(long, hide = true)]
    pub inside: Option<String>,
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
    /// Somebody ended it.
    Ended,
    /// The drill within the namespaces has no result; it has told why.
    Inside(ExitStatus),
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
            Self::Ended => write!(f, "it was ended before it was over"),
            Self::Inside(status) => write!(f, "the drill within the network namespaces: {status}"),
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

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was promised was kept.
    Kept,
    /// So far as it was rehearsed: some faults cannot be had here.
    LeftOut,
    /// Something was lost, doubled or disordered.
    Broken,
}

impl Verdict {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Kept => 0,
            Self::LeftOut => 3,
            Self::Broken => 1,
        }
    }
}

/// Rehearses.
///
/// # Errors
/// [`Failure`]: the drill could not be held, which says nothing about the server's promises.
pub fn run(options: &Options) -> Result<Verdict, Failure> {
    if options.faces.first() != Some(&Face::Ws) {
        return Err(Failure::First);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Io { doing: "start a runtime", error })?;
    let mut kinds: Vec<Kind> = match (options.nodes, options.faults.as_slice()) {
        (1, _) => vec![Kind::Kill],
        (_, []) => Kind::ALL.to_vec(),
        (_, some) => some.to_vec(),
    };
    let mut left_out = Vec::new();
    if options.inside.is_none() && kinds.iter().any(|kind| kind.needs_network()) {
        let Some(lacking) = network::lacking() else {
            let network = Network::make(options.nodes).map_err(Failure::Start)?;
            let ended = runtime.block_on(network.run_inside()).map_err(Failure::Start)?;
            return match ended.code() {
                Some(0) => Ok(Verdict::Kept),
                Some(1) => Ok(Verdict::Broken),
                _ => Err(Failure::Inside(ended)),
            };
        };
        let without = kinds.extract_if(.., |kind| kind.needs_network());
        left_out.extend(without.map(|kind| format!("{}: {lacking}", kind.name())));
        eprintln!("madang-chat-drill: left out are {}", left_out.join("; "));
    }
    let folder = tempfile::Builder::new().prefix("madang-crash-").tempdir();
    let mut folder = folder.map_err(|error| Failure::Io { doing: "make a folder", error })?;
    if options.keep {
        folder.disable_cleanup(true);
        eprintln!("madang-chat-drill: the server's folder is {}", folder.path().display());
    }
    let plan = Plan::new(options, &kinds);
    let drill = tokio::task::LocalSet::new();
    let mut report = runtime.block_on(drill.run_until(async {
        tokio::select! {
            report = drill_in(options, plan, folder.path()) => report,
            told = told_to_end() => Err(told),
        }
    }))?;
    report.left_out = left_out;
    report.tell(options.json);
    Ok(match (report.findings.is_empty(), report.left_out.is_empty()) {
        (false, _) => Verdict::Broken,
        (true, true) => Verdict::Kept,
        (true, false) => Verdict::LeftOut,
    })
}

/// Whoever ends the drill ends what it started too.
async fn told_to_end() -> Failure {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (mut interrupt, mut terminate) = match signals {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => return Failure::Io { doing: "hear signals", error },
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Failure::Ended
}

async fn drill_in(options: &Options, plan: Plan, folder: &Path) -> Result<Report, Failure> {
    let began = clock::now();
    let house = House::start(options, folder).await.map_err(Failure::Start)?;
    let addresses = house.addresses();
    let mut drill = Drill { book: Book::new(), house, clients: u64::from(options.clients) };
    let mut audits = plan.audits();
    let conversations: Vec<_> = audits.values().flatten().map(|place| place.conversation.clone()).collect();
    for client in 0..options.clients {
        let (diary, addresses) = (Diary::new(&drill.book, &plan, client), Rc::clone(&addresses));
        match plan.face(client) {
            Face::Ws => {
                let audits = audits.remove(&client).unwrap_or_default();
                tokio::task::spawn_local(websocket::Client::new(diary, addresses, audits).live());
            }
            Face::SsePost => drop(tokio::task::spawn_local(sse::Client::new(diary, addresses).live())),
            Face::Irc => drop(tokio::task::spawn_local(irc::Client::new(diary, addresses).live())),
            Face::Line => drop(tokio::task::spawn_local(line::Client::new(diary, addresses).live())),
        }
    }
    drill.everybody("clients said hello").await?;
    drill.enter(Stage::Join);
    drill.everybody("clients joined their rooms").await?;
    drill.enter(Stage::Send);
    let mut by_kind = BTreeMap::new();
    let messages = u64::from(options.messages);
    let ahead = u64::from(options.clients) * 4;
    let moments: Vec<u64> = plan.kills.iter().copied().chain([messages]).collect();
    drill.book.allow(moments.first().copied().unwrap_or(messages) + ahead);
    for (number, moment) in (0..).zip(moments.windows(2)) {
        let [kill, next] = moment else { continue };
        drill.until("messages settled before the next fault", *kill, Book::settled_count).await?;
        let blow = plan.blow(number);
        drill.befall(blow, kill + ahead, next + ahead).await?;
        *by_kind.entry(blow.kind.name()).or_default() += 1;
        let settled = drill.book.settled_count();
        let (kind, node, lasts) = (blow.kind.name(), blow.node, blow.lasts.as_secs_f64());
        eprintln!(
            "madang-chat-drill: fault {}, {kind} of machine {node} for {lasts:.1} s: {settled} of {messages} messages settled",
            number + 1
        );
    }
    drill.until("messages settled", messages, Book::settled_count).await?;
    let sent_in = began.elapsed();
    for node in 0..drill.house.nodes.len() {
        drill.befall(Blow { kind: Kind::Kill, node, lasts: Duration::ZERO }, messages, messages).await?;
        *by_kind.entry(Kind::Kill.name()).or_default() += 1;
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
        faults: by_kind.values().sum(),
        by_kind,
        left_out: Vec::new(),
        counts,
        sending_seconds: sent_in.as_secs_f64(),
        seconds: began.elapsed().as_secs_f64(),
        findings: sorted(&findings),
    })
}

struct Drill {
    book: Rc<Book>,
    house: House,
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
                let mut said = self.house.said();
                for finding in self.book.judged().iter().take(5) {
                    said.push_str(&format!("found: {finding}\n"));
                }
                return Err(Failure::Standstill { waiting_for, have, want, said });
            }
        }
        Ok(())
    }

    /// Something breaks, and is mended; meanwhile from `so_far` up to `in_all` messages may be sent, a little at a time.
    async fn befall(&mut self, blow: Blow, so_far: u64, in_all: u64) -> Result<(), Failure> {
        self.house.strike(blow).map_err(Failure::Start)?;
        for step in 1..=STEPS {
            tokio::time::sleep(blow.lasts / STEPS).await;
            self.book.allow(so_far + (in_all - so_far) * u64::from(step) / u64::from(STEPS));
        }
        self.house.mend(blow).await.map_err(Failure::Start)
    }
}

/// In words; the same findings in the same order, whatever found them first.
fn sorted(findings: &[ledger::Finding]) -> Vec<String> {
    let mut words: Vec<String> = findings.iter().map(ToString::to_string).collect();
    words.sort();
    words
}
