//! Connecting to NATS: addresses, logins, TLS, and when to try again.
//!
//! **Job.** Make the client library's options of our settings, and hear from it how the connection fares.
//! **Called by** `nats`. **Calls** `host::tls`.
//!
//! Invariants
//! 1. A connection that fails is tried again for ever, 50 ms to 3 s apart, spread by chance: a hundred machines do not come
//!    back to a restarted server in one moment.
//! 2. No secret is told.
//!
//! Not here: what is made good after a reconnect (`link`).

use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{ClientError, ConnectOptions, Event, ServerAddr};
use madang_host::draws::Draws;
use madang_host::tls::connect::{ClientTls, ClientTlsSettings};

use super::{Out, count};
use crate::Told;
use crate::config::NatsSettings;
use crate::error::BusError;

/// The longest time between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// How long one attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// A server that answers no ping for two of these is taken for gone.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Messages of one subscription between the connection and us; more are lost, and a gap is told.
const SUBSCRIPTION_MAX: usize = 8192;

/// Whether the client library can read an address.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_address(address: &str) -> Result<(), String> {
    let told = |error: std::io::Error| {
        let text = error.to_string();
        text.rsplit(": ").next().unwrap_or(&text).to_owned()
    };
    let parsed = ServerAddr::from_str(address).map_err(told)?;
    if parsed.host().is_empty() { Err("it names no host".to_owned()) } else { Ok(()) }
}

/// The addresses as the client library has them, without users: it does not log in by them.
pub(super) fn servers(settings: &NatsSettings) -> Result<Vec<ServerAddr>, BusError> {
    let parse = |address: &crate::config::Address| {
        ServerAddr::from_str(&address.place())
            .map_err(|_| BusError::Failed { why: format!("{address} is not an address") })
    };
    settings.servers.iter().map(parse).collect()
}

pub(super) fn options(settings: &NatsSettings, out: &Arc<Out>) -> Result<ConnectOptions, BusError> {
    let failed = |why: String| BusError::Failed { why };
    let draws = Mutex::new(Draws::new(madang_host::random::seed()));
    let (teller, failing) = (Arc::clone(out), Arc::clone(out));
    let mut options = ConnectOptions::new()
        .name("madang")
        .retry_on_initial_connect()
        .connection_timeout(ATTEMPT_MAX)
        .ping_interval(PING_EVERY)
        .subscription_capacity(SUBSCRIPTION_MAX)
        .skip_subject_validation(true) // ours are made by `subject`
        .reconnect_delay_callback(move |attempts| {
            pause(attempts, &mut draws.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .reconnect_to_server_callback(move |servers, _| {
            // Before each attempt: why the one before failed, which is told nowhere else. Which server is next is the library's choice.
            failing.failed(servers.iter().filter_map(|server| server.last_error.as_deref()));
            std::future::ready(None)
        })
        .event_callback(move |event| {
            teller.heard(&event);
            std::future::ready(())
        });
    let tls = settings.servers.iter().any(crate::config::Address::is_tls);
    if tls || settings.ca.is_some() || settings.certificate.is_some() {
        let ours = ClientTlsSettings {
            ca: settings.ca.clone(),
            certificate: settings.certificate.clone(),
            raw: true,
            ..ClientTlsSettings::default()
        };
        // The client library gives the name of each server at the handshake.
        let ours = ClientTls::new(&ours, "localhost").map_err(|error| failed(error.to_string()))?;
        options = options.tls_client_config(ours.rustls().clone()).require_tls(tls);
    }
    options = match settings.servers.iter().find_map(crate::config::Address::login) {
        Some((user, Some(password))) => options.user_and_password(user, password),
        Some((token, None)) => options.token(token),
        None => options,
    };
    if let Some(file) = &settings.credentials {
        let told = |error: std::io::Error| failed(format!("{}: {error}", file.display()));
        let text = std::fs::read_to_string(file).map_err(told)?;
        options = options
            .credentials(&text)
            .map_err(|_| failed(format!("{} is not a file of credentials", file.display())))?;
    }
    Ok(options)
}

/// Before the attempt with this number: half of it is certain, half is chance.
fn pause(attempts: usize, draws: &mut Draws) -> Duration {
    let doubled = 100_u64 << attempts.min(6);
    let longest = Duration::from_millis(doubled).min(PAUSE_MAX);
    longest / 2 + draws.up_to(longest / 2)
}

/// What the client library says in two words, with what an operator may do about it.
fn explained(said: &str) -> String {
    let lower = said.to_ascii_lowercase();
    let help = if lower.contains("tls") || lower.contains("certificate") || lower.contains("handshake") {
        "its certificate is of no authority that is believed here (`ca`), or is for another name, or it speaks no TLS"
    } else if lower.contains("authorization") || lower.contains("authentication") || lower.contains("nonce") {
        "it does not know this user, password, token or these `credentials`"
    } else if lower.contains("dns") {
        "its name leads to no address"
    } else {
        return said.to_owned();
    };
    format!("{said}: {help}")
}

impl Out {
    /// Attempts failed for these reasons.
    fn failed<'e>(&self, why: impl Iterator<Item = &'e str>) {
        why.for_each(|why| (self.tell)(Told::Trouble { why: explained(why) }));
    }

    /// The client library tells something about the connection.
    fn heard(&self, event: &Event) {
        match event {
            Event::Connected => {
                // What was not heard went to another connection.
                self.unheard.store(0, Ordering::Relaxed);
                self.connected.store(true, Ordering::Relaxed);
                count(&self.numbers.connects, 1);
                (self.tell)(Told::Connected);
            }
            Event::Disconnected | Event::Closed => {
                self.connected.store(false, Ordering::Relaxed);
                (self.tell)(Told::Away);
            }
            Event::ServerError(error) => (self.tell)(Told::Trouble { why: explained(&error.to_string()) }),
            // An attempt that failed, in two words: the next one tells why (`failed`).
            Event::ClientError(ClientError::Other(_)) => {}
            Event::ClientError(error) => (self.tell)(Told::Trouble { why: explained(&error.to_string()) }),
            Event::SlowConsumer(_) => (self.tell)(Told::Slow),
            Event::LameDuckMode => {
                let why = "the server is about to end; another one of its cluster is taken".to_owned();
                (self.tell)(Told::Trouble { why });
            }
            // We end it ourselves.
            Event::Draining => {}
        }
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_spread_and_never_far_apart() {
        let mut draws = Draws::new(1);
        for attempts in 0..50 {
            let pause = pause(attempts, &mut draws);
            assert!(pause >= Duration::from_millis(50) && pause <= PAUSE_MAX, "{attempts}: {pause:?}");
        }
        let pauses: std::collections::BTreeSet<_> = (0..20).map(|_| pause(9, &mut draws)).collect();
        assert!(pauses.len() > 15, "not the same every time");
    }
}
