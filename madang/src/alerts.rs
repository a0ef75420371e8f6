//! Alerts joined to what they are about: apps, pools, certificates, the machine.
//!
//! **Job.** Once a second make facts of what the house knows and hand them to `roles/console`; answer orders about alerts.
//! **Owned by** `run`. **Calls** `console::alert::keeper`, `house`.
//!
//! Invariants
//! 1. Nothing is looked at that no alert is about.
//!
//! Not here: judging and sending (`roles/console`).

use std::rc::Rc;
use std::sync::Arc;

use madang_console::alert::condition::{Condition, Names};
use madang_console::alert::fact::{AppFact, Fact};
use madang_console::alert::keeper::Keeper;
use madang_console::config::AlertSettings;
use madang_host::clock;
use madang_host::config::Level;
use madang_host::machine;
use madang_host::telemetry::metrics::Gauge;
use madang_supervise::app::AppView;
use serde_json::json;

use crate::config::Settings;
use crate::control::{Answer, parameter};
use crate::house::House;
use crate::telemetry::Telemetry;

const JSON: &str = "application/json";

/// See the module.
pub struct Alerts {
    keeper: Rc<Keeper>,
    watched: Vec<Arc<AlertSettings>>,
}

impl Alerts {
    /// Watches from now on. Must be called on the main loop's runtime.
    pub fn start(settings: &Settings, telemetry: &Arc<Telemetry>) -> Self {
        let telemetry = Arc::clone(telemetry);
        let tell = Box::new(move |bad: bool, sentence: &str| {
            let level = if bad { Level::Warn } else { Level::Info };
            telemetry.log.always(level, "alert", sentence);
        });
        let seed = madang_host::random::seed();
        let server = &settings.server;
        let keeper = Keeper::start(&settings.alerts, &server.resolver, &server.data, seed, tell);
        Self { keeper, watched: settings.alerts.clone() }
    }

    /// New settings.
    pub fn update(&mut self, settings: &Settings) {
        if self.watched != settings.alerts || !settings.alerts.is_empty() {
            self.keeper.update(&settings.alerts, &settings.server.resolver);
        }
        self.watched.clone_from(&settings.alerts);
    }

    /// Looks at everything that is watched.
    pub fn look(&self, house: &House) {
        if self.watched.is_empty() {
            return;
        }
        let about = |names: Names| self.watched.iter().any(|alert| alert.when.names() == names);
        let mut facts = Vec::new();
        if about(Names::Apps)
            && let Some(apps) = house.apps()
        {
            facts.extend(apps.outlines().into_iter().map(app));
        }
        if about(Names::Pools) {
            pools(house, &mut facts);
        }
        if about(Names::Sites) {
            certificates(house, &mut facts);
        }
        if about(Names::Nothing) {
            self.machine(house, &mut facts);
        }
        self.keeper.look(&facts);
    }

    fn machine(&self, house: &House, facts: &mut Vec<Fact>) {
        let watched = |wanted: fn(&Condition) -> bool| self.watched.iter().any(|alert| wanted(&alert.when));
        let data = &house.settings().server.data;
        if watched(|when| matches!(when, Condition::DiskUnder { .. }))
            && let Some(left) = machine::disk(data)
        {
            let folder = data.display().to_string();
            facts.push(Fact::Disk { folder, free_permille: left.permille(), free_bytes: left.bytes });
        }
        if watched(|when| matches!(when, Condition::MemoryUnder { .. }))
            && let Some(left) = machine::memory()
        {
            facts.push(Fact::Memory { available_permille: left.permille(), available_bytes: left.bytes });
        }
    }

    /// Another server takes over.
    pub fn freeze(&self) {
        self.keeper.freeze();
    }

    /// It did not.
    pub fn thaw(&self) {
        self.keeper.thaw();
    }

    /// Every alert, as JSON.
    pub fn list(&self) -> Answer {
        let views = self.keeper.views();
        (200, JSON, serde_json::to_string(&views).unwrap_or_default())
    }

    /// Tries an alert; the query names it.
    pub fn test(&self, query: &str) -> Answer {
        let refuse =
            |status, message: String| (status, JSON, json!({ "ok": false, "message": message }).to_string());
        let Some(name) = parameter(query, "alert") else {
            return refuse(400, "the query needs alert=NAME".to_owned());
        };
        match self.keeper.test(&name) {
            Some(id) => (200, JSON, json!({ "ok": true, "id": id }).to_string()),
            None => {
                let known: Vec<&str> = self.watched.iter().map(|alert| &*alert.name).collect();
                let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
                refuse(404, format!("there is no alert {name:?}; alerts here: {known}"))
            }
        }
    }

    /// For metrics.
    pub fn families(&self) -> Vec<Gauge> {
        self.keeper.families()
    }
}

fn app(view: AppView) -> Fact {
    let is_up = view.ready > 0;
    Fact::App(AppFact {
        settled: matches!(view.state, "stopped" | "asleep" | "done" | "scheduled") || (!view.job && is_up),
        ready: view.job || is_up || !matches!(view.state, "waiting" | "starting" | "failed" | "running"),
        name: view.app,
        failed: view.why,
        restarts: view.unasked_ends,
        last_lines: view.last_lines,
        last_deploy: view.last_deploy,
    })
}

/// The pools as written: those of apps are told by their apps.
fn pools(house: &House, facts: &mut Vec<Fact>) {
    let settings = house.settings();
    let views = house.keeper().map(|keeper| keeper.views()).unwrap_or_default();
    for view in views.into_iter().filter(|view| settings.pools.iter().any(|pool| *pool.name == *view.pool)) {
        let up = view.servers.iter().filter(|server| server.state == "up").count();
        facts.push(Fact::Pool { name: view.pool.clone(), up, of: view.servers.len() });
        for server in view.servers {
            let down = match server.state {
                "down" | "ejected" => Some(true),
                "probing" => None,
                _ => Some(false),
            };
            let (pool, state) = (view.pool.clone(), server.state);
            facts.push(Fact::Server { pool, server: server.server, state, why: server.why, down });
        }
    }
}

fn certificates(house: &House, facts: &mut Vec<Fact>) {
    let now = i64::try_from(clock::unix_seconds(clock::wall())).unwrap_or(i64::MAX);
    for policy in house.policies().flat_map(madang_host::tls::TlsPolicies::iter) {
        for pair in policy.store.pairs() {
            let left_seconds = i64::try_from(pair.expires).unwrap_or(i64::MAX).saturating_sub(now);
            let name = pair.names.first().cloned().unwrap_or_else(|| "no name".to_owned());
            facts.push(Fact::Certificate { site: policy.name.to_string(), name, left_seconds });
        }
    }
}
