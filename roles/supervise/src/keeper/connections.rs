//! Apps with a program for each connection, as they run: the thin hands of [`Crew`].
//!
//! **Job.** Carry out what each crew decides: have programs started, hand their connections to whoever called, signal; tell it
//! what happens. **Owned by** `keeper`. **Calls** `per_connection`, `launch`, `journal`, `host::process::zygote`.
//!
//! Invariants
//! 1. A program's connection is held by exactly one: by us until it is handed over, then by the caller.
//! 2. A version has one zygote, from its first program until its last has ended; it has a record like every process of ours.
//!
//! Not here: deciding (`per_connection`), passing bytes (`roles/balance`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::connection::Ends;
use madang_host::process::cgroup::{Group, Groups};
use madang_host::process::exit::Exit;
use madang_host::process::identity::Identity;
use madang_host::process::output::Output;
use madang_host::process::zygote::handle::Zygote;
use madang_host::process::zygote::{Farewell, Order, Report};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use tokio::sync::{Notify, mpsc, oneshot};

use super::crashes::{Crash, Crashes};
use super::journal::{self, Journal};
use super::record::{self, Record};
use super::voices::{LastWords, Voices};
use super::{end_group, launch, stop_signal};
use crate::app::{AppView, Release, Tone};
use crate::around::Around;
use crate::config::AppSettings;
use crate::per_connection::{Action, CallNumber, Crew, ProgramNumber};
use crate::releases::resume::fingerprint;

/// Calls and events that wait; whoever has more waits itself.
const EVENTS_MAX: usize = 1024;
/// How long nothing may be looked at while nothing happens.
const CALM: Duration = Duration::from_secs(5);
/// How long zygotes get to end once nothing of theirs runs.
const ZYGOTES_WITHIN: Duration = Duration::from_secs(2);

/// A program's connection, lent to whoever passes bytes.
#[derive(Debug)]
pub struct Lent {
    /// The other end is the program's standard input and output. Not blocking.
    pub socket: UnixStream,
    /// Resolves, whatever it says, once the program has ended.
    pub ended: oneshot::Receiver<()>,
    /// Told once the connection is over as its two ends wanted; dropped when it broke.
    pub held: oneshot::Sender<()>,
}

struct Call {
    app: Arc<str>,
    ends: Ends,
    answer: oneshot::Sender<Result<Lent, String>>,
}

/// Asks for programs, from any thread.
#[derive(Debug, Clone)]
pub struct Caller {
    calls: mpsc::Sender<Call>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} {})", self.app, self.ends.peer)
    }
}

impl Caller {
    /// A program for a connection with these ends.
    pub async fn call(&self, app: Arc<str>, ends: Ends) -> io::Result<Lent> {
        let (answer, wait) = oneshot::channel();
        let over = || io::Error::other("the server is ending");
        self.calls.send(Call { app, ends, answer }).await.map_err(|_| over())?;
        wait.await.map_err(|_| over())?.map_err(io::Error::other)
    }
}

enum Event {
    Told(Report),
    Ended(ProgramNumber, Exit),
    /// A connection; whether it ended as its two ends wanted.
    Over(ProgramNumber, bool),
    /// A version's zygote.
    Gone(u32),
}

/// A program that was ordered and has not ended.
struct Line {
    release: u32,
    /// Until it is handed over.
    socket: Option<UnixStream>,
    /// To whoever it was handed to.
    ended: Option<oneshot::Sender<()>>,
    /// To whoever reads its standard error.
    exit: Option<oneshot::Sender<Exit>>,
    said: LastWords,
}

/// The way to a zygote.
struct Way {
    zygote: Rc<Zygote>,
    orders: mpsc::Sender<(Order, Vec<OwnedFd>)>,
}

struct Manned {
    crew: Crew,
    ways: BTreeMap<u32, Way>,
    lines: BTreeMap<ProgramNumber, Line>,
    calls: HashMap<CallNumber, oneshot::Sender<Result<Lent, String>>>,
    gone: bool,
}

/// See the module.
pub(super) struct Connections {
    crews: RefCell<BTreeMap<Arc<str>, Manned>>,
    folder: PathBuf,
    groups: Groups,
    around: Rc<dyn Around>,
    journal: Rc<Journal>,
    crashes: Rc<RefCell<Crashes>>,
    caller: Caller,
    events: mpsc::Sender<(Arc<str>, Event)>,
    changed: Notify,
    calls: Cell<CallNumber>,
    /// Zygotes that have not quite ended.
    zygotes: Rc<Cell<usize>>,
    seed: u64,
}

