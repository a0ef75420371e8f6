//! Machines of a drill, each in a network of its own: kernel namespaces, joined by bridges in one more.
//!
//! **Job.** Make the namespaces, run this drill again in the one of the bridges, take all of it down; cut a machine off and join it
//! again. **Called by** `crash`. **Calls** `ip` of iproute2.
//!
//! A machine has three wires: to the clients, to the database, to the bus. In the namespace of the bridges are the clients, PostgreSQL
//! and NATS. A wire is cut by taking its end there down: what is sent is lost, and nobody is told.
//!
//! Invariants
//! 1. Everything made bears this process's number. Dropping [`Network`] ends what runs in it and takes it down; what a drill that was
//!    killed has left is taken down by the next one.
//!
//! Not here: when something is cut (`plan`).
#![allow(clippy::disallowed_methods)] // as `server`: what a drill starts is no child of the house

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::server::{StartError, io};

/// What every name begins with.
const PREFIX: &str = "mdc";
/// How long the drill inside may take to end when it is told to.
const FAREWELL: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A machine's wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// To the clients.
    Clients = 0,
    /// To PostgreSQL.
    Database = 1,
    /// To NATS.
    Bus = 2,
}

impl Wire {
    pub(super) const ALL: [Self; 3] = [Self::Clients, Self::Database, Self::Bus];

    fn name(self) -> &'static str {
        ["clients", "database", "bus"][self as usize]
    }

    /// The address on the side of the bridges.
    pub(super) fn near(self) -> Ipv4Addr {
        self.address(254)
    }

    fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 98, self as u8, host)
    }
}

/// Why there is no network to be had; `None`: there is.
pub(super) fn lacking() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may make network namespaces");
    }
    let has_ip = Command::new("ip").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    (!has_ip).then_some("there is no `ip` (Debian's package iproute2)")
}

/// The namespaces, as their maker holds them.
#[derive(Debug)]
pub(super) struct Network {
    name: String,
    nodes: u32,
}

impl Network {
    /// Makes them.
    ///
    /// # Errors
    /// [`StartError`]: `ip` says no.
    pub(super) fn make(nodes: u32) -> Result<Self, StartError> {
        sweep();
        let network = Self { name: format!("{PREFIX}{}", std::process::id()), nodes };
        let ground = ground(&network.name);
        ip(&["netns", "add", &ground])?;
        ip(&["-n", &ground, "link", "set", "lo", "up"])?;
        for wire in Wire::ALL {
            ip(&["-n", &ground, "link", "add", wire.name(), "type", "bridge"])?;
            ip(&["-n", &ground, "addr", "add", &format!("{}/24", wire.near()), "dev", wire.name()])?;
            ip(&["-n", &ground, "link", "set", wire.name(), "up"])?;
        }
        for node in 0..nodes {
            let space = machine(&network.name, node);
            ip(&["netns", "add", &space])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            for wire in Wire::ALL {
                let (name, near) = (wire.name(), end(wire, node));
                let far = format!("{}/24", address(node, wire));
                ip(&[
                    "-n", &ground, "link", "add", &near, "type", "veth", "peer", "name", name, "netns",
                    &space,
                ])?;
                ip(&["-n", &ground, "link", "set", &near, "master", name, "up"])?;
                ip(&["-n", &space, "addr", "add", &far, "dev", name])?;
                ip(&["-n", &space, "link", "set", name, "up"])?;
            }
        }
        Ok(network)
    }

    /// Runs this program again with the same arguments, inside; gives how it ended.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn run_inside(&self) -> Result<ExitStatus, StartError> {
        let this = std::env::current_exe().map_err(io("find this program"))?;
        let mut command = within(&ground(&self.name), &this);
        command.args(std::env::args_os().skip(1)).args(["--inside", &self.name]);
        let mut child = command.spawn().map_err(io("run inside the namespaces"))?;
        let mut told = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .into_iter()
            .map(|kind| signal(kind).map_err(io("hear signals")))
            .collect::<Result<Vec<_>, _>>()?;
        let [interrupt, terminate, hangup] = &mut told[..] else { return self.wait(&mut child).await };
        tokio::select! {
            ended = self.wait(&mut child) => return ended,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM); // it may be gone already
        }
        match tokio::time::timeout(FAREWELL, self.wait(&mut child)).await {
            Ok(ended) => ended,
            Err(_) => {
                let _ = child.kill(); // the rest is ended with the namespaces
                child.wait().map_err(io("wait for the drill inside"))
            }
        }
    }

    async fn wait(&self, child: &mut Child) -> Result<ExitStatus, StartError> {
        loop {
            if let Some(status) = child.try_wait().map_err(io("wait for the drill inside"))? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for space in (0..self.nodes).map(|node| machine(&self.name, node)).chain([ground(&self.name)]) {
            take_down(&space);
        }
    }
}

/// The namespaces, as the drill inside knows them.
#[derive(Debug)]
pub(super) struct Inside {
    name: String,
}

impl Inside {
    /// Of this name: the argument that [`Network::run_inside`] gave.
    pub(super) fn of(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// A program on one of the machines. The process is its own: nothing stands between.
    pub(super) fn command(&self, node: u32, program: &Path) -> Command {
        within(&machine(&self.name, node), program)
    }

    /// Cuts a machine's wire, or joins it again.
    ///
    /// # Errors
    /// [`StartError`]: `ip` says no.
    pub(super) fn set(&self, node: u32, wire: Wire, is_up: bool) -> Result<(), StartError> {
        ip(&["link", "set", &end(wire, node), if is_up { "up" } else { "down" }])
    }
}

/// Where a machine's end of a wire is.
pub(super) fn address(node: u32, wire: Wire) -> Ipv4Addr {
    // There are at most nine machines.
    wire.address(u8::try_from(node + 1).unwrap_or(u8::MAX))
}

fn ground(name: &str) -> String {
    format!("{name}g")
}

fn machine(name: &str, node: u32) -> String {
    format!("{name}n{node}")
}

/// A wire's end at the bridge.
fn end(wire: Wire, node: u32) -> String {
    format!("{}{node}", wire.name())
}

fn within(space: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space]).arg(program);
    command
}

fn ip(words: &[&str]) -> Result<(), StartError> {
    let output = Command::new("ip").args(words).output().map_err(io("run ip"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Err(StartError::NotReady { said })
}

/// Ends what still runs in a namespace, and takes it away.
fn take_down(space: &str) {
    let pids = Command::new("ip").args(["netns", "pids", space]).output();
    let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
        let _ = kill_process(pid, Signal::KILL); // it may have ended meanwhile
    }
    let _ = ip(&["netns", "delete", space]); // it may not have been made
}

/// Takes down what drills have left that were killed themselves.
fn sweep() {
    let Ok(list) = Command::new("ip").args(["netns", "list"]).output() else { return };
    for space in String::from_utf8_lossy(&list.stdout).lines().filter_map(|line| line.split(' ').next()) {
        let maker = space.strip_prefix(PREFIX).map(|rest| rest.split(['g', 'n']).next().unwrap_or_default());
        let Some(maker) = maker.and_then(|digits| digits.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{maker}")).exists() {
            take_down(space);
        }
    }
}
