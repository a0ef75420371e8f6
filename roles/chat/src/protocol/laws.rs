//! What must hold of any text that comes as a request.
//!
//! **Job.** State it once: 1. What the reader takes is valid by the schema that is given out. 2. What is valid by it the reader takes,
//! bytes counted as characters left aside. 3. What is refused says why, with the request's number where it has one. The tests below feed
//! it generated requests, the fuzz target `chat_request` what libFuzzer finds. Only part of test and fuzzing builds.
//!
//! The schemas are judged by a validator of forty lines, for the words they use; the suite `chat_protocol` judges them by another's.
//!
//! Not here: single requests and their answers (the tests of `ask`).
#![allow(clippy::unwrap_used, clippy::panic)] // a broken law stops the run: that is how it is told

use serde_json::Value;

use super::schemas::Schemas;
use crate::ask::{NONCE_BYTES_MAX, Request};
use crate::exact::NUMBER_MAX;

thread_local! {
    static ALL: Value = serde_json::json!({ "components": { "schemas": Schemas::new().all } });
}

/// All laws for one input: the text of a frame.
pub fn from_fuzz(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        hold(text);
    }
}

/// All laws for one text.
pub fn hold(text: &str) {
    let read = Request::read(text);
    let value: Result<Value, _> = serde_json::from_str(text);
    if let Err((id, refusal)) = &read {
        assert!(!refusal.to_string().is_empty() && refusal.name() == "malformed", "{text}");
        assert!(
            id.is_none_or(|id| value.as_ref().is_ok_and(|value| value["id"] == id) || value.is_err()),
            "{text}: {id:?}"
        );
    }
    let Ok(value) = value else { return assert!(read.is_err(), "not JSON, and taken: {text}") };
    if let Ok(Request { id, .. }) = read {
        assert!(
            is_valid(&value) && value["id"] == id && (1..=NUMBER_MAX).contains(&id),
            "the schema does not know it: {text}"
        );
    }
    // Of what JSON says twice or in other letters a reader keeps one: so it is judged as it would be written again.
    let again = value.to_string();
    let long_nonce = value["nonce"].as_str().is_some_and(|nonce| nonce.len() > NONCE_BYTES_MAX);
    if is_valid(&value) && !long_nonce {
        assert!(Request::read(&again).is_ok(), "the schema has it: {again}: {:?}", Request::read(&again));
    }
}

/// Whether a value is a request by the schemas.
fn is_valid(value: &Value) -> bool {
    let Some(kind) = value["do"].as_str() else { return false };
    ALL.with(|all| {
        let schema = &all["components"]["schemas"][format!("request.{kind}")];
        !schema.is_null() && fits(value, schema, all)
    })
}

