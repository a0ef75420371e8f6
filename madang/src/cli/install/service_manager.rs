//! What systemd has to be told after its units were written.
//!
//! **Job.** Decide which commands follow from what changed (pure), and run them. **Called by** `install`, `uninstall`.
//! **Calls** systemctl(1).
//!
//! Invariants
//! 1. A server that runs is never stopped by an installation: what needs a stop is left to people, in words.
//!
//! Not here: the units (`units`).

use std::path::Path;

use madang_host::process::tool::Tool;

use super::journal::{Journal, Stopped};
use super::place::{FIREWALL, SERVICE, SOCKET};

/// What changed, and what runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Changes {
    /// The server runs as a service now.
    pub(super) active: bool,
    /// There is a socket unit.
    pub(super) socket: bool,
    /// There is a unit of the packet filter.
    pub(super) firewall: bool,
    pub(super) firewall_changed: bool,
    pub(super) service_changed: bool,
    pub(super) socket_changed: bool,
    pub(super) program_changed: bool,
}

/// What follows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// Commands, in order, each with its reason.
    pub(super) run: Vec<(Vec<String>, &'static str)>,
    /// What is left to people.
    pub(super) next: Vec<String>,
}

/// What follows from what changed.
pub(super) fn orders(changes: Changes, program: &Path, settings: &Path) -> Orders {
    let mut orders = Orders::default();
    let mut run =
        |words: &[&str], why| orders.run.push((words.iter().map(|word| (*word).to_owned()).collect(), why));
    if changes.service_changed || changes.socket_changed || changes.firewall_changed {
        run(&["systemctl", "daemon-reload"], "units changed");
    }
    let mut units = vec![SERVICE];
    units.extend(changes.socket.then_some(SOCKET));
    units.extend(changes.firewall.then_some(FIREWALL));
    run(&[&["systemctl", "enable"][..], &units].concat(), "started with the machine");
    if !changes.active {
        units.retain(|unit| *unit != FIREWALL);
        // The ports first: the service finds them open.
        units.reverse();
        run(&[&["systemctl", "start"][..], &units].concat(), "");
        return orders;
    }
    let (program, settings) = (program.to_string_lossy(), settings.to_string_lossy());
    if changes.program_changed {
        run(
            &[&program, "upgrade", "-c", &settings],
            "the running server hands over to the new program; nothing is dropped",
        );
    } else if changes.socket_changed {
        run(&["systemctl", "reload", SERVICE], "the running server opens the new addresses itself");
    }
    if changes.socket_changed {
        orders.next.push(format!(
            "systemd keeps the new addresses from the next start of both units; the ports are closed for that moment: \
             systemctl stop {SOCKET} {SERVICE} && systemctl start {SOCKET} {SERVICE}"
        ));
    } else if changes.service_changed {
        orders.next.push(format!("the new unit holds from the next start; the ports stay open meanwhile: systemctl restart {SERVICE}"));
    }
    orders
}

/// Whether systemd is what started this machine.
pub(in crate::cli) fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether the server runs as a service.
pub(in crate::cli) fn is_active(unit: &str) -> bool {
    Tool::new(["systemctl", "is-active", "--quiet", unit]).run().is_ok_and(|said| said.well())
}

/// Carries orders out.
pub(super) fn obey(journal: &mut Journal, orders: Orders) -> Result<(), Stopped> {
    for (words, why) in orders.run {
        journal.run(&Tool::new(&words), why)?;
    }
    orders.next.into_iter().for_each(|next| journal.leave(next));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a first installation starts, a second one that changed nothing does nothing, and nothing ever stops a server.
    #[test]
    fn systemd_is_told_what_changed_and_no_more() {
        let first = Changes {
            socket: true,
            service_changed: true,
            socket_changed: true,
            program_changed: true,
            ..Changes::default()
        };
        check(
            first,
            &["daemon-reload", "enable madang.service madang.socket", "start madang.socket madang.service"],
            "",
        );
        let runs = Changes { active: true, socket: true, ..Changes::default() };
        check(runs, &["enable madang.service madang.socket"], "");
        check(
            Changes { program_changed: true, ..runs },
            &["enable madang.service madang.socket", "upgrade -c /s"],
            "",
        );
        let other_ports = Changes { socket_changed: true, ..runs };
        check(
            other_ports,
            &["daemon-reload", "enable madang.service madang.socket", "reload madang.service"],
            "stop madang.socket",
        );
        check(
            Changes { service_changed: true, ..runs },
            &["daemon-reload", "enable madang.service madang.socket"],
            "restart",
        );

        #[track_caller]
        fn check(changes: Changes, run: &[&str], next: &str) {
            let orders = orders(changes, Path::new("/p"), Path::new("/s"));
            let ran: Vec<String> = orders.run.iter().map(|(words, _)| words[1..].join(" ")).collect();
            assert_eq!(ran, run);
            assert_eq!(orders.next.len(), usize::from(!next.is_empty()));
            assert!(orders.next.iter().all(|told| told.contains(next)), "{:?}", orders.next);
            assert!(!ran.iter().any(|line| line.starts_with("stop") || line.starts_with("restart")));
        }
    }
}
