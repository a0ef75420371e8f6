//! The protocol described for programs: an AsyncAPI document of the WebSocket, an OpenAPI document of the HTTP faces.
//!
//! **Job.** Make both from the types that are read and written, so that they cannot say anything else than the program does.
//! **Called by** `web` (which serves them beside the page), `madang schema --chat`. **Calls** `schemas`, which asks the types.
//!
//! Both hold the same schemas (JSON Schema 2020-12, in the words it has in common with draft 7, which AsyncAPI is read by).
//!
//! Invariants
//! 1. What is in a document is proven against traffic in both directions (`tests/third_party/chat_protocol_suite.py`), and against
//!    the reader of requests for any text ([`laws`]).
//!
//! Not here: the same for people (docs/chat.md).

mod asyncapi;
mod errors;
#[cfg(any(test, fuzzing))]
pub mod laws;
mod openapi;
mod schemas;
mod vocabulary;

use serde_json::Value;

pub(crate) use self::errors::ErrorName;

/// What a client offers as the WebSocket's sub-protocol.
pub(crate) const NAME: &str = "madang.chat.v1";
/// Of the protocol, not of the program: it grows when something is added.
const VERSION: &str = "1.0.0";
/// What both documents say first.
const ABOUT: &str = "What a chat of Madang says over the wire. Made by `madang schema --chat` from the types that read and write it. \
    Requests with a field that is not named here are refused; readers of answers and events pass over fields they do not know. \
    Times are milliseconds since 1970 (`_ms`), sizes are bytes, numbers are whole and below 2^53.";

/// The WebSocket's messages as AsyncAPI 3.0.
pub fn asyncapi() -> Value {
    asyncapi::document()
}

/// Posting, reading, following and files as OpenAPI 3.1.
pub fn openapi() -> Value {
    openapi::document()
}
