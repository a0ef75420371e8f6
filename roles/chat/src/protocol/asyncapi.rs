//! The WebSocket's messages as an AsyncAPI document (3.0).
//!
//! **Job.** Say who sends which message when, and what answers it. **Called by** `super`. **Calls** `schemas`.
//!
//! Not here: what messages are made of (`schemas`).

use serde_json::{Map, Value, json};

use super::schemas::{Schemas, refer};
use super::{ABOUT, NAME, VERSION};
use crate::floor::Cut;

/// Why the server ends a connection, beside the codes of RFC 6455.
const CUTS: [Cut; 6] =
    [Cut::ShuttingDown, Cut::TooSlow, Cut::HelloLate, Cut::LoggedOut, Cut::TooManyErrors, Cut::Idle];

const CHANNEL: &str = "#/channels/chat";

pub(super) fn document() -> Value {
    let schemas = Schemas::new();
    let messages = messages(&schemas);
    let in_channel: Map<String, Value> = messages
        .keys()
        .map(|name| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") })))
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Madang chat",
            "version": VERSION,
            "description": ABOUT,
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": { "plain": server("ws"), "secure": server("wss") },
        "channels": { "chat": {
            "address": "/{folder}/ws",
            "title": "One connection",
            "description": "A WebSocket (RFC 6455). One message is one text frame with one JSON object. The first request is `hello`; every \
                request gets exactly one answer, bearing its `id` (0 where it had none that could be read). Everything else comes unasked.",
            "parameters": { "folder": { "default": "chat", "description": "Where a route leads to the chat." } },
            "messages": in_channel,
            "bindings": { "ws": {
                "method": "GET",
                "headers": { "type": "object", "properties": {
                    "Sec-WebSocket-Protocol": { "const": NAME, "description": "May be left out." },
                    "Authorization": { "type": "string", "description": "`Bearer TOKEN` of a user; or the login's cookie, or `token` in `hello`." },
                } },
                "bindingVersion": "0.1.0",
            } },
            "x-close-codes": CUTS.iter().map(|cut| (cut.close_code().to_string(), cut.text().into())).collect::<Map<_, _>>(),
        } },
        "operations": operations(&schemas),
        "components": { "messages": messages, "schemas": schemas.all },
    })
}

fn server(protocol: &str) -> Value {
    json!({
        "host": "{host}",
        "protocol": protocol,
        "variables": { "host": { "default": "127.0.0.1:8080", "description": "Where the site listens." } },
    })
}

/// Every message with its schema.
fn messages(schemas: &Schemas) -> Map<String, Value> {
    let about = |name: &str| {
        schemas.all.get(name).and_then(|schema| schema["description"].as_str()).unwrap_or_default().to_owned()
    };
    let message = |name: &str, payload: Value, says: String| json!({ "name": name, "summary": says, "payload": payload });
    let mut all = Map::new();
    for name in &schemas.requests {
        let (asks, answers) = (format!("request.{name}"), format!("answer.{name}"));
        let answer = json!({
            "type": "object",
            "required": ["id", "ok"],
            "properties": { "id": { "type": "integer", "description": "The request's." }, "ok": refer(&answers) },
        });
        all.insert(asks.clone(), message(name, refer(&asks), about(&asks)));
        all.insert(answers, message(&format!("{name}: done"), answer, format!("What answers `{name}`.")));
    }
    for kind in ["event", "notice"] {
        for name in schemas.of(kind) {
            let whole = format!("{kind}.{name}");
            all.insert(whole.clone(), message(name, refer(&whole), about(&whole)));
        }
    }
    let error = json!({
        "type": "object",
        "required": ["id", "error"],
        "properties": { "id": { "type": "integer", "description": "The request's; 0: it could not be read." }, "error": refer("error") },
    });
    all.insert("error".into(), message("error", error, "What answers a request that was not done.".into()));
    all
}

/// As this server sees it: it receives requests and sends events.
fn operations(schemas: &Schemas) -> Map<String, Value> {
    let in_channel = |name: &str| json!({ "$ref": format!("{CHANNEL}/messages/{name}") });
    let channel = json!({ "$ref": CHANNEL });
    let mut all = Map::new();
    for name in &schemas.requests {
        all.insert((*name).to_owned(), json!({
            "action": "receive",
            "channel": channel,
            "messages": [in_channel(&format!("request.{name}"))],
            "reply": { "channel": channel, "messages": [in_channel(&format!("answer.{name}")), in_channel("error")] },
        }));
    }
    for (operation, kind, says) in [
        ("tellEvents", "event", "What happens in conversations one is in: each offset once and in order."),
        ("tellNotices", "notice", "What is told at once and not kept."),
    ] {
        let messages: Vec<Value> =
            schemas.of(kind).map(|name| in_channel(&format!("{kind}.{name}"))).collect();
        all.insert(
            operation.into(),
            json!({ "action": "send", "channel": channel, "summary": says, "messages": messages }),
        );
    }
    all
}
