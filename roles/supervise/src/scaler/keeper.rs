//! The scalers as they run: the thin hands of [`Fleet`].
//!
//! **Job.** Look at pools, run the operator's program, make its servers members, remember them over starts of the server.
//! **Owned by** `madang`. **Calls** `scaler`, `host::process::hook`, [`Grounds`].
//!
//! Invariants
//! 1. Nothing is asked while another server takes over.
//! 2. Who was given is written down before it is a member: a server that starts anew has them again before it asks.
//!
//! Not here: deciding (`scaler`), the pools (`roles/balance`, by way of [`Grounds`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use madang_host::clock;
use madang_host::file;
use madang_host::process::hook::{self, Hook};
use serde::Serialize;
use tokio::sync::Notify;

use super::answer::{self, ANSWER_BYTES_MAX, Answer, Fault, Given};
use super::{Action, Facts, Fleet, Member};
use crate::app::Tone;
use crate::config::ScalerSettings;

/// How often pools are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a scaler needs of those around it.
pub trait Grounds {
    /// A pool as it is; `None`: it is not there.
    fn facts(&self, pool: &str) -> Option<Facts>;
    /// The one spelling of an address; `None`: it is none that a scaler may give.
    fn address(&self, text: &str) -> Option<String>;
    /// These are members of a pool beside the written ones, from now on.
    fn members(&self, pool: &str, members: &[Member]);
    /// Whether another server is taking over.
    fn is_frozen(&self) -> bool;
    /// For the log.
    fn told(&self, pool: &str, tone: Tone, sentence: &str);
}

/// A scaler as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct ScalerView {
    pub scaler: String,
    pub wanted: u32,
    pub min: u32,
    pub max: u32,
    pub servers: Vec<String>,
    pub draining: Vec<String>,
    pub note: Option<String>,
    /// What is wrong with the last answer.
    pub fault: Option<String>,
    pub asked: u64,
    pub failed: u64,
}

struct Kept {
    fleet: Fleet,
    /// In the settings no more: its servers drain, then it is forgotten.
    gone: bool,
}

/// See the module.
pub struct Keeper {
    fleets: RefCell<BTreeMap<Arc<str>, Kept>>,
    /// `DATA/scalers`.
    folder: PathBuf,
    grounds: Rc<dyn Grounds>,
    changed: Notify,
}

impl Keeper {
    /// Takes care of these from now on. Must be called on the main loop's runtime, when the pools are there.
    pub fn start(settings: &[Arc<ScalerSettings>], folder: PathBuf, grounds: Rc<dyn Grounds>) -> Rc<Self> {
        let this = Rc::new(Self { fleets: RefCell::default(), folder, grounds, changed: Notify::new() });
        this.update(settings);
        let weak = Rc::downgrade(&this);
        tokio::task::spawn_local(async move { turn(&weak).await });
        this
    }

    /// New settings: scalers that stay keep their servers; those that go let theirs go.
    pub fn update(&self, settings: &[Arc<ScalerSettings>]) {
        let now = clock::now();
        let mut fleets = self.fleets.borrow_mut();
        for settings in settings {
            match fleets.get_mut(&settings.name) {
                Some(kept) => {
                    kept.gone = false;
                    kept.fleet.update(Arc::clone(settings), now);
                }
                None => {
                    let own = self.grounds.facts(&settings.name).map_or(1, |facts| facts.own);
                    let known = self.remembered(&settings.name);
                    let fleet = Fleet::new(Arc::clone(settings), own, known, now);
                    fleets.insert(Arc::clone(&settings.name), Kept { fleet, gone: false });
                }
            }
        }
        for (name, kept) in fleets.iter_mut() {
            if !settings.iter().any(|settings| settings.name == *name) && !kept.gone {
                kept.gone = true;
                kept.fleet.dismiss(now);
            }
        }
        for (name, kept) in fleets.iter_mut() {
            self.carry_out(name, &mut kept.fleet);
        }
        self.changed.notify_one();
    }

    /// Everything, for `status`.
    pub fn views(&self) -> Vec<ScalerView> {
        let view = |kept: &Kept| {
            let fleet = &kept.fleet;
            let (leaving, staying): (Vec<Member>, Vec<Member>) =
                fleet.members().into_iter().partition(|member| member.draining);
            let addresses = |all: Vec<Member>| all.into_iter().map(|member| member.given.address).collect();
            let (asked, failed) = fleet.counts();
            ScalerView {
                scaler: fleet.settings().name.to_string(),
                wanted: fleet.wanted(),
                min: fleet.settings().min,
                max: fleet.settings().max,
                servers: addresses(staying),
                draining: addresses(leaving),
                note: fleet.note().map(str::to_owned),
                fault: fleet.fault().map(ToString::to_string),
                asked,
                failed,
            }
        };
        self.fleets.borrow().values().map(view).collect()
    }

