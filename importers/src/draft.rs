//! What was understood, as sections of madang.toml with the reasons beside them.
//!
//! **Job.** Hold settings in the order in which they are to be read, each with its comments and its losses.
//! **Written by** the importers. **Read by** `render` and `madang init`.
//!
//! Invariants
//! 1. A loss stands at the section or route that it concerns; [`Draft::all_lost`] tells all of them, in the file's order.
//!
//! Not here: how TOML is written (`render`).

use std::fmt;

/// A value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(u64),
    /// True or false.
    Bool(bool),
    /// A list.
    List(Vec<Value>),
    /// A table on one line.
    Table(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl Value {
    /// One text, or a list of several.
    pub fn one_or_many(mut texts: Vec<String>) -> Self {
        if texts.len() == 1 { Self::Text(texts.remove(0)) } else { texts.into() }
    }
    /// A table of names to text.
    pub fn map(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::Table(pairs.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

/// Where something was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// As the user knows it.
    pub file: String,
    /// From 1; 0: the whole file.
    pub line: u32,
}

impl Place {
    /// A line of a file.
    pub fn new(file: &str, line: u32) -> Self {
        Self { file: file.to_owned(), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// What could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Where it was written.
    pub at: Place,
    /// What was written, in few words: `sub_filter`.
    pub what: String,
    /// What to do instead.
    pub instead: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.what, self.at, self.instead)
    }
}

/// A key of a section.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Why, behind it on the line; empty: nothing.
    pub why: String,
}

/// Which table a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[site.NAME]`.
    Site,
    /// `[pool.NAME]`.
    Pool,
    /// `[app.NAME]`.
    App,
    /// `[stream.NAME]`.
    Stream,
}

impl Kind {
    /// As in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Pool => "pool",
            Self::App => "app",
            Self::Stream => "stream",
        }
    }
}

/// A route of a site.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Route {
    /// Lines above it.
    pub comments: Vec<String>,
    /// What of it is gone.
    pub lost: Vec<Lost>,
    /// Its keys, in order.
    pub entries: Vec<(&'static str, Value)>,
}

impl Route {
    /// One that takes this path.
    pub fn at(path: &str) -> Self {
        Self::default().with("path", path)
    }
    /// With a key more.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }
    /// Sets a key, in the place it has if it has one.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        match self.entries.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value.into(),
            // Conditions stand together, in front of what is done.
            None if matches!(key, "host" | "method" | "header" | "query" | "cookie" | "from") => {
                let place = usize::from(self.entries.first().is_some_and(|(known, _)| *known == "path"));
                self.entries.insert(place, (key, value.into()));
            }
            None => self.entries.push((key, value.into())),
        }
    }
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }
    /// Takes a key away.
    pub fn unset(&mut self, key: &str) {
        self.entries.retain(|(known, _)| *known != key);
    }
    /// A line above it, once.
    pub fn say(&mut self, comment: impl Into<String>) {
        let comment = comment.into();
        if !self.comments.contains(&comment) {
            self.comments.push(comment);
        }
    }
    /// Adds to a table of names to text; a name that is there gets the new value.
    pub fn add_to_map(&mut self, key: &'static str, name: &str, value: &str) {
        if self.get(key).is_none() {
            self.set(key, Value::Table(Vec::new()));
        }
        let Some((_, Value::Table(map))) = self.entries.iter_mut().find(|(known, _)| *known == key) else {
            return;
        };
        map.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        map.push((name.to_owned(), value.into()));
    }
}

/// A section by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Which table.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Lines above it.
    pub comments: Vec<String>,
    /// What of it is gone.
    pub lost: Vec<Lost>,
    /// Its keys, in order.
    pub entries: Vec<Entry>,
    /// Of a site.
    pub routes: Vec<Route>,
}