/// The words of JSON Schema that requests use. Lengths that have an error of their own are judged later, by the hub.
fn fits(value: &Value, schema: &Value, all: &Value) -> bool {
    let each = |name: &str| schema[name].as_array();
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("a type this validator does not know: {other}"),
    };
    let typed = match &schema["type"] {
        Value::Null => true,
        Value::String(kind) => is(kind),
        kinds => kinds.as_array().unwrap().iter().any(|kind| is(kind.as_str().unwrap())),
    };
    let referred = schema["$ref"].as_str().is_none_or(|to| fits(value, all.pointer(&to[1..]).unwrap(), all));
    let constant = schema.get("const").is_none_or(|want| want == value);
    let combined = each("allOf").is_none_or(|several| several.iter().all(|one| fits(value, one, all)))
        && each("anyOf").is_none_or(|several| several.iter().any(|one| fits(value, one, all)))
        && each("oneOf")
            .is_none_or(|several| several.iter().filter(|one| fits(value, one, all)).count() == 1);
    let number = |name: &str| schema[name].as_u64();
    let ranged = value.as_u64().is_none_or(|have| {
        number("minimum").is_none_or(|min| have >= min) && number("maximum").is_none_or(|max| have <= max)
    }) && value.as_i64().is_none_or(|have| have >= 0 || schema["minimum"].is_null());
    let judged_here = schema["x-refused-as"].is_null();
    let sized = value.as_str().filter(|_| judged_here).is_none_or(|text| {
        let have = text.chars().count() as u64;
        number("minLength").is_none_or(|min| have >= min) && number("maxLength").is_none_or(|max| have <= max)
    });
    let filled = value.as_object().is_none_or(|object| {
        let fields = &schema["properties"];
        let known = object.iter().all(|(name, value)| match fields.get(name) {
            Some(schema) => fits(value, schema, all),
            None => schema["additionalProperties"] != false,
        });
        known
            && each("required")
                .is_none_or(|names| names.iter().all(|name| object.contains_key(name.as_str().unwrap())))
    });
    let listed = value.as_array().is_none_or(|list| {
        schema.get("items").is_none_or(|schema| list.iter().all(|one| fits(one, schema, all)))
    });
    typed && referred && constant && combined && ranged && sized && filled && listed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    /// Values that fit a field of some request, and some that fit none.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => "[a-z@*]{1,9}".prop_map(Value::from),
            2 => "\\PC{0,70}".prop_map(Value::from),
            3 => prop_oneof![Just(0), Just(1), Just(200), Just(201), Just(NUMBER_MAX), Just(NUMBER_MAX + 1), any::<u64>()].prop_map(Value::from),
            1 => any::<i64>().prop_map(Value::from),
            1 => any::<f64>().prop_map(Value::from),
            2 => any::<bool>().prop_map(Value::from),
            1 => Just(Value::Null),
            1 => prop_oneof![Just("owner"), Just("none"), Just("king")].prop_map(Value::from),
            1 => Just(json!({ "epoch": 1, "offset": 2 })),
            1 => Just(json!([1, 2])),
            1 => Just(json!({ "owner": null })),
            1 => Just(json!([{ "name": "a", "url": "files/1/a", "bytes": 1, "type": "image/png" }])),
            1 => Just(json!([["a", "files/1/a", 1, "image/png"]])),
        ]
    }

    /// Requests of every kind with most of their fields, and one that is not theirs now and then.
    fn request() -> impl Strategy<Value = Value> {
        let kinds = Schemas::new().requests;
        let name = "room|text|nonce|offset|since|reply|files|action|notice|emoji|add|before|after|limit|words|who|role|why|minutes|topic|private|\
            invite_only|slow_ms|name|key|token|rom";
        (
            proptest::sample::select(kinds),
            proptest::collection::vec((name, value()), 0..9),
            0..9_u8,
            any::<[bool; 9]>(),
        )
            .prop_map(|(kind, more, id, kept)| {
                let schema = ALL.with(|all| all["components"]["schemas"][format!("request.{kind}")].clone());
                let known = schema["properties"].as_object().unwrap();
                let mut all: Map<String, Value> = schema["required"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|name| (name.as_str().unwrap().to_owned(), json!("a")))
                    .collect();
                for ((name, value), kept) in more.into_iter().zip(kept) {
                    if known.contains_key(&name) || (kept && name == "rom") {
                        all.insert(name, value);
                    }
                }
                all.insert("do".into(), kind.into());
                all.insert("id".into(), if id == 0 { json!(0) } else { json!(id) });
                Value::Object(all)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn the_reader_and_the_schema_agree(request in request()) {
            hold(&request.to_string());
        }

        #[test]
        fn any_text_is_refused_or_a_request(text in r#"\PC{0,60}|\{"do":"[a-z]{0,9}","id":[0-9e.-]{1,4}[\[\]{},:"a-z0-9\\]{0,30}\}?"#) {
            hold(&text);
        }
    }

    // Goal: what fuzzing found once is found again without a fuzzer. Method: every kept file through the law.
    #[test]
    fn the_kept_corpus_holds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/chat_request");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(files.len() > 20, "{} files", files.len());
        files.into_iter().for_each(|file| from_fuzz(&std::fs::read(file.unwrap().path()).unwrap()));
    }

    // Goal: the law looks at something: of what the document shows, the validator takes what the reader takes.
    #[test]
    fn requests_of_the_document_are_valid() {
        for text in [
            r#"{"do":"hello","id":1,"name":"mina"}"#,
            r#"{"do":"join","id":2,"room":"lobby","since":{"epoch":1475490705241094,"offset":17}}"#,
            r#"{"do":"send","id":3,"room":"lobby","text":"hi @kim","nonce":"b1"}"#,
            r#"{"do":"role","id":3,"room":"lobby","who":"kim","role":"owner"}"#,
        ] {
            assert!(is_valid(&serde_json::from_str(text).unwrap()), "{text}");
            assert!(Request::read(text).is_ok(), "{text}");
            hold(text);
        }
    }
}
