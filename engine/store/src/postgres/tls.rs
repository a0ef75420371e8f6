//! TLS for tokio-postgres.
//!
//! **Job.** Let tokio-postgres speak through the house's own TLS. **Called by** `connect`. **Calls** `host::tls`.
//!
//! Not here: which certificates are trusted (`host::tls::connect`).

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use madang_host::tls::connect::{ClientTls, ClientTlsSettings};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::client::TlsStream as Inner;

use crate::error::StoreError;

/// Makes the TLS for each host of an address.
#[derive(Clone)]
pub(super) struct Tls {
    settings: ClientTlsSettings,
}

impl Tls {
    /// Trusts the authorities in `ca`, or the system's.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, StoreError> {
        let settings =
            ClientTlsSettings { ca: ca.map(Path::to_owned), raw: true, ..ClientTlsSettings::default() };
        // Files that cannot be read are told at the start, not at the first connection.
        ClientTls::new(&settings, "localhost")
            .map_err(|error| StoreError::Failed { why: error.to_string() })?;
        Ok(Self { settings })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Through<S>;
    type TlsConnect = ToOne;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<ToOne, io::Error> {
        ClientTls::new(&self.settings, host).map(ToOne).map_err(|error| io::Error::other(error.to_string()))
    }
}

/// TLS towards one host.
pub(super) struct ToOne(ClientTls);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for ToOne {
    type Stream = Through<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Through<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.0.over(stream).await.map(|inner| Through(Box::new(inner))) })
    }
}

/// A stream through TLS.
pub(super) struct Through<S>(Box<Inner<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Through<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Through<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Through<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
