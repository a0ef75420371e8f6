//! Faces that write down what they are told, on one thread with their hub.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use madang_bus::Bus;
use madang_chat::ask::{Ask, Join, Seen, Send};
use madang_chat::event::What;
use madang_chat::floor::{Cut, Face, Floor};
use madang_chat::hub::{Hub, HubParts};
use madang_chat::notice::Notice;
use madang_chat::post::{Claim, HubLink, Published};
use madang_chat::refusal::Refusal;
use madang_chat::reply::{Joined, Kept, Reply, Welcome};
use madang_chat::rules::Rules;
use madang_chat::session::Session;
use madang_store::Store;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

/// A connection that writes down what it is told.
#[derive(Default)]
pub(crate) struct Ear {
    /// Offsets and texts by conversation.
    pub(crate) heard: RefCell<BTreeMap<String, Vec<(u64, What)>>>,
    pub(crate) answers: RefCell<BTreeMap<u64, Result<Reply, Refusal>>>,
    pub(crate) notices: RefCell<Vec<Notice>>,
    pub(crate) deaf: Cell<bool>,
    pub(crate) changed: Notify,
}

impl Face for Ear {
    fn takes(&self) -> bool {
        !self.deaf.get()
    }
    fn published(&self, published: &Published) {
        let mut heard = self.heard.borrow_mut();
        let heard = heard.entry(published.name.to_string()).or_default();
        heard.extend(published.events.iter().map(|event| (event.offset, event.what.clone())));
        self.changed.notify_one();
    }
    fn answered(&self, tag: u64, outcome: &Result<Reply, Refusal>) {
        assert!(self.answers.borrow_mut().insert(tag, outcome.clone()).is_none(), "answered once");
        self.changed.notify_one();
    }
    fn told(&self, notice: &Notice) {
        self.notices.borrow_mut().push(notice.clone());
        self.changed.notify_one();
    }
    fn flush(&self) {}
    fn cut(&self, _: Cut) {}
}

pub(crate) struct Client {
    pub(crate) ear: Rc<Ear>,
    pub(crate) session: Session,
    pub(crate) tag: Cell<u64>,
}

impl Client {
    pub(crate) async fn new(floor: &Rc<Floor>, name: &str) -> Self {
        Self::with_key(floor, name, None).await.0
    }

    pub(crate) async fn with_key(floor: &Rc<Floor>, name: &str, key: Option<String>) -> (Self, Box<Welcome>) {
        let ear = Rc::new(Ear::default());
        let session = floor.enter(Rc::clone(&ear) as Rc<dyn Face>);
        let client = Self { ear, session, tag: Cell::new(1) };
        client.session.hello(1, Claim::Guest { name: name.into(), key, keeps: true }).unwrap();
        match client.answer(1).await {
            Ok(Reply::Welcome(welcome)) => (client, welcome),
            other => panic!("hello: {other:?}"),
        }
    }

    pub(crate) fn begin(&self, ask: impl Into<Ask>) -> u64 {
        self.tag.set(self.tag.get() + 1);
        self.session.ask(self.tag.get(), ask).unwrap();
        self.tag.get()
    }

    pub(crate) async fn ask(&self, ask: impl Into<Ask>) -> Result<Reply, Refusal> {
        self.answer(self.begin(ask)).await
    }

    pub(crate) async fn answer(&self, tag: u64) -> Result<Reply, Refusal> {
        self.until(|ear| ear.answers.borrow_mut().remove(&tag)).await
    }

    pub(crate) async fn until<T>(&self, look: impl Fn(&Ear) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(&self.ear) {
                return found;
            }
            self.ear.changed.notified().await;
        }
    }

    pub(crate) async fn join(&self, room: &str, since: Option<Seen>) -> Joined {
        match self.ask(Join { room: room.into(), since, ..Join::default() }).await {
            Ok(Reply::Joined(joined)) => *joined,
            other => panic!("join: {other:?}"),
        }
    }

    pub(crate) async fn send(&self, room: &str, text: &str, nonce: &str) -> Result<Kept, Refusal> {
        match self.ask(say(room, text, nonce)).await? {
            Reply::Kept(kept) => Ok(kept),
            other => panic!("send: {other:?}"),
        }
    }

    /// What it heard of messages in a room, once there are `count`.
    pub(crate) async fn messages(&self, room: &str, count: usize) -> Vec<(u64, String)> {
        self.until(|ear| {
            let heard = ear.heard.borrow();
            let said = heard.get(room)?.iter().filter_map(|(offset, what)| match what {
                What::Message { text, .. } => Some((*offset, text.clone())),
                _ => None,
            });
            let said: Vec<_> = said.collect();
            (said.len() >= count).then_some(said)
        })
        .await
    }
}

pub(crate) fn say(room: &str, text: &str, nonce: &str) -> Send {
    Send { room: room.into(), text: text.into(), nonce: nonce.into(), ..Send::default() }
}

/// Runs a test beside a hub, then ends the hub and looks that it ends.
pub(crate) fn with_hub<F: Future<Output = ()>>(
    rules: Rules,
    store: &Store,
    test: impl FnOnce(Rc<Floor>) -> F,
) {
    with_hubs(1, rules, store, &[], |mut floors| test(floors.remove(0)));
}

/// The same beside several machines' hubs, on these buses in turn.
pub(crate) fn with_hubs<F: Future<Output = ()>>(
    machines: usize,
    rules: Rules,
    store: &Store,
    buses: &[Bus],
    test: impl FnOnce(Vec<Rc<Floor>>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (mut floors, mut running) = (Vec::new(), Vec::new());
        for machine in 0..machines {
            let (hub, inbox) = HubLink::new();
            let (post, taken) = mpsc::channel(64);
            let floor = Floor::new(0, hub.clone(), Arc::default());
            let parts = HubParts {
                hooks: Default::default(),
                name: "town".into(),
                rules: rules.clone(),
                store: store.clone(),
                directory: None,
                shelf: None,
                bus: buses.get(machine % buses.len().max(1)).cloned(),
                workers: vec![post],
                counts: Arc::default(),
            };
            let running_hub = tokio::task::spawn_local(Hub::run(parts, inbox));
            let serving = tokio::task::spawn_local(Rc::clone(&floor).serve(taken));
            floors.push(floor);
            running.push((hub, running_hub, serving));
        }
        test(floors).await;
        for (hub, running, serving) in running {
            hub.end();
            running.await.unwrap();
            serving.await.unwrap();
        }
    });
}

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::sqlite(&folder.path().join("t.db"), None).unwrap();
    (folder, store)
}

pub(crate) fn fast() -> Rules {
    let rate = madang_chat::pace::Rate { burst: 1_000_000, every: std::time::Duration::from_micros(2) };
    Rules { rate, ..Rules::default() }
}
