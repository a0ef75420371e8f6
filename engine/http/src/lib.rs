//! One HTTP engine: HTTP/1 and HTTP/2 (HTTP/3 later) as equal children of one exchange.
//!
//! **Job.** Turn a connection's bytes into [`exchange::Exchange`]s, hand them to a [`exchange::Service`], write the answers.
//! **Promises.** One canonical request whatever the protocol; bounded buffers; nothing allocated per request on the plain path.
//! **Called by** `madang` (assemble). **Calls** `wire` for bytes, `host` for sockets and time.
//!
//! Not here: routing, files, middleware (`roles/web`), upstream choice (`roles/balance`).

pub mod accept;
pub mod body;
pub mod check;
pub mod credential;
pub mod endpoint;
pub mod exchange;
mod http1;
mod http2;
pub mod interim;
pub mod response;
pub mod tunnel;
pub mod upstream;
pub mod url;
pub mod websocket;