impl Section {
    /// An empty one.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), comments: vec![], lost: vec![], entries: vec![], routes: vec![] }
    }
    /// Sets a key.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.set_why(key, value, "");
    }
    /// Sets a key and says why.
    pub fn set_why(&mut self, key: &'static str, value: impl Into<Value>, why: impl Into<String>) {
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(Entry { key, value: value.into(), why: why.into() });
    }
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
    /// Takes a key away.
    pub fn unset(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key != key);
    }
    /// Sets a key of a table on one line, such as `restart.after`.
    pub fn set_in(&mut self, key: &'static str, name: &str, value: impl Into<Value>) {
        if self.get(key).is_none() {
            self.set(key, Value::Table(Vec::new()));
        }
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == key) else { return };
        let Value::Table(table) = &mut entry.value else { return };
        table.retain(|(known, _)| known != name);
        table.push((name.to_owned(), value.into()));
    }
    /// A line above it, once.
    pub fn say(&mut self, comment: impl Into<String>) {
        let comment = comment.into();
        if !self.comments.contains(&comment) {
            self.comments.push(comment);
        }
    }
    /// Something is gone.
    pub fn lose(&mut self, at: Place, what: impl Into<String>, instead: impl Into<String>) {
        let lost = Lost { at, what: what.into(), instead: instead.into() };
        if !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
    }
}

/// Settings to be written, and what is to be said about them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Draft {
    /// What the settings are made from.
    pub source: String,
    /// What was found and why it was chosen: sentences.
    pub found: Vec<String>,
    /// Lines at the top of the file: what holds for all of it.
    pub head: Vec<String>,
    /// `[server]`.
    pub server: Vec<Entry>,
    /// `[limits]`.
    pub limits: Vec<Entry>,
    /// `[log]`.
    pub log: Vec<Entry>,
    /// Everything with a name.
    pub sections: Vec<Section>,
    /// What belongs to no section and is gone.
    pub lost: Vec<Lost>,
    /// What needs no counterpart, by name.
    pub not_needed: Vec<String>,
    /// What to do before the first start.
    pub next: Vec<String>,
}

impl Draft {
    /// An empty one.
    pub fn from_source(source: &str) -> Self {
        Self { source: source.to_owned(), ..Self::default() }
    }
    /// Everything that is gone, in the file's order.
    pub fn all_lost(&self) -> Vec<&Lost> {
        let below = self.sections.iter().flat_map(|section| {
            section.lost.iter().chain(section.routes.iter().flat_map(|route| &route.lost))
        });
        self.lost.iter().chain(below).collect()
    }
    /// Something is gone that belongs to no section.
    pub fn lose(&mut self, at: Place, what: impl Into<String>, instead: impl Into<String>) {
        let lost = Lost { at, what: what.into(), instead: instead.into() };
        if !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
    }
    /// Something needs no counterpart.
    pub fn not_needed(&mut self, name: &str) {
        if !self.not_needed.iter().any(|known| known == name) {
            self.not_needed.push(name.to_owned());
        }
    }
    /// A name of this kind that is not taken: `wish`, `wish-2`, … Apps and pools share their names.
    pub fn free_name(&self, kind: Kind, wish: &str) -> String {
        let wish = as_name(wish);
        let shares = |other: Kind| {
            kind == other || matches!((kind, other), (Kind::App, Kind::Pool) | (Kind::Pool, Kind::App))
        };
        let taken =
            |name: &str| self.sections.iter().any(|section| shares(section.kind) && section.name == name);
        if !taken(&wish) {
            return wish;
        }
        (2_u32..).map(|number| format!("{wish}-{number}")).find(|name| !taken(name)).unwrap_or(wish)
    }
    /// How many sections there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.sections.iter().filter(|section| section.kind == kind).count()
    }
}

/// Letters, digits, `-` and `_`, at most 48 of them.
pub fn as_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().take(200) {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => name.push(c.to_ascii_lowercase()),
            '*' => name.push_str("any"),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
        if name.len() >= 48 {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "app".to_owned() } else { name.to_owned() }
}
