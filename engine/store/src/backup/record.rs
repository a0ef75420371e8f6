//! One line of a backup.
//!
//! **Job.** The records and their form in JSON. **Called by** `file`, `sqlite`, `postgres`.
//!
//! Not here: files, databases.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tables::Value;

/// Raised when records change so that older programs cannot read them.
pub(super) const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Record {
    /// The first line.
    Head { format: u32, program: String, made_ms: u64, from: String },
    /// A migration that was applied, in both dialects.
    Migration {
        owner: String,
        number: u32,
        name: String,
        checksum: String,
        sqlite: String,
        postgres: String,
        at_ms: u64,
    },
    /// A stream; its entries and keys follow.
    Stream { name: String, epoch: u64, first: u64, next: u64, bytes: u64, at_ms: u64 },
    /// An entry of the stream before.
    Entry { offset: u64, at_ms: u64, edits: u32, removed: bool, data: Body, text: String },
    /// A key that was used in the stream before.
    Sent { day: u64, key: Body, first: u64, count: u64 },
    /// A value.
    Value { namespace: String, key: String, value: Body, version: u64, expires_ms: Option<u64> },
    /// A role's table; its rows follow.
    Table { name: String, columns: Vec<String> },
    /// A row of the table before.
    Row { values: Vec<Cell> },
    /// The last line: how many lines were before it, and their SHA-256.
    End { lines: u64, sha256: String },
}

/// Bytes, in base64.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Body(pub(super) Vec<u8>);

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}
impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Cell {
    Null,
    Int(i64),
    /// By its bits: every number comes back as it was, infinities too.
    Real(u64),
    Text(String),
    Blob(Body),
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(int) => Self::Int(*int),
            Value::Real(real) => Self::Real(real.to_bits()),
            Value::Text(text) => Self::Text(text.clone()),
            Value::Blob(blob) => Self::Blob(Body(blob.to_vec())),
        }
    }
}
impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Int(int) => Self::Int(int),
            Cell::Real(bits) => Self::Real(f64::from_bits(bits)),
            Cell::Text(text) => Self::Text(text),
            Cell::Blob(blob) => Self::Blob(blob.0.into()),
        }
    }
}

/// A name as SQL wants it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
