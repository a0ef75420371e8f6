//! The way to the other side, gone.
//!
//! **Job.** Look a name up, try its addresses, speak TLS where that is wanted. **Called by** `talk`, `link`. **Calls** `host::net`.
//!
//! Invariants
//! 1. It takes at most [`WITHIN`], however many addresses there are.
//! 2. A side that has vanished without a word is noticed within about a minute (TCP keep-alive).
//!
//! Not here: what is spoken.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use madang_host::net::connect;
use madang_host::net::listen::Address;
use madang_host::net::stream::{Plain, Stream};
use madang_host::tls::connect::{ClientTls, ClientTlsSettings};
use madang_host::tls::pin::{Distrust, Fingerprint};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::Failure;
use crate::address::Way;

/// The longest that connecting takes, TLS included.
const WITHIN: Duration = Duration::from_secs(10);

/// Whom to believe when TLS is spoken.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// PEM file of authorities; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The one certificate to believe, whoever signed it and for whatever name.
    pub pin: Option<Fingerprint>,
}

/// Connects. With TLS, HTTP/1.1 is offered where that is what will be spoken.
///
/// # Errors
/// The last address' error; [`Failure::Slow`] after [`WITHIN`]; [`Failure::WrongPin`], [`Failure::Distrusted`].
pub(crate) async fn open(way: &Way, trust: &Trust, speaks_http: bool) -> Result<Stream, Failure> {
    let tls = match way {
        Way::Tcp { host, tls: true, .. } => {
            let settings = ClientTlsSettings {
                ca: trust.ca.clone(),
                pin: trust.pin,
                raw: !speaks_http,
                ..ClientTlsSettings::default()
            };
            Some(ClientTls::new(&settings, host).map_err(Failure::Tls)?)
        }
        _ => None,
    };
    let connected = tokio::time::timeout(WITHIN, async {
        let plain = match way {
            Way::Unix(path) => connect::plain(&Address::Unix(path.clone())).await?,
            Way::Tcp { host, port, .. } => Plain::Tcp(first_that_answers(host, *port).await?),
        };
        connect::secure(plain, tls.as_ref()).await
    });
    match connected.await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let to = way.to_string();
            Err(match Distrust::of(&error) {
                Some(Distrust::Pin(wrong)) => Failure::WrongPin { to, wrong },
                Some(Distrust::Authority) => Failure::Distrusted { to, error },
                None => Failure::Connect { to, error },
            })
        }
        Err(_) => Err(Failure::Slow { to: way.to_string(), seconds: WITHIN.as_secs() }),
    }
}

/// Waits as long as connecting may take; `None` after that.
pub(crate) async fn within<T>(answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(WITHIN, answer).await.ok()
}

async fn first_that_answers(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                watch(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Has the kernel ask a silent peer for a sign of life: after 30 s, three times, 10 s apart.
pub(crate) fn watch(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    // The same bound for what was written and is never taken delivery of.
    socket.set_tcp_user_timeout(Some(Duration::from_secs(60)))
}
