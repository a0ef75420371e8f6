//! HTTP/1.0 and 1.1 messages as bytes (RFC 9112).
//!
//! **Job.** Heads, chunked bodies, answers' first lines. Not here: connections (`http::http1`).

pub mod answer_head;
pub mod chunked;
mod framing;
pub mod head;
pub mod response;
