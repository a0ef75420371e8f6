//! The chats, from the control side: a hub each on a thread of its own, and the store that all of them share.
//!
//! **Job.** Open the store when a chat is there, start and end hubs, give every worker its part, show what they do.
//! **Called by** `house`, `status`. **Calls** `madang_chat`, `madang_store`.
//!
//! Invariants
//! 1. The store is opened before anything is changed: a reload that cannot have it has changed nothing.
//! 2. A hub that is told to end has everything written and told before the store is closed.
//!
//! Not here: what they show (`view`), whom they tell (`hooks`), a worker's part (`room`), rooms and people (`roles/chat`).

mod hooks;
mod view;

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use madang_bus::config::BusSettings;
use madang_bus::error::BusError;
use madang_bus::{Bus, Told};
use madang_chat::config::ChatSettings;
use madang_chat::floor::FloorCounts;
use madang_chat::hooks::office::{Board, Office};
use madang_chat::hub::{Directory, Hub, HubCounts, HubParts};
use madang_chat::post::{HubLink, ToWorker};
use madang_chat::web::files::shelf::Shelf;
use madang_chat::web::files::{self, Shared};
use madang_host::clock;
use madang_host::config::Level;
use madang_host::telemetry::error_log::Log;
use madang_store::Store;
use madang_store::config::StoreSettings;
use madang_store::error::StoreError;
use tokio::sync::mpsc;

use self::view::Pulse;

/// Batches of the hub's that wait for one worker; then the hub waits.
const BATCHES_MAX: usize = 64;
/// How often old files are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// What one worker needs of one chat; travels between threads.
pub struct ChatPart {
    /// As checked.
    pub settings: Arc<ChatSettings>,
    /// The way to its hub.
    pub link: HubLink,
    /// What the hub says to this worker.
    pub post: mpsc::Receiver<Vec<ToWorker>>,
    /// What is done on this worker.
    pub counts: Arc<FloorCounts>,
    /// What all workers share of it.
    pub shared: Shared,
}

/// A chat that runs.
struct Running {
    settings: Arc<ChatSettings>,
    link: HubLink,
    thread: JoinHandle<()>,
    hub: Arc<HubCounts>,
    floors: Vec<Arc<FloorCounts>>,
    board: Arc<Board>,
    /// Where it has or had hooks.
    office: Option<Office>,
    pulse: Pulse,
    shelf: Arc<Shelf>,
    /// When old files were last thrown away.
    swept: Cell<Instant>,
}

/// All of them.
#[derive(Default)]
pub struct Chats {
    store: Option<Store>,
    bus: Option<Bus>,
    running: Vec<Running>,
}

impl Chats {
    /// Opens the store if it is `wanted` and not open. Off this thread: it may take some seconds.
    pub async fn open_store(
        &mut self,
        wanted: bool,
        settings: &StoreSettings,
        data: &Path,
    ) -> Result<(), StoreError> {
        if !wanted || self.store.is_some() {
            return Ok(());
        }
        let (settings, data) = (settings.clone(), data.to_owned());
        let opened = tokio::task::spawn_blocking(move || Store::open(&settings, &data)).await;
        let why = || StoreError::Failed { why: "opening it broke off".to_owned() };
        self.store = Some(opened.unwrap_or_else(|_| Err(why()))?);
        Ok(())
    }

    /// Opens the way to other machines if the settings name one, a chat needs it and it is not open.
    /// Off this thread: it blocks for a moment.
    pub async fn open_bus(
        &mut self,
        wanted: &[Arc<ChatSettings>],
        settings: &BusSettings,
        log: &Log,
    ) -> Result<(), BusError> {
        if wanted.is_empty() || self.bus.is_some() || matches!(settings, BusSettings::Local) {
            return Ok(());
        }
        let (settings, log) = (settings.clone(), log.clone());
        let started =
            tokio::task::spawn_blocking(move || Bus::start(&settings, move |told| tell(&log, told))).await;
        let why = || BusError::Failed { why: "starting it broke off".to_owned() };
        self.bus = Some(started.unwrap_or_else(|_| Err(why()))?);
        Ok(())
    }

