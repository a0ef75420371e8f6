//! The name a client of TLS asks for, where TLS is its server's.
//!
//! **Job.** Read as much of a connection as its ClientHello takes; keep every byte for the server. **Called by** `super`.
//! **Calls** `wire::client_hello`.
//!
//! Invariants
//! 1. The connection's own limit (`handshake_timeout`) ends the wait.
//!
//! Not here: parsing (`wire`), choosing (`config`).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use madang_host::connection::Connection;
use madang_host::net::stream::Plain;
use madang_wire::client_hello::{HelloError, HelloReader};
use tokio::io::{AsyncRead, ReadBuf};

use super::end::End;

/// Most hellos come in one piece of this.
const PIECE_BYTES: usize = 4 * 1024;

/// The name, and everything that was read. What is not TLS has no name, like TLS that gives none.
pub(super) async fn read(
    stream: &mut Plain,
    connection: &Connection,
) -> Result<(Option<String>, Vec<u8>), End> {
    let (mut reader, mut early, mut have) = (HelloReader::default(), Vec::new(), 0);
    loop {
        early.resize(have + PIECE_BYTES, 0);
        let count = poll_fn(|cx| {
            if let Some(cut) = connection.poll_cut(cx) {
                return Poll::Ready(Err(End::Cut(cut)));
            }
            let mut room = ReadBuf::new(&mut early[have..]);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut room)) {
                Ok(()) if !room.filled().is_empty() => Poll::Ready(Ok(room.filled().len())),
                _ => Poll::Ready(Err(End::ClientLeft)),
            }
        })
        .await?;
        connection.received(count);
        let newest = have..have + count;
        have += count;
        let name = match reader.read(&early[newest]) {
            Ok(None) => continue,
            Ok(Some(hello)) => hello.server_name,
            Err(HelloError::NotTls) => None,
            Err(error) => return Err(End::Hello(error)),
        };
        early.truncate(have);
        return Ok((name, early));
    }
}
