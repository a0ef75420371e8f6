//! The servers of a drill and what they stand on, and what can befall them.
//!
//! **Job.** Start all of it, break one thing, mend it. **Called by** `crash`. **Calls** `server`, `grounds`, `network`.
//!
//! Invariants
//! 1. What was broken can be mended, and then everything is as before.
//!
//! Not here: what befalls whom and when (`plan`).

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;

use super::Options;
use super::grounds::Grounds;
use super::network::{Inside, Wire};
use super::server::{Addresses, Server, StartError};

/// What can befall a machine or what all of them stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A machine's server is killed (SIGKILL), and started again
    Kill,
    /// It stands still (SIGSTOP), and goes on (SIGCONT) where the others have gone on without it
    Stop,
    /// PostgreSQL ends as if by a crash, and is started again
    Database,
    /// NATS is killed, and started again
    Bus,
    /// A machine is cut off from everything: clients, database, bus
    Cut,
    /// A machine is cut off from database and bus; its clients still reach it
    CutGrounds,
    /// A machine is cut off from the bus only
    CutBus,
}

impl Kind {
    /// All of several machines.
    pub(super) const ALL: [Self; 7] =
        [Self::Kill, Self::Stop, Self::Database, Self::Bus, Self::Cut, Self::CutGrounds, Self::CutBus];

    /// Whether it needs machines in networks of their own.
    pub(super) fn needs_network(self) -> bool {
        !self.wires().is_empty()
    }

    /// As it is written on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Database => "database",
            Self::Bus => "bus",
            Self::Cut => "cut",
            Self::CutGrounds => "cut-grounds",
            Self::CutBus => "cut-bus",
        }
    }

    /// What is cut.
    fn wires(self) -> &'static [Wire] {
        match self {
            Self::Cut => &Wire::ALL,
            Self::CutGrounds => &[Wire::Database, Wire::Bus],
            Self::CutBus => &[Wire::Bus],
            _ => &[],
        }
    }
}

/// Something that befalls the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blow {
    /// What.
    pub kind: Kind,
    /// Which machine, where it is about one.
    pub node: usize,
    /// How long, until it is mended.
    pub lasts: Duration,
}

/// All that runs.
#[derive(Debug)]
pub(super) struct House {
    pub(super) nodes: Vec<Server>,
    grounds: Option<Grounds>,
    inside: Option<Rc<Inside>>,
}

impl House {
    /// Starts the servers, and for several of them what they share.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn start(options: &Options, folder: &Path) -> Result<Self, StartError> {
        let inside = options.inside.as_deref().map(|name| Rc::new(Inside::of(name)));
        let grounds = match options.nodes {
            1 => None,
            _ => Some(Grounds::start(folder, inside.is_some()).await?),
        };
        let mut nodes = Vec::new();
        for node in 0..options.nodes {
            let place = inside.as_ref().map(|inside| (Rc::clone(inside), node));
            let folder = folder.join(format!("node{node}"));
            nodes.push(
                Server::start(&options.madang, &folder, &options.faces, grounds.as_ref(), place).await?,
            );
        }
        Ok(Self { nodes, grounds, inside })
    }

    /// Where the servers are.
    pub(super) fn addresses(&self) -> Rc<[Addresses]> {
        self.nodes.iter().map(|node| node.addresses).collect()
    }

    /// Breaks something.
    ///
    /// # Errors
    /// [`StartError`]: it did not break.
    pub(super) fn strike(&mut self, blow: Blow) -> Result<(), StartError> {
        if let (Some(inside), Ok(node)) = (&self.inside, u32::try_from(blow.node)) {
            blow.kind.wires().iter().try_for_each(|wire| inside.set(node, *wire, false))?;
        }
        match (blow.kind, self.nodes.get_mut(blow.node), &mut self.grounds) {
            (Kind::Kill, Some(node), _) => node.kill(),
            (Kind::Stop, Some(node), _) => node.signal(Signal::STOP),
            (Kind::Database, _, Some(grounds)) => grounds.end_database(),
            (Kind::Bus, _, Some(grounds)) => grounds.end_bus(),
            _ => {}
        }
        Ok(())
    }

    /// Mends it.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn mend(&mut self, blow: Blow) -> Result<(), StartError> {
        if let (Some(inside), Ok(node)) = (&self.inside, u32::try_from(blow.node)) {
            blow.kind.wires().iter().try_for_each(|wire| inside.set(node, *wire, true))?;
        }
        match (blow.kind, self.nodes.get_mut(blow.node), &mut self.grounds) {
            (Kind::Kill, Some(node), _) => node.again().await,
            (Kind::Stop, Some(node), _) => {
                node.signal(Signal::CONT);
                Ok(())
            }
            (Kind::Database, _, Some(grounds)) => grounds.database_again().await,
            (Kind::Bus, _, Some(grounds)) => grounds.bus_again().await,
            _ => Ok(()),
        }
    }

    /// What the servers said last.
    pub(super) fn said(&mut self) -> String {
        let mut all = String::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let ended = if node.ended() { " (it has ended)" } else { "" };
            all.push_str(&format!("machine {at}{ended}:\n{}\n", node.said()));
        }
        all
    }
}