impl Connections {
    pub(super) fn start(
        folder: PathBuf,
        groups: Groups,
        around: Rc<dyn Around>,
        (journal, crashes): (Rc<Journal>, Rc<RefCell<Crashes>>),
        seed: u64,
    ) -> Rc<Self> {
        let (calls, mut called) = mpsc::channel(EVENTS_MAX);
        let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
        let this = Rc::new(Self {
            crews: RefCell::default(),
            folder,
            groups,
            around,
            journal,
            crashes,
            caller: Caller { calls },
            events,
            changed: Notify::new(),
            calls: Cell::new(0),
            zygotes: Rc::default(),
            seed,
        });
        let weak: Weak<Self> = Rc::downgrade(&this);
        tokio::task::spawn_local(async move {
            loop {
                let Some(this) = weak.upgrade() else { return };
                let next = this.act();
                tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = this.changed.notified() => {}
                    Some((name, event)) = inbox.recv() => this.happened(&name, event),
                    Some(call) = called.recv() => this.called(call),
                }
            }
        });
        this
    }

    pub(super) fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// New settings; those among them that are for us.
    pub(super) fn update(&self, settings: &[Arc<AppSettings>]) {
        let ours = || settings.iter().filter(|settings| settings.per_connection.is_some());
        let mut crews = self.crews.borrow_mut();
        for settings in ours() {
            match crews.get_mut(&settings.name) {
                Some(manned) => {
                    if std::mem::take(&mut manned.gone) {
                        manned.crew.start_all();
                    }
                    manned.crew.update(Arc::clone(settings));
                }
                None => {
                    let manned = Manned {
                        crew: Crew::new(Arc::clone(settings), self.seed),
                        ways: BTreeMap::new(),
                        lines: BTreeMap::new(),
                        calls: HashMap::new(),
                        gone: false,
                    };
                    crews.insert(Arc::clone(&settings.name), manned);
                }
            }
        }
        for (name, manned) in crews.iter_mut() {
            if !manned.gone && !ours().any(|settings| settings.name == *name) {
                manned.gone = true;
                manned.crew.stop_all(clock::now());
            }
        }
        self.changed.notify_one();
    }

    pub(super) fn views(&self) -> Vec<AppView> {
        let now = clock::now();
        self.crews.borrow().values().map(|manned| manned.crew.view(now)).collect()
    }

    /// What is kept of their logs.
    pub(super) fn settings(&self) -> Vec<Arc<AppSettings>> {
        self.crews.borrow().values().map(|manned| Arc::clone(manned.crew.settings())).collect()
    }

    /// One app's order; `None`: there is no such app here.
    pub(super) fn order<T>(&self, app: &str, order: impl FnOnce(&mut Crew, Instant) -> T) -> Option<T> {
        let done = order(&mut self.crews.borrow_mut().get_mut(app)?.crew, clock::now());
        self.changed.notify_one();
        Some(done)
    }

    /// Ends every program and zygote and waits until none is left.
    pub(super) async fn end(&self) {
        self.crews.borrow_mut().values_mut().for_each(|manned| manned.crew.end(clock::now()));
        self.changed.notify_one();
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !self.crews.borrow().values().all(|manned| manned.crew.is_empty()) {
            tick.tick().await;
        }
        for manned in self.crews.borrow().values() {
            manned.ways.values().for_each(|way| way.zygote.hang_up());
        }
        let until = clock::now() + ZYGOTES_WITHIN;
        while self.zygotes.get() > 0 && clock::now() < until {
            tick.tick().await;
        }
    }

    /// Carries out everything that is due; gives the next deadline.
    fn act(&self) -> Instant {
        let now = clock::now();
        let mut next = now + CALM;
        let mut crews = self.crews.borrow_mut();
        for (name, manned) in crews.iter_mut() {
            while let Some(action) = manned.crew.poll(now) {
                self.carry_out(name, manned, action, now);
            }
            next = manned.crew.next_deadline().into_iter().fold(next, Instant::min);
        }
        crews.retain(|name, manned| {
            let stays = !manned.gone || !manned.crew.is_empty();
            if !stays {
                manned.ways.values().for_each(|way| way.zygote.hang_up());
                self.around.forgotten(name);
            }
            stays
        });
        next
    }

    fn carry_out(&self, name: &Arc<str>, manned: &mut Manned, action: Action, now: Instant) {
        match action {
            Action::Start { program, release, ends } => {
                if let Err(error) = self.begin(name, manned, program, &release, ends) {
                    manned.lines.remove(&program);
                    manned.crew.not_started(program, &error.to_string(), now);
                }
            }
            Action::Hand { call, program } => {
                if !self.hand(name, manned, call, program) {
                    manned.crew.over(program, false, now);
                }
            }
            Action::Refuse { call, why } => {
                if let Some(answer) = manned.calls.remove(&call) {
                    // Whoever has left need not know.
                    let _ = answer.send(Err(why.to_string()));
                }
            }
            Action::HangUp(program) => {
                if let Some(line) = manned.lines.get_mut(&program) {
                    line.socket = None;
                }
            }
            Action::Stop(program) => {
                let signal = stop_signal(manned.crew.settings().stop.signal);
                signal_program(manned, program, signal);
            }
            Action::Kill(program) => signal_program(manned, program, Signal::KILL),
            Action::Retire(release) => {
                if let Some(way) = manned.ways.get(&release) {
                    way.zygote.hang_up();
                }
            }
            Action::Tell(tone, sentence) => self.around.told(name, tone, &sentence),
        }
    }

    fn begin(
        &self,
        name: &Arc<str>,
        manned: &mut Manned,
        program: ProgramNumber,
        release: &Release,
        ends: Option<Ends>,
    ) -> io::Result<()> {
        let way = match manned.ways.get(&release.number) {
            Some(way) => way,
            None => {
                let way = self.zygote(name, manned.crew.settings(), release)?;
                manned.ways.entry(release.number).or_insert(way)
            }
        };
        let (ours, its) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let output = Output::of(read)?;
        let environment = environment(program, ends);
        way.orders
            .try_send((Order::Start { number: program, environment }, vec![its.into(), write]))
            .map_err(|_| io::Error::other("it is too busy starting others"))?;
        let (exit, wait) = oneshot::channel();
        let (voices, said) = Voices::of(name, program, (None, Some(output)), &self.journal);
        let line = Line { release: release.number, socket: Some(ours), ended: None, exit: Some(exit), said };
        manned.lines.insert(program, line);
        let (app, events) = (Arc::clone(name), self.events.clone());
        tokio::task::spawn_local(async move {
            let exit = follow(voices, wait).await;
            // Without us nobody wants to know.
            let _ = events.send((app, Event::Ended(program, exit))).await;
        });
        Ok(())
    }

    /// Gives a program's connection to whoever called. False: nobody wants it any more.
    fn hand(&self, name: &Arc<str>, manned: &mut Manned, call: CallNumber, program: ProgramNumber) -> bool {
        let (Some(answer), Some(line)) = (manned.calls.remove(&call), manned.lines.get_mut(&program)) else {
            return false;
        };
        let Some(socket) = line.socket.take() else { return false };
        let (held, over) = oneshot::channel();
        let (ended, wait) = oneshot::channel();
        line.ended = Some(ended);
        if answer.send(Ok(Lent { socket, ended: wait, held })).is_err() {
            return false;
        }
        let (app, events) = (Arc::clone(name), self.events.clone());
        tokio::task::spawn_local(async move {
            let orderly = over.await.is_ok();
            // Without us nobody wants to know.
            let _ = events.send((app, Event::Over(program, orderly))).await;
        });
        true
    }

    fn called(&self, call: Call) {
        let number = self.calls.get() + 1;
        self.calls.set(number);
        match self.crews.borrow_mut().get_mut(&call.app) {
            Some(manned) => {
                manned.calls.insert(number, call.answer);
                manned.crew.call(number, call.ends);
            }
            // It has just gone from the settings.
            None => drop(call.answer.send(Err("there is no such app any more".to_owned()))),
        }
    }

    fn happened(&self, name: &Arc<str>, event: Event) {
        let now = clock::now();
        let mut crews = self.crews.borrow_mut();
        let Some(manned) = crews.get_mut(name) else { return };
        match event {
            Event::Told(Report::Started { number, .. }) => manned.crew.started(number),
            Event::Told(Report::NotStarted { number, why }) => {
                manned.lines.remove(&number);
                manned.crew.not_started(number, &why, now);
            }
            Event::Told(Report::Ended { number, code, signal, core }) => {
                if let Some(exit) = manned.lines.get_mut(&number).and_then(|line| line.exit.take()) {
                    // Its reader tells us, once it has read what is left.
                    let _ = exit.send(Report::exit(code, signal, core));
                }
            }
            Event::Ended(number, exit) => {
                if let Some(line) = manned.lines.remove(&number) {
                    let lines: Vec<String> = line.said.borrow().iter().cloned().collect();
                    if manned.crew.ended(number, &exit, &lines, now) {
                        let (time, how) = (journal::time(), exit.to_string());
                        let crash = Crash { time, instance: number, how, lines };
                        self.crashes.borrow_mut().add(name, crash);
                    }
                }
            }
            Event::Over(number, orderly) => manned.crew.over(number, orderly, now),
            Event::Gone(release) => {
                manned.ways.remove(&release);
                let left = manned.lines.values_mut().filter(|line| line.release == release);
                for exit in left.filter_map(|line| line.exit.take()) {
                    let _ = exit.send(Exit::Unknown);
                }
            }
        }
    }

    /// Starts the zygote of a version.
    fn zygote(&self, name: &Arc<str>, settings: &AppSettings, release: &Release) -> io::Result<Way> {
        let stop = settings.stop;
        let farewell = Farewell { signal: stop_signal(stop.signal).as_raw(), grace: stop.grace };
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let group_name = format!("{name}-{}-{}", std::process::id(), release.number);
        let (launch, group) = launch::zygote(&self.groups, settings, release, write, &group_name)?;
        let zygote = Zygote::start(launch, farewell).inspect_err(|_| {
            group.remove();
        })?;
        let zygote = Rc::new(zygote);
        let kept = self.keep(name, release, &zygote, &group);
        let (orders, mut inbox) = mpsc::channel::<(Order, Vec<OwnedFd>)>(EVENTS_MAX);
        let sends = Rc::clone(&zygote);
        tokio::task::spawn_local(async move {
            while let Some((order, descriptors)) = inbox.recv().await {
                let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                if sends.order(&order, &borrowed).await.is_err() {
                    // It is gone, which its reader tells.
                    break;
                }
            }
        });
        let (hears, app, events) = (Rc::clone(&zygote), Arc::clone(name), self.events.clone());
        let (count, number) = (Rc::clone(&self.zygotes), release.number);
        count.set(count.get() + 1);
        tokio::task::spawn_local(async move {
            while let Ok(Some(report)) = hears.report().await {
                if events.send((Arc::clone(&app), Event::Told(report))).await.is_err() {
                    break;
                }
            }
            hears.hang_up();
            hears.running().ended().await;
            end_group(group);
            record::forget_all(kept.as_slice());
            count.set(count.get() - 1);
            let _ = events.send((app, Event::Gone(number))).await;
        });
        self.hear_zygote(name, Output::of(read)?);
        Ok(Way { zygote, orders })
    }

    /// What the zygote itself has to complain about.
    fn hear_zygote(&self, name: &Arc<str>, mut output: Output) {
        let (app, around) = (Arc::clone(name), Rc::clone(&self.around));
        tokio::task::spawn_local(async move {
            let tell = |line: &[u8]| around.told(&app, Tone::Bad, &String::from_utf8_lossy(line));
            while output.lines(tell).await.is_ok() {}
        });
    }

    fn keep(&self, name: &str, release: &Release, zygote: &Zygote, group: &Group) -> Vec<PathBuf> {
        let process = zygote.running().identity().clone();
        let record = Record {
            app: name.to_owned(),
            instance: process.number,
            address: String::new(),
            process,
            program: fingerprint(&release.program),
            tree: None,
            files: Vec::new(),
            groups: group.folders(),
            owner: Identity::of(std::process::id()),
        };
        let made = std::fs::create_dir_all(record::folder(&self.folder, name));
        match made.and_then(|()| record::keep(&self.folder, &record)) {
            Ok(path) => vec![path],
            Err(error) => {
                let said = format!("process {} has no record: {error}", record.process.number);
                self.around.told(name, Tone::Bad, &said);
                Vec::new()
            }
        }
    }
}

