//! The alerts as they run: the thin hands of `rules` and `delivery`.
//!
//! **Job.** Take facts in, send what is due, remember it on disk, show it. **Owned by** the main loop. **Calls** `rules`,
//! `delivery`, `send`, `store`.
//!
//! Invariants
//! 1. While it is frozen (an upgrade is under way) nothing is judged or sent: the other process does.
//! 2. What was decided is on disk before the first attempt to send it.
//!
//! Not here: deciding (`rules`, `delivery`), collecting facts (`madang`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::net::resolve::Resolver;
use madang_host::telemetry::metrics::Gauge;
use serde::Serialize;
use tokio::sync::Notify;

use super::delivery::{Attempt, Delivery, GivenUp, LastAttempt};
use super::fact::Fact;
use super::message::{Message, Status};
use super::rules::{RuleView, Rules};
use super::send;
use super::store::{Stored, StoredAlert, StoredWay};
use crate::config::{AlertSettings, Way};

/// Tells the server's log: whether somebody should look, and the sentence.
pub type Tell = Box<dyn Fn(bool, &str)>;

/// One way of one alert.
struct Out {
    /// Never used again while this server runs.
    number: u64,
    alert: Arc<str>,
    way: Way,
    /// What people know the way by; its own within the alert.
    shown: String,
    timeout: Duration,
    /// Where its program starts.
    dir: PathBuf,
    delivery: Delivery,
}

/// A way as people see it.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct WayView {
    pub way: String,
    pub waiting: usize,
    pub taken: u64,
    pub failed: u64,
    pub given_up: u64,
    pub last: Option<LastAttempt>,
}

/// An alert as people see it.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct AlertView {
    #[serde(flatten)]
    pub rule: RuleView,
    pub ways: Vec<WayView>,
}

/// See the module.
pub struct Keeper {
    me: Weak<Self>,
    rules: RefCell<Rules>,
    outs: RefCell<Vec<Out>>,
    resolver: RefCell<Rc<Resolver>>,
    /// `DATA/alerts.json`.
    file: PathBuf,
    /// The machine's name.
    host: String,
    tell: Tell,
    changed: Notify,
    frozen: Cell<bool>,
    numbers: Cell<u64>,
    seed: u64,
}

