//! An app with a program for each connection, as people see it.
//!
//! **Job.** Its numbers, as a part of [`AppView`]. **Called by** `keeper`. Not here: how it is shown (`madang`).

use std::time::Instant;

use serde::Serialize;

use super::{Crew, Mode, Stage};
use crate::app::{AppView, ReleaseView};

/// Programs of an app that has one for each connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionsView {
    /// Programs that have a connection.
    pub running: u32,
    /// Those that wait for one.
    pub ready: u32,
    /// Those on their way out.
    pub leaving: u32,
    /// So many are to be ready.
    pub workers: u32,
    /// So many may have a connection.
    pub connections_max: u32,
    /// Connections that were served to their end.
    pub served: u64,
    /// Of them in the last minute.
    pub served_per_minute: u64,
    /// Programs that failed, or could not be started.
    pub failed: u64,
    /// Of them in the last minute.
    pub failed_per_minute: u64,
    /// Connections that got no program.
    pub refused: u64,
}

impl Crew {
    /// Everything about it.
    pub fn view(&self, now: Instant) -> AppView {
        let count = |so: fn(&Stage) -> bool| {
            u32::try_from(self.members.values().filter(|member| so(&member.stage)).count())
                .unwrap_or(u32::MAX)
        };
        let per_connection = self.settings.per_connection;
        let connections = ConnectionsView {
            running: count(|stage| matches!(stage, Stage::Serving { .. } | Stage::Starting(Some(_)))),
            ready: count(|stage| *stage == Stage::Ready),
            leaving: count(|stage| {
                matches!(stage, Stage::Leaving { .. } | Stage::Stopping { .. } | Stage::Killed)
            }),
            workers: per_connection.map_or(0, |settings| settings.workers),
            connections_max: per_connection.map_or(0, |settings| settings.connections_max),
            served: self.served.all(),
            served_per_minute: self.served.minute(now),
            failed: self.failed.all(),
            failed_per_minute: self.failed.minute(now),
            refused: self.refused,
        };
        let release = |release: &crate::app::Release| ReleaseView {
            version: release.number,
            dir: release.program.dir.display().to_string(),
            from: release.made.origin.clone(),
            run: release.program.run.clone(),
        };
        AppView {
            app: self.settings.name.to_string(),
            state: match self.mode {
                Mode::Running => "running",
                Mode::Stopped => "stopped",
                Mode::Ending => "ending",
            },
            wanted: connections.workers,
            ready: connections.ready,
            version: release(&self.current),
            earlier: self.earlier.iter().map(release).collect(),
            ends: self.ends.iter().cloned().collect(),
            connections: Some(connections),
            ..AppView::default()
        }
    }
}