    fn is_idle(&self) -> bool {
        self.fleets.borrow().is_empty()
    }

    fn look(self: &Rc<Self>) {
        if self.grounds.is_frozen() {
            return;
        }
        let now = clock::now();
        self.fleets.borrow_mut().retain(|name, kept| {
            let Some(facts) = self.grounds.facts(name) else {
                // Without a pool there is nobody to be given to.
                if kept.gone {
                    self.grounds.members(name, &[]);
                }
                return !kept.gone;
            };
            kept.fleet.see(&facts, now);
            if kept.fleet.is_due(now) && !kept.gone {
                let question = kept.fleet.question(&facts, now);
                match serde_json::to_vec(&question) {
                    Ok(input) => self.ask(kept.fleet.settings(), input),
                    // Numbers and texts can always be written.
                    Err(error) => kept.fleet.answered(Err(Fault::NotJson { why: error.to_string() }), now),
                }
            }
            self.carry_out(name, &mut kept.fleet);
            !(kept.gone && kept.fleet.members().is_empty())
        });
    }

    /// Asks the program; what it answers comes back by itself.
    fn ask(self: &Rc<Self>, settings: &Arc<ScalerSettings>, input: Vec<u8>) {
        let (me, settings) = (Rc::downgrade(self), Arc::clone(settings));
        tokio::task::spawn_local(async move {
            let own = settings.environment.iter();
            let hook = Hook {
                run: settings.run.clone(),
                dir: settings.dir.clone(),
                environment: own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                input,
                within: settings.timeout,
                kept_bytes_max: ANSWER_BYTES_MAX,
            };
            let done = hook::run(hook).await;
            // Nobody wants it any more when the keeper is gone.
            let Some(this) = me.upgrade() else { return };
            let mut fleets = this.fleets.borrow_mut();
            let Some(kept) = fleets.get_mut(&settings.name).filter(|kept| !kept.gone) else { return };
            let answer = this.read(kept, &settings, done);
            kept.fleet.answered(answer, clock::now());
            this.carry_out(&settings.name, &mut kept.fleet);
            drop(fleets);
            this.changed.notify_one();
        });
    }

    fn read(
        &self,
        kept: &Kept,
        settings: &ScalerSettings,
        done: std::io::Result<hook::Done>,
    ) -> Result<Answer, Fault> {
        let done = done.map_err(|error| Fault::NotStarted { why: error.to_string() })?;
        let exit = done.exit.ok_or(Fault::Late { timeout: settings.timeout })?;
        if !exit.is_success() {
            return Err(Fault::Failed { exit, words: answer::words(&done.stderr) });
        }
        let given: Vec<String> =
            kept.fleet.members().into_iter().map(|member| member.given.address).collect();
        let facts = self.grounds.facts(&settings.name).unwrap_or_default();
        let others = facts.servers.into_iter().map(|server| server.address);
        let written: Vec<String> = others.filter(|address| !given.contains(address)).collect();
        answer::read(&done.stdout, settings.max, &|text| self.grounds.address(text), &written)
    }

    fn carry_out(&self, name: &Arc<str>, fleet: &mut Fleet) {
        while let Some(action) = fleet.poll() {
            match action {
                Action::Tell(tone, sentence) => self.grounds.told(name, tone, &sentence),
                Action::Members(members) => {
                    if let Err(error) = self.remember(name, &members) {
                        let said =
                            format!("who was given is not written down, a start forgets them: {error}");
                        self.grounds.told(name, Tone::Bad, &said);
                    }
                    self.grounds.members(name, &members);
                }
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Written beside its place and renamed: it is whole or not there.
    fn remember(&self, name: &str, members: &[Member]) -> std::io::Result<()> {
        let path = self.path(name);
        let staying: Vec<(&str, u16)> = members
            .iter()
            .filter(|member| !member.draining)
            .map(|member| (member.given.address.as_str(), member.given.weight))
            .collect();
        std::fs::create_dir_all(&self.folder)?;
        let beside = path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(&staying)?)?;
        std::fs::rename(&beside, &path)
    }

    fn remembered(&self, name: &str) -> Vec<Given> {
        let bytes = file::read(&self.path(name), ANSWER_BYTES_MAX as u64);
        // What is not there or does not read is nobody: the first answer tells.
        let all: Vec<(String, u16)> =
            bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let given = |(text, weight): (String, u16)| {
            Some(Given { address: self.grounds.address(&text)?, weight: weight.clamp(1, 256) })
        };
        all.into_iter().filter_map(given).collect()
    }
}

async fn turn(me: &Weak<Keeper>) {
    loop {
        let Some(this) = me.upgrade() else { return };
        this.look();
        let idle = this.is_idle();
        let wait = async {
            if idle {
                return std::future::pending().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        tokio::select! {
            () = wait => {}
            () = this.changed.notified() => {}
        }
    }
}
