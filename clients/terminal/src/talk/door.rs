//! The socket guests come to.
//!
//! **Job.** Bind it, take connections, shake hands where TLS is spoken. **Called by** `serve`. **Calls** `host::net::listen`,
//! `host::tls`.
//!
//! Invariants
//! 1. Who does not shake hands holds nobody up: handshakes go on beside the talk, so many at once, each for so long.
//! 2. A certificate that nobody named is made for this run and never written down.
//!
//! Not here: who is let in (`serve`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use madang_host::clock;
use madang_host::net::listen::{Address, BindError, Listener, ListenerSet};
use madang_host::net::stream::{Plain, Prefixed, Stream};
use madang_host::tls::pair::Pair;
use madang_host::tls::pin::Fingerprint;
use madang_host::tls::policy::{ClientAuth, Policy, Speaks, TlsPolicies, VersionMin};
use madang_host::tls::store::CertificateStore;
use madang_host::tls::{self, HandshakeFailure, passing};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::CertificateFiles;
use crate::Failure;
use crate::address::Way;
use crate::connect::watch;
use crate::console::{Gone, Output};

/// A pause after the system could not give a connection (no descriptor left).
const PAUSE: Duration = Duration::from_millis(200);
/// How long a handshake may take.
const SHAKEN_WITHIN: Duration = Duration::from_secs(5);
/// Handshakes at once; who comes then waits in the kernel's queue.
const SHAKING_MAX: usize = 16;

/// The listening socket.
pub(super) struct Door {
    socket: Socket,
    /// Its address, as the other side writes it.
    pub(super) told: String,
    pub(super) only_this_machine: bool,
    tls: Option<TlsPolicies>,
    /// Of the certificate that is shown; `None`: no TLS.
    pub(super) fingerprint: Option<Fingerprint>,
    shaking: JoinSet<Result<(Stream, String), String>>,
    /// To be taken away at the end.
    file: Option<PathBuf>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What happened at the door.
enum Came {
    /// Somebody, and what to call them.
    Guest(io::Result<(Plain, String)>),
    /// A handshake ended.
    Shaken(Result<(Stream, String), String>),
}

impl Door {
    /// Binds it. `certificate`: to be shown where TLS is spoken; left out, one is made.
    pub(super) fn open(at: &Way, certificate: Option<&CertificateFiles>) -> Result<Self, Failure> {
        let (tls, fingerprint) = match at {
            Way::Tcp { host, tls: true, .. } => {
                let (tls, fingerprint) = policies(host, certificate)?;
                (Some(tls), Some(fingerprint))
            }
            _ => (None, None),
        };
        let address = match at {
            Way::Unix(path) => Address::Unix(path.clone()),
            Way::Tcp { .. } => {
                let address: SocketAddr = at.to_string().parse().map_err(|_| {
                    let error =
                        io::Error::new(io::ErrorKind::InvalidInput, "an IP address and a port are needed");
                    Failure::System(error)
                })?;
                Address::Tcp(address)
            }
        };
        let set = ListenerSet::bind(&address, 1).map_err(Failure::Listen)?;
        let fail = |error| Failure::Listen(BindError { address: address.clone(), error });
        let bound = set.bound.clone();
        let socket = match set.sockets().first().map(Listener::try_clone) {
            Some(Ok(Listener::Tcp(listener))) => Socket::Tcp(TcpListener::from_std(listener).map_err(fail)?),
            Some(Ok(Listener::Unix(listener))) => {
                Socket::Unix(UnixListener::from_std(listener).map_err(fail)?)
            }
            Some(Err(error)) => return Err(fail(error)),
            Some(Ok(Listener::Udp(_))) | None => return Err(fail(io::ErrorKind::Unsupported.into())),
        };
        let scheme = if tls.is_some() { "tls" } else { "tcp" };
        let (told, only_this_machine, file) = match &bound {
            Address::Tcp(bound) => (format!("{scheme}://{bound}"), bound.ip().is_loopback(), None),
            Address::Unix(path) => (bound.to_string(), true, Some(path.clone())),
            Address::Udp(_) => (bound.to_string(), false, None),
        };
        Ok(Self { socket, told, only_this_machine, tls, fingerprint, shaking: JoinSet::new(), file })
    }