    /// The store, once it is open.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Starts those of `wanted` that do not run yet; for each worker, its parts.
    pub fn start(
        &mut self,
        wanted: &[Arc<ChatSettings>],
        workers: usize,
        data: &Path,
        directory: Option<&Arc<dyn Directory>>,
    ) -> io::Result<Vec<Vec<ChatPart>>> {
        let mut parts: Vec<Vec<ChatPart>> = (0..workers).map(|_| Vec::new()).collect();
        let Some(store) = self.store.clone() else { return Ok(parts) };
        for settings in wanted {
            if self.running.iter().any(|running| running.settings.name == settings.name) {
                continue;
            }
            let (link, inbox) = HubLink::new();
            let hub = Arc::new(HubCounts::default());
            let (mut posts, mut floors) = (Vec::new(), Vec::new());
            // Always: a reload may allow files later, and those that are there stay readable.
            let shelf = Shelf::open(files::folder(data, &settings.name))?;
            let shared = Shared { shelf: Some(Arc::clone(&shelf)), ..Shared::default() };
            for parts in &mut parts {
                let (sender, post) = mpsc::channel(BATCHES_MAX);
                let counts = Arc::new(FloorCounts::default());
                posts.push(sender);
                floors.push(Arc::clone(&counts));
                let (settings, link, shared) = (Arc::clone(settings), link.clone(), shared.clone());
                parts.push(ChatPart { settings, link, post, counts, shared });
            }
            let board = Arc::<Board>::default();
            let of_hub = HubParts {
                hooks: Arc::clone(&board),
                name: Arc::clone(&settings.name),
                rules: settings.rules(),
                store: store.clone(),
                directory: directory.cloned(),
                bus: self.bus.clone(),
                workers: posts,
                counts: Arc::clone(&hub),
            };
            let (born, told) = std::sync::mpsc::sync_channel(1);
            let name = format!("chat-{}", settings.name);
            let thread = madang_host::thread::start(&name, move || {
                let built = tokio::runtime::Builder::new_current_thread().enable_time().build();
                match built {
                    Ok(runtime) => {
                        let _ = born.send(Ok(()));
                        tokio::task::LocalSet::new().block_on(&runtime, Hub::run(of_hub, inbox));
                    }
                    Err(error) => drop(born.send(Err(error))),
                }
            })?;
            told.recv().map_err(|_| io::Error::other("the thread of a chat ended while it started"))??;
            self.running.push(Running {
                settings: Arc::clone(settings),
                link,
                thread,
                hub,
                floors,
                board,
                office: None,
                pulse: Pulse::default(),
                shelf,
                swept: Cell::new(clock::now()),
            });
        }
        Ok(parts)
    }

    /// New settings for those that go on, the end of those that are not among them.
    pub async fn update(&mut self, wanted: &[Arc<ChatSettings>]) {
        let mut gone = Vec::new();
        for at in (0..self.running.len()).rev() {
            let running = &mut self.running[at];
            match wanted.iter().find(|settings| settings.name == running.settings.name) {
                Some(settings) => {
                    if running.settings.rules() != settings.rules() {
                        running.link.renew(settings.rules());
                    }
                    running.settings = Arc::clone(settings);
                }
                None => gone.push(self.running.remove(at)),
            }
        }
        end(gone).await;
    }

    /// Files older than `history` go, every hour.
    fn sweep(&self) {
        for running in &self.running {
            let Some(age_max) = running.settings.history.age else { continue };
            if running.swept.get().elapsed() < SWEEP_EVERY {
                continue;
            }
            running.swept.set(clock::now());
            let shelf = Arc::clone(&running.shelf);
            // A folder that cannot be read now is looked at again in an hour.
            tokio::task::spawn_blocking(move || drop(shelf.forget(age_max)));
        }
    }

    /// Ends all hubs: what was written is told first. Their connections are then asked to leave.
    pub async fn end(&mut self) {
        end(std::mem::take(&mut self.running)).await;
    }

    /// Leaves the way to other machines.
    pub fn close_bus(&mut self) {
        if let Some(bus) = self.bus.take() {
            bus.close();
        }
    }

    /// Closes the store. Blocks until what waits is done.
    pub fn close(&mut self) {
        self.close_bus();
        if let Some(store) = self.store.take() {
            store.close();
        }
    }
}

/// Tells them all, then waits for each.
async fn end(running: Vec<Running>) {
    for one in &running {
        one.link.end();
    }
    let ended = tokio::task::spawn_blocking(move || {
        for one in running {
            // A hub that panicked has told so already.
            let _ = one.thread.join();
            // Letters that do not leave now wait in the store.
            one.office.into_iter().for_each(Office::close);
        }
    });
    let _ = ended.await;
}

/// How the way to other machines fares, for the operator.
fn tell(log: &Log, told: Told) {
    match told {
        Told::Connected => {
            log.tell(Level::Info, "bus-connected", "NATS answers: other machines hear this one")
        }
        Told::Away => {
            let detail =
                "NATS does not answer: what other machines write is looked for in the database every second";
            log.tell(Level::Warn, "bus-away", detail);
        }
        Told::Trouble { why } => log.tell(Level::Warn, "bus-trouble", &why),
    }
}
