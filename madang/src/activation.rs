//! Sockets that the service manager opened for us.
//!
//! **Job.** Take them at the start, and tell where they and the settings are not in step. **Called by** `run`.
//! **Calls** `host::inherited_fds`.
//!
//! Invariants
//! 1. A difference is told and never in the way: what was not handed to us is bound, what nobody wants is closed.
//!
//! Not here: which listener gets which socket (`house`), the units (`cli::install`).

use madang_host::config::Level;
use madang_host::inherited_fds;
use madang_host::net::listen::{Address, Listener};
use madang_host::telemetry::error_log::Log;

use crate::house::{House, Inherited};
use crate::run::{Failure, cannot};
use crate::upgrade::Handed;

/// Takes them, by the name of their unit.
pub fn take() -> Result<Handed, Failure> {
    let taken = inherited_fds::take(|name| std::env::var_os(name), std::process::id());
    let mut handed = Handed::default();
    for inherited in taken.map_err(|error| cannot(error.to_string()))? {
        let listener = Listener::from_fd(inherited.socket)
            .map_err(|error| cannot(format!("socket activation: {}: {error}", inherited.name)))?;
        handed.listeners.push((inherited.name, vec![listener]));
    }
    Ok(handed)
}

/// The addresses that the service manager keeps; none when the sockets came from the process before us (`successor`).
pub fn addresses(handed: &Inherited, successor: bool) -> Vec<Address> {
    let sockets = handed.iter().filter(|_| !successor).flat_map(|(_, sockets)| sockets);
    sockets.filter_map(|socket| socket.address().ok()).collect()
}

/// Tells what is kept for nobody, and what is not kept although other addresses are.
pub fn tell_differences(house: &mut House, kept: &[Address], log: &Log) {
    for (name, sockets) in std::mem::take(&mut house.left_over) {
        let address = sockets.first().and_then(|socket| socket.address().ok());
        let address = address.map_or_else(String::new, |address| format!(" at {address}"));
        let sentence = format!(
            "a socket handed to us ({name}){address} is no listener of the settings; it was closed. \
             `madang install` brings the socket unit in step"
        );
        log.always(Level::Warn, "socket-unused", &sentence);
    }
    if kept.is_empty() {
        return;
    }
    for address in house.addresses() {
        if !kept.contains(address) {
            let sentence = format!(
                "{address} is not kept by the service manager: while this server restarts nobody can connect there. \
                 `madang install` brings the socket unit in step"
            );
            log.always(Level::Warn, "socket-missing", &sentence);
        }
    }
}