fn signal_program(manned: &Manned, program: ProgramNumber, signal: Signal) {
    let Some(line) = manned.lines.get(&program) else { return };
    if let Some(way) = manned.ways.get(&line.release) {
        // One that has no room left for it gets the next: SIGKILL comes later.
        let _ = way.orders.try_send((Order::Signal { number: program, signal: signal.as_raw() }, Vec::new()));
    }
}

/// What a program finds in its environment besides the app's: as inetd's and ucspi's users know it.
fn environment(program: ProgramNumber, ends: Option<Ends>) -> Vec<(String, String)> {
    let mut all = vec![("MADANG_INSTANCE", program.to_string())];
    if let Some(Ends { peer, local }) = ends {
        let (client, server) = (peer.ip().to_canonical().to_string(), local.ip().to_canonical().to_string());
        all.push(("PROTO", "TCP".to_owned()));
        all.push(("REMOTE_ADDR", client.clone()));
        all.push(("REMOTE_PORT", peer.port().to_string()));
        all.push(("TCPREMOTEIP", client));
        all.push(("TCPREMOTEPORT", peer.port().to_string()));
        all.push(("TCPLOCALIP", server));
        all.push(("TCPLOCALPORT", local.port().to_string()));
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Reads what a program says on standard error until it has ended.
async fn follow(mut voices: Voices, mut exit: oneshot::Receiver<Exit>) -> Exit {
    let exit = loop {
        tokio::select! {
            ended = &mut exit => break ended.unwrap_or(Exit::Unknown),
            () = voices.hear() => {}
        }
    };
    voices.rest();
    exit
}
