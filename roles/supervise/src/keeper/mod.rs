//! The apps as they run: the thin hands of the state machines.
//!
//! **Job.** Carry out what each [`App`] decides: start, signal, place into the pool; tell it what happens. **Owned by** the
//! main loop. **Calls** `app`, `launch`, `record`, `journal`, `host::process`.
//!
//! Invariants
//! 1. Every process that runs has its record in the data folder, so that the next server finds it: none is started twice.
//! 2. While it is frozen (an upgrade is under way) nothing is started, ended or read.
//!
//! Not here: deciding (`app`), requests and checks (`roles/balance`, by way of [`Around`]).

mod again;
mod ailment;
mod connections;
mod crashes;
mod deploys;
mod journal;
mod launch;
mod look;
mod meter;
mod record;
mod shelf;
mod voices;
mod waiting;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::process::cgroup::{Group, Groups};
use madang_host::process::exit::Exit;
use madang_host::process::gate::Gate;
use madang_host::process::identity::resident_bytes;
use madang_host::process::output::Output;
use madang_host::process::running::Running;
use madang_host::process::said::{Ear, Said};
use rustix::process::Signal;
use tokio::sync::{Notify, mpsc, watch};

use self::connections::Connections;
pub use self::connections::{Caller, Lent};
pub use self::crashes::Crash;
use self::crashes::Crashes;
pub use self::deploys::HistoryView;
use self::journal::Journal;
use self::launch::Launched;
use self::meter::Meter;
use self::record::Record;
use self::shelf::Shelf;
use self::voices::{LastWords, Voices};
use crate::app::{Action, App, AppView, InstanceNumber, Refused, Release, Tone};
use crate::around::{Around, Member};
use crate::config::{AppSettings, Kind, Ready, StopSignal};
use crate::life::Look;
use crate::per_connection::Crew;
use crate::releases::resume::{fingerprint, name_of};

/// How often it is looked while something is under way, and while nothing is.
const BUSY: Duration = Duration::from_millis(100);
const CALM: Duration = Duration::from_millis(500);
/// Things that happened and were not looked at yet; whoever has more to tell waits.
const EVENTS_MAX: usize = 256;

enum Event {
    Ended(Exit),
    Said(Said),
}

/// A process of an instance.
struct Run {
    running: Rc<Running>,
    version: u32,
    /// The number of the folder it runs from.
    tree: Option<u32>,
    address: String,
    /// Files that go with it.
    files: Vec<PathBuf>,
    said: LastWords,
    notified: bool,
    status: Option<String>,
    group: Group,
    meter: Meter,
}

struct Kept {
    app: App,
    runs: BTreeMap<InstanceNumber, Run>,
    /// It is not in the settings any more: ends, then is forgotten.
    gone: bool,
    shelf: Shelf,
    /// Somebody beside its own scaling wants to know its CPU time.
    metered: bool,
}

/// See the module.
pub struct Keeper {
    apps: RefCell<BTreeMap<Arc<str>, Kept>>,
    me: Weak<Keeper>,
    data: PathBuf,
    /// `DATA/apps`.
    folder: PathBuf,
    groups: Groups,
    around: Rc<dyn Around>,
    journal: Rc<Journal>,
    connections: Rc<Connections>,
    crashes: Rc<RefCell<Crashes>>,
    events: mpsc::Sender<(Arc<str>, InstanceNumber, Event)>,
    changed: Notify,
    frozen: watch::Sender<bool>,
    seed: u64,
}