    /// The next guest, ready to talk, and what to call it.
    pub(super) async fn next(&mut self, output: &Output) -> Result<(Stream, String), Gone> {
        loop {
            let came = tokio::select! {
                guest = self.socket.accept(), if self.shaking.len() < SHAKING_MAX => Came::Guest(guest),
                Some(shaken) = self.shaking.join_next() => match shaken {
                    Ok(shaken) => Came::Shaken(shaken),
                    // It panicked, which ends nobody but its guest.
                    Err(_) => continue,
                },
            };
            match came {
                Came::Guest(Ok((plain, who))) => match &self.tls {
                    None => return Ok((Stream::Plain(plain), who)),
                    Some(tls) => {
                        self.shaking.spawn(shake(plain, who, tls.clone()));
                    }
                },
                Came::Guest(Err(error)) => {
                    output.notice(format!("somebody could not be let in: {error}")).await?;
                    tokio::time::sleep(PAUSE).await;
                }
                Came::Shaken(Ok(guest)) => return Ok(guest),
                Came::Shaken(Err(why)) => output.notice(why).await?,
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // It may have been taken away already.
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<(Plain, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                watch(&stream)?;
                Ok((Plain::Tcp(stream), address.to_string()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
                let label =
                    process.map_or_else(|| "somebody".to_owned(), |number| format!("process {number}"));
                Ok((Plain::Unix(stream), label))
            }
        }
    }
}

/// What is shown to whoever comes to this IP address.
fn policies(host: &str, files: Option<&CertificateFiles>) -> Result<(TlsPolicies, Fingerprint), Failure> {
    let now = clock::wall();
    let pair = match files {
        Some(files) => Pair::load(&files.certificate, &files.key, now),
        None => {
            let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
            let anywhere = host.parse().is_ok_and(|address: IpAddr| address.is_unspecified());
            if !anywhere && hosts.iter().all(|have| have != host) {
                hosts.push(host.to_owned());
            }
            passing::certificate(hosts, now)
        }
    };
    let pair = pair.map_err(|error| Failure::Told(error.to_string()))?;
    let fingerprint = pair.fingerprint();
    let store = CertificateStore::from_pair(pair);
    let off = ClientAuth::Off;
    let policy = Policy::new("talk", Vec::new(), store, VersionMin::default(), &off, Speaks::Anything)
        .map_err(|error| Failure::Told(error.to_string()))?;
    let policies = TlsPolicies::new(vec![policy]);
    policies.zip(fingerprint).ok_or_else(|| Failure::Told("there is no certificate to show".to_owned()))
}

async fn shake(plain: Plain, who: String, policies: TlsPolicies) -> Result<(Stream, String), String> {
    let accepting = tls::accept(Prefixed::new(Vec::new(), plain), &policies);
    match tokio::time::timeout(SHAKEN_WITHIN, accepting).await {
        Ok(Ok((stream, _))) => Ok((Stream::Tls(Box::new(stream)), who)),
        Ok(Err(failure)) => Err(format!("{who} was not let in: {}", why(&failure))),
        Err(_) => Err(format!("{who} was not let in: no TLS within {} s", SHAKEN_WITHIN.as_secs())),
    }
}

fn why(failure: &HandshakeFailure) -> String {
    match failure.name() {
        "not-tls" | "plain-http-on-tls-port" => {
            "TLS is spoken here, and it does not (tls://, not tcp://)".into()
        }
        "tls-client-distrusts-us" => {
            "it does not believe our certificate (--pin tells it which to believe)".into()
        }
        "closed-in-handshake" => "it went in the middle of the handshake".into(),
        _ => failure.to_string(),
    }
}
