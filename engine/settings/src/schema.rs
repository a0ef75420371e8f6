//! The table of keys: what may stand in the settings, with units, ranges, defaults and documentation.
//!
//! **Job.** Describe sections as constants. Readers take ranges and defaults from here, so that text, schema and
//! behaviour cannot differ. **Read by** `reader`, `docs`, `madang schema`.
//!
//! Not here: reading (`reader`).

use serde_json::{Value as Json, json};

/// A table of the settings.
#[derive(Debug)]
pub struct Section {
    /// How it is called in documentation, for example `[limits]`.
    pub title: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default as it would be written; empty: none, or told in `doc`.
    pub default: &'static str,
    /// One or two plain sentences.
    pub doc: &'static str,
}

/// One key of a table, as tables of keys are written.
pub const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, doc }
}

/// What values a key takes.
#[derive(Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path, relative to the settings file's folder.
    Path,
    /// `true` or `false`.
    Bool,
    /// A whole number in a range.
    Count(u64, u64),
    /// A duration in a range, as written.
    Duration(&'static str, &'static str),
    /// A size in a range, as written.
    Size(&'static str, &'static str),
    /// `100/s burst 200 per ip`.
    Rate,
    /// `127.0.0.1:9900`.
    Address,
    /// Addresses and CIDR ranges.
    Networks,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list, or one value in its place.
    List(&'static Kind),
    /// A nested table.
    Table(&'static Section),
    /// A table whose keys are names given by the user.
    Named(&'static Section),
    /// A table of free names to values.
    Map(&'static Kind),
    /// Several forms.
    Either(&'static [Kind]),
}

/// Text that the environment fills in: its value is not known to an editor.
const ENVIRONMENT: &str = r"\$\{";

impl Kind {
    /// For people: `a duration from 1s to 10m`.
    pub fn allowed(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Count(min, max) => format!("a whole number from {min} to {max}"),
            Self::Duration(min, max) => {
                format!("a duration from \"{min}\" to \"{max}\", with a unit: ms, s, m, h, d, w")
            }
            Self::Size(min, max) => {
                format!("a size from \"{min}\" to \"{max}\", with a unit: B, KiB, MiB, GiB")
            }
            Self::Rate => {
                "a rate such as \"100/s\" or \"100/s burst 200 per ip\" (per ip, user, header:NAME or all)"
                    .to_owned()
            }
            Self::Address => "an address with port such as \"127.0.0.1:9900\"".to_owned(),
            Self::Networks => {
                "addresses or ranges such as \"10.0.0.0/8\", \"::1\", \"private\", \"loopback\"".to_owned()
            }
            Self::Choice(words) => {
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Self::List(kind) => format!("{}, or a list of such", kind.allowed()),
            Self::Table(_) | Self::Named(_) | Self::Map(_) => "a table".to_owned(),
            Self::Either(kinds) => kinds.iter().map(Self::allowed).collect::<Vec<_>>().join(", or "),
        }
    }

    /// JSON Schema (2020-12) of the values.
    pub fn json(&self) -> Json {
        let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
        match self {
            Self::Text | Self::Path => json!({ "type": "string" }),
            Self::Bool => json!({ "anyOf": [{ "type": "boolean" }, text(ENVIRONMENT)] }),
            Self::Count(min, max) => {
                json!({ "anyOf": [{ "type": "integer", "minimum": min, "maximum": max }, text(ENVIRONMENT)] })
            }
            Self::Duration(..) => text(r"^(\d+ ?(ms|s|m|h|d|w)|.*\$\{.*)$"),
            Self::Size(..) => text(r"^(\d+ ?(B|KiB|MiB|GiB|TiB)|.*\$\{.*)$"),
            Self::Rate => text(r"^(\d+/[smh]( burst \d+)?( per (ip|user|all|header:\S+))?|.*\$\{.*)$"),
            Self::Address => text(r"^(.*:\d+|.*\$\{.*)$"),
            Self::Networks => {
                json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
            }
            Self::Choice(words) => json!({ "anyOf": [{ "enum": words }, text(ENVIRONMENT)] }),
            Self::List(kind) => json!({ "anyOf": [kind.json(), { "type": "array", "items": kind.json() }] }),
            Self::Table(section) => section.json(),
            Self::Named(section) => json!({ "type": "object", "additionalProperties": section.json() }),
            Self::Map(kind) => json!({ "type": "object", "additionalProperties": kind.json() }),
            Self::Either(kinds) => json!({ "anyOf": kinds.iter().map(Self::json).collect::<Vec<_>>() }),
        }
    }
}

impl Section {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        let keys: &'static [Key] = self.keys;
        keys.iter().find(|key| key.name == name)
    }

    /// JSON Schema of the table.
    pub fn json(&self) -> Json {
        let properties = self.keys.iter().map(|key| {
            let mut schema = key.kind.json();
            if let Some(map) = schema.as_object_mut() {
                map.insert("description".to_owned(), json!(key.doc));
                if !key.default.is_empty() {
                    map.insert("default".to_owned(), default(key.default));
                }
            }
            (key.name.to_owned(), schema)
        });
        json!({
            "type": "object",
            "description": self.doc,
            "additionalProperties": false,
            "properties": properties.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// A default as JSON: quoted is text, the rest are numbers and truths.
fn default(written: &str) -> Json {
    serde_json::from_str(written).unwrap_or_else(|_| json!(written))
}

/// The schema of a whole settings file.
pub fn document(root: &Section) -> Json {
    let mut schema = root.json();
    if let Some(map) = schema.as_object_mut() {
        map.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".to_owned(), json!("madang.toml"));
    }
    schema
}
