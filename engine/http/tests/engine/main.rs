//! Goal: the HTTP engine keeps its word on the wire, for both protocols.
//! Method: a real worker on a real loopback socket, a small service with one path per behaviour, raw bytes and the h2
//! client on the other side.

mod house;
mod http1;
mod http2;
