//! The HTTP faces as an OpenAPI document (3.1): posting, reading, following, files.
//!
//! **Job.** Say what each path takes and answers. **Called by** `super`. **Calls** `schemas`, `errors`.
//!
//! Not here: what is done (`web`).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::errors::every;
use super::schemas::{Schemas, refer};
use super::{ABOUT, VERSION};
use crate::ask::PAGE_MAX;
use crate::exact::NUMBER_MAX;

pub(super) fn document() -> Value {
    let mut schemas = Schemas::new().all;
    schemas.insert(
        "refused".into(),
        json!({ "type": "object", "required": ["error"], "properties": { "error": { "allOf": [refer("error")], "description": "Why not." } } }),
    );
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Madang chat by HTTP", "version": VERSION, "description": ABOUT, "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "servers": [{
            "url": "{origin}/{folder}",
            "variables": {
                "origin": { "default": "http://127.0.0.1:8080", "description": "Where the site listens." },
                "folder": { "default": "chat", "description": "Where a route leads to the chat." },
            },
        }],
        // Guests show nothing.
        "security": [{}, { "token": [] }],
        "paths": paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A user's access token or key; or the login's cookie." },
                "guest": { "type": "apiKey", "in": "header", "name": "Madang-Key", "description": "The `key` a guest was given by `hello`, while it is connected." },
            },
        },
    })
}

fn paths() -> Value {
    json!({
        "/rooms": { "get": {
            "operationId": "openRooms",
            "summary": "The rooms that are open, and one's own.",
            "responses": answers(&[(200, "The rooms.", json_of("answer.rooms"))], &[401, 403, 503]),
        } },
        "/rooms/{room}/messages": {
            "parameters": [room()],
            "get": {
                "operationId": "history",
                "summary": "What was said: the newest page, or the one before or after an offset.",
                "parameters": [
                    query("before", "The newest ones before this offset; not together with `after`.", (0, NUMBER_MAX)),
                    query("after", "The oldest ones after it.", (0, NUMBER_MAX)),
                    query("limit", "How many at most; left out: 50.", (1, PAGE_MAX as u64)),
                ],
                "responses": answers(&[(200, "A page.", json_of("answer.history"))], &[400, 401, 403, 404, 503]),
            },
            "post": {
                "operationId": "say",
                "summary": "Says something: acknowledged is kept.",
                "requestBody": { "required": true, "content": json_of("post.message") },
                "responses": answers(&SAID.map(|(status, says)| (status, says, json_of("answer.send"))), &[400, 401, 403, 404, 409, 413, 429, 503]),
            },
        },
        "/rooms/{room}/events": {
            "parameters": [room()],
            "get": {
                "operationId": "follow",
                "summary": "What happens, as server-sent events (WHATWG HTML 9.2): `id` is `EPOCH:OFFSET`, `event` the name, `data` the message.",
                "description": "The first event is `joined`. Told are all events with a place, and `gap`, `left`, `presence` and `typing`.",
                "parameters": [
                    { "name": "since", "in": "query", "description": "Everything after this place; left out: from now on.", "schema": { "type": "string", "pattern": PLACE } },
                    { "name": "Last-Event-ID", "in": "header", "description": "The same, as browsers send it; it counts before `since`.", "schema": { "type": "string", "pattern": PLACE } },
                ],
                "responses": answers(&[(200, "Events, until one of both ends it.", text_of_events())], &[400, 401, 403, 404, 503]),
            },
        },
        "/hooks/{token}": {
            "parameters": [{ "name": "token", "in": "path", "required": true, "description": "As the settings give it out for one room.", "schema": { "type": "string" } }],
            "post": {
                "operationId": "post",
                "summary": "Says something in one room, as a program.",
                "security": [{}],
                "parameters": [{ "name": "Idempotency-Key", "in": "header", "description": "The nonce, where the body has none.", "schema": { "type": "string", "minLength": 1, "maxLength": 64 } }],
                "requestBody": { "required": true, "content": json_of("post.hook") },
                "responses": answers(&SAID.map(|(status, says)| (status, says, json_of("answer.send"))), &[400, 401, 403, 404, 413, 429, 503]),
            },
        },
        "/files": { "post": {
            "operationId": "upload",
            "summary": "Takes a file; what it answers goes into `files` of a `send`.",
            "security": [{ "token": [] }, { "guest": [] }],
            "parameters": [{ "name": "name", "in": "query", "required": true, "description": "1 to 200 bytes without `/` and `\\`.", "schema": { "type": "string", "minLength": 1, "maxLength": 200 } }],
            "requestBody": { "required": true, "description": "The bytes, with their media type as Content-Type.", "content": { "*/*": {} } },
            "responses": answers(&[(201, "It is on the disk.", json_of("File"))], &[400, 401, 413, 503]),
        } },
        "/files/{id}/{name}": {
            "parameters": [
                { "name": "id", "in": "path", "required": true, "description": "128 random bits: whoever has the link may read the file.", "schema": { "type": "string", "pattern": "^[0-9a-f]{32}$" } },
                { "name": "name", "in": "path", "required": true, "description": "For people; it is not looked at.", "schema": { "type": "string" } },
            ],
            "get": {
                "operationId": "download",
                "summary": "A file, or one range of it. Never something a browser would run.",
                "security": [{}],
                "responses": {
                    "200": { "description": "The file.", "content": { "*/*": {} } },
                    "206": { "description": "The range.", "content": { "*/*": {} } },
                    "404": { "description": "There is none, or not any more." },
                    "416": { "description": "The range is not in it." },
                },
            },
        },
    })
}

/// What answers something that was said.
const SAID: [(u16, &str); 2] = [
    (201, "It is on the disk."),
    (200, "It was on the disk already: the same person sent the same nonce before."),
];
/// `EPOCH:OFFSET`.
const PLACE: &str = "^[0-9]{1,16}:[0-9]{1,16}$";

fn room() -> Value {
    json!({ "name": "room", "in": "path", "required": true, "description": "A room; percent-encoded where needed.", "schema": { "type": "string", "minLength": 1 } })
}

fn query(name: &str, says: &str, (min, max): (u64, u64)) -> Value {
    json!({ "name": name, "in": "query", "description": says, "schema": { "type": "integer", "minimum": min, "maximum": max } })
}

fn json_of(schema: &str) -> Value {
    json!({ "application/json": { "schema": refer(schema) } })
}

fn text_of_events() -> Value {
    json!({ "text/event-stream": { "schema": { "type": "string" } } })
}

/// The good ones, and the names of errors behind each other status.
fn answers(good: &[(u16, &str, Value)], bad: &[u16]) -> Map<String, Value> {
    let mut all: Map<String, Value> = good
        .iter()
        .map(|(status, says, content)| {
            (status.to_string(), json!({ "description": says, "content": content }))
        })
        .collect();
    for status in bad {
        let names: BTreeSet<&str> =
            every().iter().filter(|one| one.status() == *status).map(|one| one.name()).collect();
        let says = names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        all.insert(status.to_string(), json!({ "description": says, "content": json_of("refused") }));
    }
    all
}
