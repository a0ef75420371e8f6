//! The schemas of all messages and of what they are made of.
//!
//! **Job.** Ask the types, and lay out what they say as a reader wants it: one plain object for each message, no field without its
//! meaning and its range. **Called by** `asyncapi`, `openapi`, the laws.
//!
//! Only words of JSON Schema are used that mean the same in draft 7 and 2020-12. `x-refused-as` at a length names the error by which
//! another length is refused; without it that is `malformed`.
//!
//! Not here: who says what to whom (`asyncapi`, `openapi`), what names mean (`vocabulary`).

use std::collections::BTreeMap;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::vocabulary;
use crate::ask::{Hello, KINDS, Kind, NONCE_BYTES_MAX};
use crate::event::Event;
use crate::exact::NUMBER_MAX;
use crate::notice::Notice;
use crate::reply::Welcome;
use crate::web::posts;
use crate::web::rooms::Said;
use crate::web::ws::Told;

/// Where schemas are in both documents.
const PLACE: &str = "/components/schemas";

/// All of them.
pub(super) struct Schemas {
    /// `request.NAME`, `answer.NAME`, `event.NAME`, `notice.NAME`, `error`, and what they refer to.
    pub(super) all: Map<String, Value>,
    /// The requests' names, in the order of docs/chat.md.
    pub(super) requests: Vec<&'static str>,
}

impl Schemas {
    /// Made anew each time: about a millisecond.
    pub(super) fn new() -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = PLACE.into());
        let (mut taken, mut given) =
            (settings().for_deserialize().into_generator(), settings().for_serialize().into_generator());
        let mut all = Map::new();
        let mut put = |name: String, schema: Value| all.insert(name, schema);

        put("request.hello".into(), request("hello", &[], taken.root_schema_for::<Hello>()));
        put("answer.hello".into(), plain(given.root_schema_for::<Welcome>()));
        for Kind { name, bounds, request: asks, answers } in KINDS {
            put(format!("request.{name}"), request(name, bounds, asks(&mut taken)));
            let mut answers: Vec<Value> = answers.iter().map(|answer| plain(answer(&mut given))).collect();
            let answer = if answers.len() == 1 { answers.remove(0) } else { json!({ "anyOf": answers }) };
            put(format!("answer.{name}"), answer);
        }
        let bounds = [("reply", 0, NUMBER_MAX), ("nonce", 1, NONCE_BYTES_MAX as u64)];
        put("post.message".into(), request("send", &bounds, taken.root_schema_for::<Said>()));
        put("post.hook".into(), plain(taken.root_schema_for::<posts::Said>()));
        put("error".into(), plain(given.root_schema_for::<Told>()));
        let (events, notices) = (told(&mut given, "event"), told_notices(&mut given));
        let one_of = |all: &BTreeMap<String, Value>| all.keys().map(|name| refer(name)).collect::<Vec<_>>();
        put(
            "Event".into(),
            json!({ "description": "What happened in a conversation and is kept.", "oneOf": one_of(&events) }),
        );
        for (name, schema) in events.into_iter().chain(notices) {
            put(name, schema);
        }
        let (taken, given) = (taken.take_definitions(true), given.take_definitions(true));
        for (name, schema) in taken.into_iter().chain(given) {
            // Those that stand here already are the messages themselves, better laid out.
            all.entry(name).or_insert(schema);
        }
        for (name, schema) in &mut all {
            let asked = ["request.", "post."].iter().any(|kind| name.starts_with(kind))
                || name == "Seen"
                || name == "File";
            lay_out(schema, owner(name), asked);
        }
        let requests = std::iter::once("hello").chain(KINDS.iter().map(|kind| kind.name)).collect();
        Self { all, requests }
    }

    /// The messages of a kind (`event`, `notice`), by their names.
    pub(super) fn of<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'s str> {
        self.all.keys().filter_map(move |name| name.strip_prefix(kind)?.strip_prefix('.'))
    }
}

/// To another schema of the same document.
pub(super) fn refer(name: &str) -> Value {
    json!({ "$ref": format!("#{PLACE}/{name}") })
}

fn owner(name: &str) -> &str {
    match name {
        "File" => "file",
        "post.message" => "send",
        other => other.split_once('.').map_or(other, |(_, owner)| owner),
    }
}

/// A type's own schema, without what only a whole document has.
fn plain(schema: Schema) -> Value {
    let mut schema = schema.to_value();
    if let Some(object) = schema.as_object_mut() {
        for name in ["$schema", "title", "components"] {
            object.remove(name);
        }
    }
    schema
}

