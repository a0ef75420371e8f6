//! Outgoing connections.
//!
//! **Job.** Open a stream to an upstream, over TCP or a unix socket, plain or under TLS.
//! **Called by** `http::upstream`, health probes. **Calls** the kernel, `tls::connect`.
//!
//! Not here: time limits (the caller's deadline), how many (the caller's pool), names (`resolve`).

use std::io;

use tokio::net::{TcpStream, UnixStream};

use super::listen::Address;
use super::stream::{Plain, Stream};
use crate::tls::connect::ClientTls;

/// Connects without TLS.
pub async fn plain(address: &Address) -> io::Result<Plain> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Heads are written whole: waiting for more would only add a delay.
            stream.set_nodelay(true)?;
            Ok(Plain::Tcp(stream))
        }
        Address::Unix(path) => Ok(Plain::Unix(UnixStream::connect(path).await?)),
        Address::Udp(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "a stream over UDP")),
    }
}

/// Connects, with TLS where `tls` is given.
pub async fn connect(address: &Address, tls: Option<&ClientTls>) -> io::Result<Stream> {
    secure(plain(address).await?, tls).await
}

/// The second half of [`connect`], for those who say something before TLS begins (a PROXY header).
pub async fn secure(stream: Plain, tls: Option<&ClientTls>) -> io::Result<Stream> {
    match tls {
        None => Ok(Stream::Plain(stream)),
        Some(tls) => Ok(Stream::TlsOut(Box::new(tls.handshake(stream).await?))),
    }
}
