//! The hooks of a chat, on a thread of their own.
//!
//! **Job.** Start, renew and end the work of each hook; show them; take orders. **Owned by** `madang`, one for each chat. **Calls**
//! `drain`.
//!
//! Invariants
//! 1. What receivers do or do not never reaches the hub's thread or a worker's.
//! 2. A reload leaves hooks alone whose settings are the same.
//!
//! Not here: sending (`drain`), which letters there are (`hub`).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use madang_host::net::resolve::Resolver;
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::When;
use madang_store::log::{History, Read};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::drain::{Drain, Order};
use super::lease::Lease;
use super::ledger::{Last, Ledger, Place};
use super::letter::{self, Dead, Outline};
use crate::config::HookSettings;

/// Tells the server's log: whether somebody should look, and the sentence.
pub type Tell = Arc<dyn Fn(bool, &str) + Send + Sync>;

/// Dead letters that are shown.
const SHOWN_MAX: usize = 20;

/// The ledgers of a chat's hooks, for the hub that rings and the office that works.
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<Arc<str>, Arc<Ledger>>>);

impl Board {
    /// A hook's ledger, made if there is none.
    pub fn of(&self, hook: &str) -> Arc<Ledger> {
        // A panic under this lock leaves the map whole.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(hook.into()).or_default())
    }
}

/// What an office needs.
pub struct OfficeParts {
    /// The chat's name.
    pub chat: Arc<str>,
    /// Where everything is kept.
    pub store: Store,
    /// Other machines use the same store.
    pub shared: bool,
    /// Shared with the hub.
    pub board: Arc<Board>,
    /// The server's log.
    pub tell: Tell,
}

/// See the module.
pub struct Office {
    chat: Arc<str>,
    store: Store,
    board: Arc<Board>,
    hooks: Vec<Arc<HookSettings>>,
    news: mpsc::UnboundedSender<Plan>,
    thread: JoinHandle<()>,
}

/// What is to be worked on from now on.
struct Plan {
    hooks: Vec<Arc<HookSettings>>,
    name_servers: Vec<SocketAddr>,
}

/// A hook as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct HookView {
    /// Its name.
    pub hook: Arc<str>,
    /// The receiver, without path.
    pub to: String,
    /// What it is told of.
    pub on: Vec<&'static str>,
    /// Letters in line.
    pub waiting: u64,
    /// Dead letters that are kept.
    pub dead: u64,
    /// Taken since the start, by this machine.
    pub delivered: u64,
    /// Attempts that failed since the start, on this machine.
    pub failed: u64,
    /// Why it is off.
    pub off: Option<String>,
    /// Another machine sends.
    pub elsewhere: bool,
    /// The latest attempt of this machine.
    pub last: Option<Last>,
    /// The newest dead letters, the newest first.
    pub dead_letters: Vec<DeadView>,
}

/// What was done for a hook since the start.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Its name.
    pub name: Arc<str>,
    /// Letters taken.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Letters given up.
    pub dead: u64,
}

/// A dead letter as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct DeadView {
    /// Its number.
    pub id: String,
    /// What it tells.
    pub kind: String,
    /// Of which conversation.
    pub room: String,
    /// Why it is dead.
    pub why: String,
    /// Since when it waited, in milliseconds since 1970.
    pub since_ms: u64,
    /// When it was given up, in milliseconds since 1970.
    pub dead_ms: u64,
}

impl Office {
    /// Works on these hooks from now on.
    ///
    /// # Errors
    /// The kernel's: no memory, or too many threads.
    pub fn open(
        parts: OfficeParts,
        hooks: &[Arc<HookSettings>],
        name_servers: &[SocketAddr],
    ) -> io::Result<Self> {
        let (news, plans) = mpsc::unbounded_channel();
        let (chat, store, board) = (Arc::clone(&parts.chat), parts.store.clone(), Arc::clone(&parts.board));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = madang_host::thread::start(&format!("hooks-{chat}"), move || {
            tokio::task::LocalSet::new().block_on(&runtime, work(parts, plans));
            // A name that is still being looked up must not hold the end back.
            runtime.shutdown_background();
        })?;
        let mut this = Self { chat, store, board, hooks: Vec::new(), news, thread };
        this.renew(hooks, name_servers);
        Ok(this)
    }

    /// New settings.
    pub fn renew(&mut self, hooks: &[Arc<HookSettings>], name_servers: &[SocketAddr]) {
        self.hooks = hooks.to_vec();
        // A thread that panicked has told so already.
        let _ = self.news.send(Plan { hooks: hooks.to_vec(), name_servers: name_servers.to_vec() });
    }

    /// Ends all work. Blocks until what is on its way is broken off and leases are given back.
    pub fn close(self) {
        drop(self.news);
        // As above.
        let _ = self.thread.join();
    }

    /// All hooks, in the order of the settings. The future belongs to nobody: it may outlive the office.
    pub fn views(&self) -> impl Future<Output = Result<Vec<HookView>, StoreError>> + use<> {
        let (chat, store) = (Arc::clone(&self.chat), self.store.clone());
        let hooks: Vec<_> =
            self.hooks.iter().map(|hook| (Arc::clone(hook), self.board.of(&hook.name))).collect();
        async move {
            let mut views = Vec::new();
            for (hook, ledger) in hooks {
                views.push(view(&chat, &store, &hook, &ledger).await?);
            }
            Ok(views)
        }
    }