impl Keeper {
    /// Takes care of these apps from now on. What an earlier server left is found again or ended. Must be called on the
    /// main loop's runtime, before the pools are made: their members are told at once.
    pub fn start(
        settings: &[Arc<AppSettings>],
        data: PathBuf,
        seed: u64,
        around: Rc<dyn Around>,
    ) -> Rc<Self> {
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let groups = Groups::find(&format!("madang-{:016x}", name_of(&data)));
        let (folder, journal) = (data.join("apps"), Rc::new(Journal::new(data.join("logs"))));
        let (all, logs) = (Rc::clone(&around), Rc::clone(&journal));
        let crashes = Rc::new(RefCell::new(Crashes::new(folder.clone())));
        let ours = Rc::clone(&crashes);
        let this = Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            apps: RefCell::default(),
            connections: Connections::start(folder.clone(), groups.clone(), all, (logs, ours), seed),
            crashes,
            groups,
            folder,
            around,
            journal,
            data,
            events,
            changed: Notify::new(),
            frozen: watch::Sender::new(false),
            seed,
        });
        this.update(settings);
        this.find_again();
        let weak = Rc::downgrade(&this);
        tokio::task::spawn_local(async move { turn(&weak, inbox).await });
        this
    }

    /// New settings: apps that stay go on, by deploy where their program changed; others come and go.
    pub fn update(&self, settings: &[Arc<AppSettings>]) {
        let now = clock::now();
        let mut apps = self.apps.borrow_mut();
        self.connections.update(settings);
        let ours = || settings.iter().filter(|settings| settings.per_connection.is_none());
        for settings in ours() {
            match apps.get_mut(&settings.name) {
                Some(kept) => {
                    kept.gone = false;
                    kept.app.update(Arc::clone(settings), &kept.shelf.trees, now);
                }
                None => {
                    let kept = self.take_on(settings, now);
                    self.around.members(&settings.name, Vec::new(), settings.kind == Kind::Service);
                    apps.insert(Arc::clone(&settings.name), kept);
                }
            }
        }
        for (name, kept) in apps.iter_mut() {
            if !ours().any(|settings| settings.name == *name) {
                kept.gone = true;
                kept.app.stop_all(now);
            }
        }
        let settings = apps.values().map(|kept| Arc::clone(kept.app.settings()));
        let lost = self.journal.keep(settings.chain(self.connections.settings()).collect());
        drop(apps);
        if let Err(error) = lost {
            self.around.told("apps", Tone::Bad, &format!("their logs are not kept: {error}"));
        }
        self.changed.notify_one();
    }

    /// From here on nothing is started, ended or read: another server takes over.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
        // Two servers must not write into one folder: what is not ready by now has not won.
        for (_, progress) in self.apps.borrow().values().filter_map(|kept| kept.shelf.preparing.as_ref()) {
            progress.cancel();
        }
    }

    /// Whether another server takes over.
    pub fn is_frozen(&self) -> bool {
        *self.frozen.borrow()
    }

    /// The other server did not: it goes on.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
        self.changed.notify_one();
    }

    /// Ends every app and waits until none is left.
    pub async fn end(&self) {
        for kept in self.apps.borrow_mut().values_mut() {
            kept.app.end(clock::now());
        }
        self.changed.notify_one();
        self.connections.end().await;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !self.apps.borrow().values().all(|kept| kept.app.is_empty()) {
            tick.tick().await;
            self.act();
        }
        self.groups.remove();
    }

    /// Everything, for `status`.
    pub fn views(&self) -> Vec<AppView> {
        let now = clock::now();
        let view = |kept: &Kept| {
            let mut view = kept.app.view(now);
            for instance in &mut view.instances {
                let Some(run) = kept.runs.get(&instance.instance) else { continue };
                let number = run.running.identity().number;
                instance.process = Some(number);
                instance.address = Some(run.address.clone()).filter(|address| !address.is_empty());
                instance.memory = resident_bytes(number);
                instance.cpu_percent = run.meter.percent().map(|percent| (percent * 10.0).round() / 10.0);
                instance.status.clone_from(&run.status);
            }
            if let (Some(deploy), Some((_, progress))) = (&mut view.deploy, &kept.shelf.preparing) {
                deploy.files = Some(progress.line());
            }
            view
        };
        self.apps.borrow().values().map(view).chain(self.connections.views()).collect()
    }

    /// Ends only the programs that have a connection each: another server has everything else.
    pub async fn end_connections(&self) {
        self.connections.end().await;
    }

    /// The newest lines of an app, and what keeps the disk from taking them if something does; its last crashes.
    pub fn words(&self, app: &str) -> (String, Option<String>, Vec<Crash>) {
        let (newest, trouble) = self.journal.newest(app);
        (newest, trouble, self.crashes.borrow().of(app))
    }

    /// Where programs for connections are asked for.
    pub fn caller(&self) -> Caller {
        self.connections.caller()
    }

    /// The order of an app with a program for each connection; `None`: there is no such app.
    pub fn order_crew<T>(&self, app: &str, order: impl FnOnce(&mut Crew, Instant) -> T) -> Option<T> {
        self.connections.order(app, order)
    }

    /// The same without what the kernel has to be asked for.
    pub fn outlines(&self) -> Vec<AppView> {
        let now = clock::now();
        self.apps.borrow().values().map(|kept| kept.app.view(now)).collect()
    }

    /// One app's order; `None`: there is no such app.
    pub fn order<T>(
        &self,
        app: &str,
        order: impl FnOnce(&mut App, Instant) -> Result<T, Refused>,
    ) -> Option<Result<T, Refused>> {
        let done = order(&mut self.apps.borrow_mut().get_mut(app)?.app, clock::now());
        // At once: whoever asks next sees what was ordered.
        self.act();
        self.changed.notify_one();
        Some(done)
    }

    /// Carries out everything that is due; gives the next deadline.
    fn act(&self) -> Instant {
        let now = clock::now();
        if *self.frozen.borrow() {
            return now + CALM;
        }
        let mut apps = self.apps.borrow_mut();
        // Programs for connections are started as they are needed: nobody waits for them.
        let mut ready = waiting::ready(&apps);
        ready.extend(self.connections.settings().into_iter().map(|crew| Arc::clone(&crew.name)));
        let (mut next, mut processes) = (now + CALM, None);
        for (name, kept) in apps.iter_mut() {
            if kept.app.settings().after.iter().all(|other| ready.contains(&**other)) {
                kept.app.allow();
            }
            if self.look(name, kept, &mut processes, now) {
                next = next.min(now + BUSY);
            }
            while let Some(action) = kept.app.poll(now) {
                self.carry_out(name, kept, action, now);
            }
            next = kept.app.next_deadline().into_iter().fold(next, Instant::min);
        }
        // Behind everybody's own news: first why one has failed, then who waits for it.
        for (name, others, failed) in waiting::blocked(&apps) {
            let Some(kept) = apps.get_mut(&name) else { continue };
            kept.app.waits_for(&others, failed);
            while let Some(action) = kept.app.poll(now) {
                self.carry_out(&name, kept, action, now);
            }
        }
        apps.retain(|name, kept| {
            let stays = !kept.gone || !kept.app.is_empty();
            if !stays {
                self.around.forgotten(name);
            }
            stays
        });
        next
    }

    fn carry_out(&self, name: &Arc<str>, kept: &mut Kept, action: Action, now: Instant) {
        match action {
            Action::Start { instance, release } => self.begin(name, kept, instance, &release, now),
            Action::Stop(instance) => {
                self.signal(name, kept, instance, stop_signal(kept.app.settings().stop.signal))
            }
            Action::Kill(instance) => self.signal(name, kept, instance, Signal::KILL),
            Action::Places => self.place(name, kept),
            Action::AskSchedule => {
                if let Kind::At(schedule) = &kept.app.settings().kind
                    && let Some(wait) = launch::until_next(schedule)
                {
                    kept.app.run_at(now + wait);
                }
            }
            Action::Begun { version, cause, origin } => self.begun(name, kept, version, cause, origin),
            Action::Over { version, lost, lines, took } => {
                self.over(name, kept, version, lost, lines, took);
            }
            Action::Forget(version) => self.forget(kept, version),
            Action::Tell(tone, sentence) => self.around.told(name, tone, &sentence),
        }
    }

    fn signal(&self, name: &str, kept: &Kept, instance: InstanceNumber, signal: Signal) {
        let Some(run) = kept.runs.get(&instance) else { return };
        if let Err(error) = run.running.signal(signal) {
            let number = run.running.identity().number;
            self.around.told(name, Tone::Bad, &format!("process {number} cannot be signalled: {error}"));
        }
    }

    fn place(&self, name: &Arc<str>, kept: &Kept) {
        if kept.app.settings().kind != Kind::Service {
            return;
        }
        let member = |place: crate::app::Place| {
            let run = kept.runs.get(&place.instance)?;
            Some(Member { address: run.address.clone(), weight: place.weight, draining: place.draining })
        };
        let members = kept.app.places().into_iter().filter_map(member).collect();
        self.around.members(name, members, kept.app.comes_up());
    }

    fn begin(
        &self,
        name: &Arc<str>,
        kept: &mut Kept,
        instance: InstanceNumber,
        release: &Release,
        now: Instant,
    ) {
        let settings = Arc::clone(kept.app.settings());
        let ear = (settings.ready == Ready::Notify).then(Ear::open).transpose();
        let taken = |address: &str| kept.runs.values().any(|run| run.address == address);
        let launched = ear.and_then(|ear| {
            let notify = ear.as_ref().map(Ear::address);
            let launched =
                launch::launch(&self.folder, &self.groups, &settings, instance, release, notify, taken)?;
            Ok((launched, ear))
        });
        let (launched, ear) = match launched {
            Ok(both) => both,
            Err(error) => {
                return kept.app.ended(instance, &Exit::NotStarted(error.to_string()), &[], now);
            }
        };
        let Launched { running, address, mut files, group, gate, heard } = launched;
        let record = Record {
            app: name.to_string(),
            instance,
            address: address.clone(),
            process: running.identity().clone(),
            program: fingerprint(&release.program),
            tree: release.made.tree,
            files: files.clone(),
            groups: group.folders(),
            owner: None,
        };
        // Now it is known, or cannot be: it may begin.
        match record::keep(&self.folder, &record) {
            Ok(path) => {
                files.push(path);
                drop(gate);
            }
            Err(error) => {
                // Without that word it ends, which is told as any end is.
                let _ = gate.map(Gate::open_unrecorded);
                let said = format!(
                    "instance {instance} has no record, a server after this one will not find it: {error}"
                );
                self.around.told(name, Tone::Bad, &said);
            }
        }
        let number = running.identity().number;
        let said = format!("instance {instance} of version {} starts (process {number})", release.number);
        self.around.told(name, Tone::Good, &said);
        let run = self.watch(
            name,
            instance,
            (running, group),
            address,
            files,
            ((Some(heard.0), Some(heard.1)), ear),
        );
        let (version, tree) = (release.number, release.made.tree);
        kept.runs.insert(instance, Run { version, tree, ..run });
        kept.app.started(instance);
    }

    /// Follows a process: its lines, what it says, its end.
    fn watch(
        &self,
        name: &str,
        instance: InstanceNumber,
        (running, group): (Running, Group),
        address: String,
        files: Vec<PathBuf>,
        (outputs, ear): ((Option<Output>, Option<Output>), Option<Ear>),
    ) -> Run {
        let running = Rc::new(running);
        let (app, events, held) = (Arc::<str>::from(name), self.events.clone(), Rc::clone(&running));
        let (mut voices, said) = Voices::of(&app, instance, outputs, &self.journal);
        let (mut frozen, last_words) = (self.frozen.subscribe(), Rc::clone(&said));
        let lived_in = group.clone();
        tokio::task::spawn_local(async move {
            let end = held.ended();
            tokio::pin!(end);
            let mut exit = loop {
                let quiet = *frozen.borrow_and_update();
                let read = async {
                    if quiet {
                        std::future::pending().await
                    }
                    voices.hear().await;
                };
                let hear = async {
                    match ear.as_ref().filter(|_| !quiet) {
                        Some(ear) => ear.hear().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    exit = &mut end => break exit,
                    () = read => {}
                    heard = hear => for said in heard.unwrap_or_default() {
                        // Without a keeper nobody wants to know, here and below.
                        let _ = events.send((Arc::clone(&app), instance, Event::Said(said))).await;
                    },
                    _ = frozen.changed() => {}
                }
            };
            if !*frozen.borrow() {
                voices.rest();
            }
            if matches!(exit, Exit::Signal { number: 9, .. } | Exit::Unknown)
                && let Some(limit) = group.was_out_of_memory()
            {
                exit = Exit::OutOfMemory { limit };
            }
            if group.was_out_of_processes() {
                voices::remember(&last_words, "madang: it wanted more processes than limits.pids allows");
            }
            end_group(group);
            let _ = events.send((app, instance, Event::Ended(exit))).await;
        });
        let (group, meter) = (lived_in, Meter::default());
        Run {
            running,
            version: 0,
            tree: None,
            address,
            files,
            said,
            notified: false,
            status: None,
            group,
            meter,
        }
    }

    fn happened(&self, name: &Arc<str>, instance: InstanceNumber, event: Event) {
        let mut apps = self.apps.borrow_mut();
        let Some(kept) = apps.get_mut(name) else { return };
        match event {
            Event::Ended(exit) => {
                let Some(run) = kept.runs.remove(&instance) else { return };
                // A frozen one's files are the next server's.
                if !*self.frozen.borrow() {
                    record::forget_all(&run.files);
                }
                let lines: Vec<String> = run.said.borrow().iter().cloned().collect();
                if !kept.app.is_leaving(instance) && !exit.is_success() {
                    let (time, how) = (journal::time(), exit.to_string());
                    let crash = Crash { time, instance, how, lines: lines.clone() };
                    self.crashes.borrow_mut().add(name, crash);
                }
                kept.app.ended(instance, &exit, &lines, clock::now());
                self.sweep(name, kept);
            }
            Event::Said(said) => {
                let Some(run) = kept.runs.get_mut(&instance) else { return };
                match said {
                    Said::Ready => {
                        run.notified = true;
                        kept.app.see(instance, Look { notified: true, ..Look::default() });
                        self.place(name, kept);
                    }
                    Said::Status(status) => run.status = Some(status),
                    Said::Stopping => {}
                }
            }
        }
    }
}

/// Acts whenever something is due or happened.
async fn turn(me: &Weak<Keeper>, mut inbox: mpsc::Receiver<(Arc<str>, InstanceNumber, Event)>) {
    loop {
        let Some(this) = me.upgrade() else { return };
        let next = this.act();
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = this.changed.notified() => {}
            Some((name, instance, event)) = inbox.recv() => this.happened(&name, instance, event),
        }
    }
}

/// Ends what is left in a group and removes it, as soon as the kernel lets it.
fn end_group(group: Group) {
    /// What was killed needs a moment; a process the kernel cannot end keeps its group, and that costs nothing.
    const TRIES: u32 = 20;
    group.kill();
    if group.remove() {
        return;
    }
    tokio::task::spawn_local(async move {
        for _ in 0..TRIES {
            tokio::time::sleep(BUSY).await;
            if group.remove() {
                return;
            }
        }
    });
}

const fn stop_signal(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
    }
}