impl Keeper {
    /// Takes care of these alerts; what an earlier server told is known. Must be called on the main loop's runtime.
    pub fn start(
        settings: &[Arc<AlertSettings>],
        name_servers: &[SocketAddr],
        data: &std::path::Path,
        seed: u64,
        tell: Tell,
    ) -> Rc<Self> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let this = Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            rules: RefCell::new(Rules::new(seed)),
            outs: RefCell::default(),
            resolver: RefCell::new(Rc::new(Resolver::new(name_servers.to_vec()))),
            file: data.join("alerts.json"),
            host,
            tell,
            changed: Notify::new(),
            frozen: Cell::new(false),
            numbers: Cell::new(0),
            seed,
        });
        this.take(settings);
        this.recall();
        let weak = Weak::clone(&this.me);
        tokio::task::spawn_local(async move { turn(&weak).await });
        this
    }

    /// New settings.
    pub fn update(&self, settings: &[Arc<AlertSettings>], name_servers: &[SocketAddr]) {
        if self.resolver.borrow().servers() != name_servers {
            self.resolver.replace(Rc::new(Resolver::new(name_servers.to_vec())));
        }
        self.take(settings);
        self.save();
        self.changed.notify_one();
    }

    fn take(&self, settings: &[Arc<AlertSettings>]) {
        self.rules.borrow_mut().update(settings);
        let mut outs = self.outs.borrow_mut();
        let mut before = std::mem::take(&mut *outs);
        for settings in settings {
            let mut names: Vec<String> = Vec::new();
            for way in &settings.ways {
                let alike = names.iter().filter(|name| **name == way.to_string()).count();
                names.push(way.to_string());
                let shown = if alike == 0 { way.to_string() } else { format!("{way} #{}", alike + 1) };
                let same = |out: &Out| out.alert == settings.name && out.way == *way;
                let out = match before.iter().position(same) {
                    Some(at) => Out { timeout: settings.timeout, shown, ..before.swap_remove(at) },
                    None => {
                        let number = self.numbers.get();
                        self.numbers.set(number + 1);
                        Out {
                            number,
                            alert: Arc::clone(&settings.name),
                            way: way.clone(),
                            shown,
                            timeout: settings.timeout,
                            dir: settings.dir.clone(),
                            delivery: Delivery::new(self.seed.wrapping_add(number)),
                        }
                    }
                };
                outs.push(out);
            }
        }
    }

    fn recall(&self) {
        let stored = Stored::read(&self.file);
        let now = clock::now();
        for known in stored.alerts {
            let mut rules = self.rules.borrow_mut();
            let same = |rule: &&mut super::rules::Rule| {
                *rule.settings.name == *known.alert && rule.settings.when.to_string() == known.when
            };
            if let Some(rule) = rules.rules.iter_mut().find(same) {
                rule.recall(known.subjects, known.last, now);
            }
        }
        let mut outs = self.outs.borrow_mut();
        for known in stored.ways {
            let same = |out: &&mut Out| *out.alert == *known.alert && out.shown == known.way;
            if let Some(out) = outs.iter_mut().find(same) {
                for message in known.waiting {
                    out.delivery.add(message, now);
                }
            }
        }
    }

    fn save(&self) {
        let (rules, outs) = (self.rules.borrow(), self.outs.borrow());
        let alert = |rule: &super::rules::Rule| StoredAlert {
            alert: rule.settings.name.to_string(),
            when: rule.settings.when.to_string(),
            last: rule.last_time,
            subjects: rule.told().cloned().collect(),
        };
        let way = |out: &Out| StoredWay {
            alert: out.alert.to_string(),
            way: out.shown.clone(),
            waiting: out.delivery.waiting().cloned().collect(),
        };
        let stored = Stored {
            alerts: rules.rules.iter().map(alert).collect(),
            ways: outs.iter().map(way).filter(|way| !way.waiting.is_empty()).collect(),
        };
        if let Err(error) = stored.write(&self.file) {
            let sentence = format!("a restart may tell alerts twice: {}: {error}", self.file.display());
            (self.tell)(true, &sentence);
        }
    }

    /// What is seen now.
    pub fn look(&self, facts: &[Fact]) {
        if self.frozen.get() {
            return;
        }
        let now = clock::now();
        let messages = self.rules.borrow_mut().see(facts, now, clock::unix_seconds(clock::wall()));
        if !messages.is_empty() {
            self.post(&messages, now);
        }
    }

    /// Whether anything is watched at all.
    pub fn is_empty(&self) -> bool {
        self.rules.borrow().rules.is_empty()
    }

    /// Sends a test message by every way of an alert; gives its id. `None`: there is no such alert.
    pub fn test(&self, alert: &str) -> Option<String> {
        let message = self.rules.borrow_mut().test(alert, clock::unix_seconds(clock::wall()))?;
        let id = message.id.clone();
        self.post(&[message], clock::now());
        Some(id)
    }

    fn post(&self, messages: &[Message], now: Instant) {
        let mut lost = Vec::new();
        for message in messages {
            for out in self.outs.borrow_mut().iter_mut().filter(|out| *out.alert == *message.alert) {
                lost.extend(out.delivery.add(message.clone(), now).map(|given_up| (out.name(), given_up)));
            }
        }
        for (name, given_up) in lost {
            self.tell_given_up(&name, &given_up);
        }
        self.save();
        self.changed.notify_one();
    }

    fn tell_given_up(&self, name: &str, given_up: &GivenUp) {
        (self.tell)(true, &format!("{name}: message {} is given up: {}", given_up.message, given_up.why));
    }

    /// From here on nothing is judged or sent: another server does.
    pub fn freeze(&self) {
        self.frozen.set(true);
    }

    /// The other server did not: it goes on.
    pub fn thaw(&self) {
        self.frozen.set(false);
        self.changed.notify_one();
    }

    /// Everything, for people.
    pub fn views(&self) -> Vec<AlertView> {
        let outs = self.outs.borrow();
        let ways = |alert: &str| {
            let of_it = outs.iter().filter(|out| *out.alert == *alert);
            let way = |out: &Out| WayView {
                way: out.shown.clone(),
                waiting: out.delivery.waiting().count(),
                taken: out.delivery.taken,
                failed: out.delivery.failed,
                given_up: out.delivery.dead,
                last: out.delivery.last.clone(),
            };
            of_it.map(way).collect()
        };
        let rules = self.rules.borrow().views(clock::now());
        rules.into_iter().map(|rule| AlertView { ways: ways(&rule.alert), rule }).collect()
    }

    /// Everything that is counted, for metrics.
    pub fn families(&self) -> Vec<Gauge> {
        let views = self.views();
        if views.is_empty() {
            return Vec::new();
        }
        let of_alerts = |value: fn(&AlertView) -> f64| {
            views.iter().map(|view| (vec![("alert", view.rule.alert.clone())], value(view))).collect()
        };
        let mut deliveries = Vec::new();
        let mut waiting = Vec::new();
        for view in &views {
            for way in &view.ways {
                let labels = vec![("alert", view.rule.alert.clone()), ("way", way.way.clone())];
                waiting.push((labels.clone(), way.waiting as f64));
                for (result, count) in
                    [("taken", way.taken), ("failed", way.failed), ("given_up", way.given_up)]
                {
                    let mut labels = labels.clone();
                    labels.push(("result", result.to_owned()));
                    deliveries.push((labels, count as f64));
                }
            }
        }
        vec![
            Gauge {
                name: "madang_alert_firing",
                help: "Things that are so now, by alert.",
                values: of_alerts(|view| view.rule.count as f64),
            },
            Gauge {
                name: "madang_alert_messages_total",
                help: "Messages made, tests not counted.",
                values: of_alerts(|view| view.rule.messages as f64),
            },
            Gauge {
                name: "madang_alert_deliveries_total",
                help: "Messages taken and given up, attempts failed, by way.",
                values: deliveries,
            },
            Gauge { name: "madang_alert_waiting", help: "Messages not taken yet.", values: waiting },
        ]
    }

    /// Sends what is due; gives the next deadline.
    fn act(&self) -> Option<Instant> {
        if self.frozen.get() {
            return None;
        }
        let (now, mut sent, mut next) = (clock::now(), Vec::new(), None::<Instant>);
        for out in self.outs.borrow_mut().iter_mut() {
            while let Some(message) = out.delivery.due(now) {
                if out.way != Way::Log {
                    sent.push((out.number, out.way.clone(), out.timeout, out.dir.clone(), message));
                    break;
                }
                (self.tell)(matches!(message.status, Status::Firing | Status::Still), &message.text());
                let time = clock::unix_seconds(clock::wall());
                out.delivery.done(Attempt::Taken("in the log".to_owned()), now, time);
            }
            next = next.into_iter().chain(out.delivery.next_deadline()).min();
        }
        for (number, way, within, dir, message) in sent {
            let me = Weak::clone(&self.me);
            let host = self.host.clone();
            let resolver = Rc::clone(&self.resolver.borrow());
            tokio::task::spawn_local(async move {
                let attempt = match &way {
                    Way::Webhook(hook) => send::to_webhook(hook, &message, &host, &resolver, within).await,
                    Way::Program(run) => send::program(run, &message, &host, &dir, within).await,
                    Way::Log => return,
                };
                // Nobody wants to know when the keeper is gone.
                let Some(this) = me.upgrade() else { return };
                this.went(number, attempt);
            });
        }
        next
    }

    fn went(&self, number: u64, attempt: Attempt) {
        let mut outs = self.outs.borrow_mut();
        // A way that is in the settings no more.
        let Some(out) = outs.iter_mut().find(|out| out.number == number) else { return };
        let failed_before = out.delivery.last.as_ref().is_some_and(|last| !last.taken);
        let given_up = out.delivery.done(attempt, clock::now(), clock::unix_seconds(clock::wall()));
        let name = out.name();
        let last = out.delivery.last.clone();
        drop(outs);
        match (given_up, last) {
            (Some(given_up), _) => self.tell_given_up(&name, &given_up),
            // Told once for each time it stops working; `madang alert list` has the latest.
            (None, Some(last)) if !last.taken && !failed_before => {
                (self.tell)(true, &format!("{name}: {}; it is tried again", last.text));
            }
            (None, Some(last)) if last.taken && failed_before => {
                (self.tell)(false, &format!("{name}: {}, works again", last.text));
            }
            _ => {}
        }
        if !self.frozen.get() {
            self.save();
        }
        self.changed.notify_one();
    }
}

impl Out {
    fn name(&self) -> String {
        format!("{} by {}", self.alert, self.shown)
    }
}

/// Acts whenever something is due or was told.
async fn turn(me: &Weak<Keeper>) {
    loop {
        let Some(this) = me.upgrade() else { return };
        let next = this.act();
        tokio::select! {
            () = clock::due(next) => {}
            () = this.changed.notified() => {}
        }
    }
}