    /// What was done since the start, on this machine.
    pub fn tallies(&self) -> Vec<Tally> {
        let tally = |hook: &Arc<HookSettings>| {
            let sheet = self.board.of(&hook.name).look();
            let (delivered, failed, dead) = (sheet.delivered, sheet.failed, sheet.dead);
            Tally { name: Arc::clone(&hook.name), delivered, failed, dead }
        };
        self.hooks.iter().map(tally).collect()
    }

    /// Has an order done, by whichever machine sends for this hook. `None`: there is no such hook.
    pub fn order(
        &self,
        hook: &str,
        order: Order,
    ) -> Option<impl Future<Output = Result<(), StoreError>> + use<>> {
        let hook = self.hooks.iter().find(|have| *have.name == *hook)?;
        let (chat, store, ledger) = (Arc::clone(&self.chat), self.store.clone(), self.board.of(&hook.name));
        let key = format!("order/{}", hook.name);
        Some(async move {
            let value = Bytes::from(serde_json::to_vec(&order).unwrap_or_default());
            store.kv().put(&letter::space(&chat), &key, value, When::Always, None).await?;
            ledger.order();
            Ok(())
        })
    }
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Office({}, {} hooks)", self.chat, self.hooks.len())
    }
}

async fn view(
    chat: &str,
    store: &Store,
    hook: &HookSettings,
    ledger: &Ledger,
) -> Result<HookView, StoreError> {
    let (queue, dead) = (letter::queue(chat, &hook.name)?, letter::dead(chat, &hook.name)?);
    let positions = store.log().positions(vec![queue, dead.clone()]).await?;
    let kept = store.kv().get(&letter::space(chat), &format!("at/{}", hook.name)).await?;
    let place: Option<Place> = kept.and_then(|held| serde_json::from_slice(&held.value).ok());
    let waiting = positions.first().copied().flatten().map_or(0, |queue| {
        let next = place.filter(|place| place.epoch == queue.epoch).map_or(queue.first, |place| place.next);
        queue.next.saturating_sub(next.max(queue.first))
    });
    let of_dead = positions.get(1).copied().flatten();
    let mut dead_letters = Vec::new();
    if of_dead.is_some()
        && let History::Page(page) = store.log().read(&dead, Read::newest(SHOWN_MAX)).await?
    {
        for entry in page.entries.into_iter().rev() {
            let Ok(dead) = serde_json::from_slice::<Dead>(&entry.data) else { continue };
            let Outline { id, kind, room } = Outline::read(dead.letter.as_bytes());
            let (why, since_ms, dead_ms) = (dead.why, dead.since_ms, entry.at_ms);
            dead_letters.push(DeadView { id, kind, room, why, since_ms, dead_ms });
        }
    }
    let sheet = ledger.look();
    Ok(HookView {
        hook: Arc::clone(&hook.name),
        to: hook.url.authority.clone(),
        on: hook.on.iter().map(|kind| kind.name()).collect(),
        waiting,
        dead: of_dead.map_or(0, |dead| dead.next.saturating_sub(dead.first)),
        delivered: sheet.delivered,
        failed: sheet.failed,
        off: sheet.off,
        elsewhere: sheet.elsewhere,
        last: sheet.last,
        dead_letters,
    })
}

/// The thread: a task for each hook, until nobody makes plans any more.
async fn work(parts: OfficeParts, mut plans: mpsc::UnboundedReceiver<Plan>) {
    struct AtWork {
        settings: Arc<HookSettings>,
        name_servers: Vec<SocketAddr>,
        end: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }
    let mut all: Vec<AtWork> = Vec::new();
    let seed = madang_host::random::seed();
    let me = format!("{seed:016x}");
    loop {
        let plan = plans.recv().await;
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for one in all {
            let wanted = plan.as_ref().is_some_and(|plan| {
                plan.hooks.iter().any(|hook| **hook == *one.settings) && plan.name_servers == one.name_servers
            });
            if wanted { stay.push(one) } else { go.push(one) }
        }
        for one in go {
            // It has ended by itself only if it panicked.
            let _ = one.end.send(true);
            let _ = one.task.await;
        }
        all = stay;
        let Some(plan) = plan else { return };
        for settings in plan.hooks {
            if all.iter().any(|one| *one.settings == *settings) {
                continue;
            }
            let (end, ended) = watch::channel(false);
            let lease =
                parts.shared.then(|| Lease::new(letter::space(&parts.chat), &settings.name, me.clone()));
            let drain = Drain {
                chat: Arc::clone(&parts.chat),
                settings: Arc::clone(&settings),
                store: parts.store.clone(),
                ledger: parts.board.of(&settings.name),
                resolver: Resolver::new(plan.name_servers.clone()),
                tell: Arc::clone(&parts.tell),
                seed: seed.wrapping_add(all.len() as u64),
                lease,
            };
            let task = tokio::task::spawn_local(drain.run(ended));
            all.push(AtWork { settings, name_servers: plan.name_servers.clone(), end, task });
        }
    }
}
