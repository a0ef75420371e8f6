//! Goal: the HTTP engine keeps its word on the wire, for both protocols.
//! Method: a real worker on a real loopback socket, a small service with one path per behaviour, raw bytes and the h2
//! client on the other side.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

mod house;
mod http1;
mod http2;
mod upstream_http2;
mod websocket;
