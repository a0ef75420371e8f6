//! The settings as a tree that remembers where everything stood.
//!
//! **Made by** `source`. **Read by** `reader`. Not here: meaning.

use crate::report::Mark;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub value: Value,
    /// Whether it came, in whole or part, from the environment: then it is never shown.
    pub secret: bool,
    /// Whether the text was made by substitution: then it may stand for a number or a yes or no as well.
    pub substituted: bool,
}

/// What TOML can say.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Other(&'static str),
    List(Vec<Node>),
    Table(Table),
}

/// Keys in the order they were written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Name, its place, its value.
    pub entries: Vec<Entry>,
}

/// One key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub name: String,
    /// Where it stands.
    pub mark: Mark,
    /// Its value.
    pub node: Node,
}

impl Table {
    /// The entry of a key.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

impl Node {
    /// What was found, for messages: never a secret, never long.
    pub fn shown(&self) -> String {
        if self.secret {
            return "a value from the environment".to_owned();
        }
        match &self.value {
            Value::Text(text) if text.chars().count() > 60 => {
                format!("\"{}…\"", text.chars().take(60).collect::<String>())
            }
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Other(kind) => format!("a {kind}"),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}
