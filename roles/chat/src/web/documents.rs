//! The protocol for programs, beside the page.
//!
//! **Job.** Answer `protocol.json` (AsyncAPI, the WebSocket) and `openapi.json` (the HTTP faces), made once per process. **Called by**
//! `super`. **Calls** `protocol`.
//!
//! Not here: what is in them (`protocol`).

use std::sync::OnceLock;

use bytes::Bytes;
use madang_http::body::Body;
use madang_http::exchange::Exchange;
use madang_wire::request::Method;

use crate::protocol;

static ASYNCAPI: OnceLock<Bytes> = OnceLock::new();
static OPENAPI: OnceLock<Bytes> = OnceLock::new();

/// Answers one of the two; false: it is neither.
pub(super) fn answer(exchange: &mut Exchange, name: &str) -> bool {
    let text = match name {
        "protocol.json" => ASYNCAPI.get_or_init(|| protocol::asyncapi().to_string().into()),
        "openapi.json" => OPENAPI.get_or_init(|| protocol::openapi().to_string().into()),
        _ => return false,
    };
    if !matches!(exchange.head.method(), Method::Get | Method::Head) {
        super::only(exchange, "GET, HEAD");
        return true;
    }
    let fields = &mut exchange.response.fields;
    fields.set("content-type", "application/json");
    fields.set("x-content-type-options", "nosniff");
    // Another version of the program may say more.
    fields.set("cache-control", "no-cache");
    // Editors and viewers of such documents are pages of other sites; what stands here is no secret.
    fields.set("access-control-allow-origin", "*");
    exchange.response.body = Body::Bytes(text.clone());
    true
}