/// What `do` and `id` are, and the bounds that the reader knows.
fn request(name: &str, bounds: &[(&str, u64, u64)], schema: Schema) -> Value {
    let mut schema = plain(schema);
    let fields = &mut schema["properties"];
    for (field, min, max) in bounds {
        let field = &mut fields[*field];
        let (least, most) =
            if is(field, "string") { ("minLength", "maxLength") } else { ("minimum", "maximum") };
        field[least] = json!(min);
        field[most] = json!(max);
    }
    if fields.get("do").is_none() {
        return schema;
    }
    fields["do"] = json!({ "const": name });
    fields["id"] = json!({
        "type": "integer", "minimum": 1, "maximum": NUMBER_MAX,
        "description": "The client's to choose; the one answer bears it.",
    });
    let mut required = vec![json!("do"), json!("id")];
    required.extend(schema["required"].as_array().into_iter().flatten().cloned());
    schema["required"] = required.into();
    if name == "history" {
        let number =
            |field: &str| json!({ "required": [field], "properties": { field: { "type": "integer" } } });
        schema["not"] = json!({ "allOf": [number("before"), number("after")] });
    }
    schema
}

/// The variants of what is told, each as one plain object.
fn told(given: &mut SchemaGenerator, kind: &str) -> BTreeMap<String, Value> {
    split(&plain(given.root_schema_for::<Event>()), kind)
}

fn told_notices(given: &mut SchemaGenerator) -> BTreeMap<String, Value> {
    let mut notices = split(&plain(given.root_schema_for::<Notice>()), "notice");
    // The one that is told as the answer of a request is.
    let joined = plain(crate::reply::Joined::json_schema(given));
    if let Some(notice) = notices.get_mut("notice.joined") {
        merge(notice, &joined);
        if let Some(object) = notice.as_object_mut() {
            object.remove("$ref");
        }
    }
    notices
}

/// Fields that all variants have go into each of them.
fn split(schema: &Value, kind: &str) -> BTreeMap<String, Value> {
    let variants = schema["oneOf"].as_array().into_iter().flatten();
    variants
        .map(|variant| {
            let mut variant = variant.clone();
            merge(&mut variant, schema);
            let name = variant["properties"]["on"]["const"].as_str().unwrap_or_default();
            (format!("{kind}.{name}"), variant)
        })
        .collect()
}

fn merge(into: &mut Value, more: &Value) {
    for (name, field) in more["properties"].as_object().into_iter().flatten() {
        into["properties"][name] = field.clone();
    }
    let required = more["required"].as_array().into_iter().flatten().cloned();
    match into["required"].as_array_mut() {
        Some(have) => have.extend(required),
        None => into["required"] = required.collect(),
    }
    if into["description"].is_null() {
        into["description"] = more["description"].clone();
    }
}

fn is(schema: &Value, kind: &str) -> bool {
    schema["type"] == kind
        || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
}

/// Ranges, meanings, and nothing that only Rust knows.
fn lay_out(schema: &mut Value, owner: &str, asked: bool) {
    if let Some(fields) = schema["properties"].as_object_mut() {
        for (name, field) in fields {
            explain(field, owner, name, asked);
        }
    }
    let Some(object) = schema.as_object_mut() else { return };
    object.retain(|_, value| !value.is_null());
    object.remove("format");
    if !asked {
        unnulled(object);
    }
    let is_number = is(&Value::Object(object.clone()), "integer");
    if is_number {
        object.entry("minimum").or_insert(json!(0));
        object.entry("maximum").or_insert(json!(NUMBER_MAX));
    }
    // Readers of draft 7 pass over what stands beside a reference.
    if object.len() > 1
        && let Some(to) = object.remove("$ref")
    {
        object.insert("allOf".into(), json!([{ "$ref": to }]));
    }
    for (name, below) in object {
        match (name.as_str(), below) {
            ("properties", Value::Object(fields)) => {
                fields.values_mut().for_each(|field| lay_out(field, "", asked));
            }
            ("oneOf" | "anyOf" | "allOf", Value::Array(several)) => {
                several.iter_mut().for_each(|one| lay_out(one, owner, asked));
            }
            ("items", below) => lay_out(below, "", asked),
            _ => {}
        }
    }
}

/// An answer leaves out what there is not; it never says `null`.
fn unnulled(object: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &kinds[..] {
            let kind = kind.clone();
            object.insert("type".into(), kind);
        }
    }
    if let Some(Value::Array(several)) = object.get_mut("anyOf") {
        several.retain(|one| one["type"] != "null");
        if let [Value::Object(one)] = &several[..] {
            let one = one.clone();
            object.remove("anyOf");
            object.extend(one);
        }
    }
}

/// A field's meaning where it stands, what its name means everywhere, and how long it may be.
fn explain(field: &mut Value, owner: &str, name: &str, asked: bool) {
    let Some(word) = vocabulary::find(owner, name) else { return };
    let here = field["description"].as_str().unwrap_or_default().trim();
    let both =
        [here, word.says].iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join(" ");
    field["description"] = both.into();
    let is_list = is(field, "array");
    if !asked || !(is_list || is(field, "string")) {
        return;
    }
    let (least, most) = if is_list { ("minItems", "maxItems") } else { ("minLength", "maxLength") };
    if word.length.0 > 0 {
        field[least] = json!(word.length.0);
    }
    if let Some(max) = word.length.1 {
        field[most] = json!(max);
    }
    if let Some(pattern) = word.pattern {
        field["pattern"] = pattern.into();
    }
    if let Some(refused_as) = word.refused_as {
        field["x-refused-as"] = refused_as.into();
    }
}
