//! The names of errors, with their meaning and their status in HTTP.
//!
//! **Job.** List them from [`Refusal`]: its comments say what each means, its methods what comes of it. **Called by** `schemas`,
//! `openapi`.
//!
//! Not here: when they are given (`hub`).

use std::borrow::Cow;

use madang_store::error::StoreError;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::refusal::Refusal;

/// In place of the text that it is.
pub(crate) struct ErrorName;

impl JsonSchema for ErrorName {
    fn schema_name() -> Cow<'static, str> {
        "ErrorName".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let names: Vec<Value> = told(schemas)
            .into_iter()
            .map(|(refusal, about)| {
                json!({ "const": refusal.name(), "description": about, "x-http-status": refusal.status() })
            })
            .collect();
        let mut schema = Schema::default();
        schema.insert("description".into(), "Why something was not done.".into());
        schema.insert("type".into(), "string".into());
        schema.insert("oneOf".into(), names.into());
        schema
    }
}

/// One of each name, with what it means.
fn told(schemas: &mut SchemaGenerator) -> Vec<(Refusal, String)> {
    let variants = Refusal::json_schema(schemas).to_value();
    let about = |name: &str| {
        let variant =
            variants["oneOf"].as_array()?.iter().find(|one| one["properties"]["refusal"]["const"] == name)?;
        variant["description"].as_str().map(str::to_owned)
    };
    let of_store = |refusal: &Refusal| match refusal.name() {
        "store-full" => "The disk is full, or the database has its largest size: it was not kept.",
        "store-unreachable" => "The database does not answer: it was not kept.",
        "store-unknown" => "The database went away in between: it may be kept; the same nonce again tells.",
        _ => "The store did not keep it; the server's log says why.",
    };
    let with_its_meaning = |refusal: Refusal| {
        let about = about(refusal.name()).unwrap_or_else(|| of_store(&refusal).to_owned());
        (refusal, about)
    };
    every().into_iter().map(with_its_meaning).collect()
}

/// One refusal of each name.
pub(super) fn every() -> Vec<Refusal> {
    use Refusal::{
        BadFile, BadKey, BadName, BadRoom, BadText, BadToken, Banned, Busy, Full, HelloFirst, HelloTwice,
        InviteOnly, Malformed, Muted, NameTaken, NoSuchMessage, NoSuchRoom, NoSuchUser, NotAllowed, NotThere,
        NotYours, Private, RoomTaken, ShuttingDown, SlowMode, Store, TokenExpired, TooFast, TooLong,
        UsersOnly,
    };
    let (again_ms, must, until_ms) = (0, "", None);
    let no_room = || "".into();
    vec![
        Malformed { why: String::new() },
        HelloFirst,
        HelloTwice,
        BadName { must },
        NameTaken { name: no_room() },
        BadKey,
        BadToken,
        TokenExpired,
        UsersOnly,
        BadRoom { must },
        NoSuchRoom { room: no_room() },
        NoSuchUser { name: no_room() },
        RoomTaken { room: no_room() },
        NotThere { room: no_room() },
        Private,
        InviteOnly,
        Banned { until_ms },
        Muted { until_ms },
        SlowMode { again_ms },
        NotAllowed { who_may: "" },
        TooLong { what: "", bytes: 0, max: 0 },
        BadText { must },
        BadFile { must },
        TooFast { again_ms },
        Full { what: "", max: 0 },
        NoSuchMessage { offset: 0 },
        NotYours,
        Busy { again_ms },
        ShuttingDown,
        Store(StoreError::Full { why: String::new() }),
        Store(StoreError::Unreachable { why: String::new() }),
        Store(StoreError::Unknown { why: String::new() }),
        Store(StoreError::NoCounter),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // Goal: no name is missing and none is told that is not given. Method: the variants as the compiler knows them beside the list.
    #[test]
    fn every_name_is_told() {
        let variants = Refusal::json_schema(&mut SchemaGenerator::default()).to_value();
        let named = variants["oneOf"].as_array().unwrap().iter();
        let named: BTreeSet<&str> =
            named.filter_map(|one| one["properties"]["refusal"]["const"].as_str()).collect();
        let listed = every();
        let listed: BTreeSet<&str> = listed.iter().map(Refusal::name).collect();
        assert_eq!(
            listed.iter().filter(|name| !name.starts_with("store-")).copied().collect::<BTreeSet<_>>(),
            named
        );
        assert_eq!(listed.len(), every().len(), "each once");
        for (refusal, about) in told(&mut SchemaGenerator::default()) {
            assert!(about.ends_with('.') && !about.is_empty(), "{}: {about}", refusal.name());
        }
    }
}
