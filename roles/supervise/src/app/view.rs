//! An app as people see it.
//!
//! **Job.** Give everything about an app as one value, for `status` and `madang app`. **Called by** `keeper`.
//!
//! Not here: how it is shown (`madang`).

use std::time::Instant;

use serde::Serialize;

use super::{App, Mode};
use crate::config::Kind;
use crate::deploy::Stage;
use crate::per_connection::ConnectionsView;
use crate::releases::Origin;

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct InstanceView {
    pub instance: u32,
    pub version: u32,
    pub state: &'static str,
    pub age_seconds: u64,
    pub in_flight: u32,
    /// Filled in by the keeper.
    pub process: Option<u32>,
    /// Likewise.
    pub address: Option<String>,
    /// Likewise; bytes.
    pub memory: Option<u64>,
    /// Likewise; of one core, of late.
    pub cpu_percent: Option<f64>,
    /// Likewise; what it said of itself.
    pub status: Option<String>,
}

/// A deploy under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct DeployView {
    pub version: u32,
    pub stage: &'static str,
    pub share_percent: u8,
    pub seconds: u64,
    /// Instances of it that are well, of how many.
    pub ready: u32,
    pub of: u32,
    /// Filled in by the keeper: how far its files are.
    pub files: Option<String>,
}

/// A version.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct ReleaseView {
    pub version: u32,
    pub dir: String,
    pub from: Origin,
    pub run: Vec<String>,
}

/// An app.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct AppView {
    pub app: String,
    pub state: &'static str,
    /// Why it failed.
    pub why: Option<String>,
    pub job: bool,
    pub wanted: u32,
    pub ready: u32,
    pub version: ReleaseView,
    pub earlier: Vec<ReleaseView>,
    pub deploy: Option<DeployView>,
    /// How the last deploy ended: its version, and why it was taken back if it was.
    pub last_deploy: Option<(u32, Option<String>)>,
    pub next_start_seconds: Option<u64>,
    pub instances: Vec<InstanceView>,
    pub ends: Vec<String>,
    /// Instances that ended unasked since the server started.
    pub unasked_ends: u64,
    /// What the last of those wrote.
    pub last_lines: Vec<String>,
    /// Of an app with a program for each connection.
    pub connections: Option<ConnectionsView>,
}

impl App {
    /// Everything about it.
    pub fn view(&self, now: Instant) -> AppView {
        let since = |at: Instant| now.saturating_duration_since(at).as_secs();
        let instances: Vec<InstanceView> = self
            .instances
            .iter()
            .map(|instance| InstanceView {
                instance: instance.number,
                version: instance.release,
                state: if self.settings.kind.is_job() { "running" } else { instance.life.phase().name() },
                age_seconds: since(instance.born),
                in_flight: instance.life.look().in_flight,
                process: None,
                address: None,
                memory: None,
                cpu_percent: None,
                status: None,
            })
            .collect();
        let release = |release: &super::Release| ReleaseView {
            version: release.number,
            dir: release.program.dir.display().to_string(),
            from: release.made.origin.clone(),
            run: release.program.run.clone(),
        };
        let ready = instances.iter().filter(|instance| instance.state == "ready").count();
        let wanted = self.wanted.max(1);
        let preparing = self.preparing.as_ref().map(|preparing| DeployView {
            version: preparing.number,
            stage: "preparing",
            share_percent: 0,
            seconds: since(preparing.begun),
            ready: 0,
            of: wanted,
            files: None,
        });
        let entering = self.entering.as_ref().map(|entering| DeployView {
            version: entering.release.number,
            stage: match entering.deploy.stage() {
                Stage::Starting { .. } => "starting",
                Stage::Step { .. } => "shifting",
                Stage::Watching { .. } => "watching",
                Stage::Won => "in",
                Stage::Lost(_) => "taken back",
            },
            share_percent: entering.deploy.share(),
            seconds: since(entering.begun),
            ready: {
                let of_it =
                    |one: &&InstanceView| one.version == entering.release.number && one.state == "ready";
                u32::try_from(instances.iter().filter(of_it).count()).unwrap_or(u32::MAX)
            },
            of: wanted,
            files: None,
        });
        let waits = self.again.iter().map(|again| again.at.saturating_duration_since(now).as_secs()).min();
        AppView {
            app: self.settings.name.to_string(),
            state: self.state(ready),
            why: match &self.mode {
                Mode::Failed(why) => Some(why.clone()),
                Mode::Waiting => self.blocked.as_ref().map(|(_, why)| why.clone()),
                _ => None,
            },
            job: self.settings.kind.is_job(),
            wanted: self.wanted,
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            version: release(&self.current),
            earlier: self.earlier.iter().map(release).collect(),
            deploy: preparing.or(entering),
            last_deploy: self.last.as_ref().map(|last| (last.release, last.lost.clone())),
            next_start_seconds: waits,
            instances,
            ends: self.ends.iter().cloned().collect(),
            unasked_ends: self.unasked_ends,
            last_lines: self.last_lines.clone(),
            connections: None,
        }
    }

    fn state(&self, ready: usize) -> &'static str {
        match &self.mode {
            Mode::Waiting => "waiting",
            Mode::Stopped => "stopped",
            Mode::Failed(_) => "failed",
            Mode::Done => "done",
            Mode::Ending => "ending",
            Mode::Running if self.settings.kind == Kind::Service && self.wanted == 0 => "asleep",
            Mode::Running if self.settings.kind.is_job() && self.instances.is_empty() => "scheduled",
            Mode::Running if self.settings.kind.is_job() => "running",
            Mode::Running if ready == 0 => "starting",
            Mode::Running => "running",
        }
    }
}
