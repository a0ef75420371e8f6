//! Reading a table by its section.
//!
//! **Job.** Give each key's checked value, or its default with a problem in the report; find unknown keys.
//! **Called by** the owners of sections. **Calls** `unit`, `report`.
//!
//! Invariants
//! 1. A reader never stops at the first fault: what is wrong gets its default and the rest is read.
//! 2. Ranges and defaults come from the section's table only.
//!
//! Not here: checks between keys (the owners).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::nearest::nearest;
use crate::report::{Mark, Report};
use crate::schema::{Kind, Section};
use crate::tree::{Entry, Node, Table, Value};
use crate::unit::{self, Rate};

/// Reads one table.
pub struct Reader<'a> {
    table: &'a Table,
    section: &'static Section,
    path: String,
    mark: Mark,
    /// Where problems go.
    pub report: &'a mut Report,
}

impl<'a> Reader<'a> {
    /// Begins with the whole file.
    pub fn root(table: &'a Table, section: &'static Section, report: &'a mut Report) -> Self {
        Self::new(table, section, String::new(), Mark::default(), report)
    }

    fn new(
        table: &'a Table,
        section: &'static Section,
        path: String,
        mark: Mark,
        report: &'a mut Report,
    ) -> Self {
        let mut reader = Self { table, section, path, mark, report };
        reader.unknown_keys();
        reader
    }

    /// The key path of this table.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where this table stands.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether a key was written.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// The names under this table, in order.
    pub fn names(&self) -> Vec<String> {
        self.table.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// The raw value of a key.
    pub fn node(&self, key: &str) -> Option<&'a Node> {
        debug_assert!(self.section.key(key).is_some(), "{key} is not in the table of {}", self.section.title);
        self.table.get(key).map(|entry| &entry.node)
    }

    /// The place of a key, or of the table.
    pub fn mark_of(&self, key: &str) -> Mark {
        self.table.get(key).map_or(self.mark, |entry| entry.node.mark)
    }

    /// The place of a key some tables below; of the deepest that was written.
    pub fn mark_below(&self, keys: &[&str]) -> Mark {
        let (mut table, mut mark) = (self.table, self.mark);
        for key in keys {
            let Some(entry) = table.get(key) else { break };
            mark = entry.node.mark;
            match &entry.node.value {
                Value::Table(below) => table = below,
                _ => break,
            }
        }
        mark
    }

    /// The full path of a key.
    pub fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports an error at a key.
    pub fn error(&mut self, key: &str, message: impl Into<String>, help: Option<String>) {
        let (mark, path) = (self.mark_of(key), self.key_path(key));
        self.report.error(mark, &path, message, help);
    }

    /// Reports a warning at a key.
    pub fn warn(&mut self, key: &str, message: impl Into<String>, help: Option<String>) {
        let (mark, path) = (self.mark_of(key), self.key_path(key));
        self.report.warn(mark, &path, message, help);
    }

    fn unknown_keys(&mut self) {
        for entry in &self.table.entries {
            if self.section.key(&entry.name).is_some() {
                continue;
            }
            let known = || self.section.keys.iter().map(|key| key.name);
            let help = if self.report.is_full() {
                // It will only be counted: a file of a million wrong keys must not take a minute.
                String::new()
            } else if let Some(near) = nearest(&entry.name, known()) {
                format!("did you mean `{near}`?")
            } else {
                format!("known here: {}", known().collect::<Vec<_>>().join(", "))
            };
            let message = if self.path.is_empty() {
                format!("unknown section or key `{}`", entry.name)
            } else {
                format!("unknown key `{}`", entry.name)
            };
            let path = self.key_path(&entry.name);
            self.report.error(entry.mark, &path, message, Some(help));
        }
    }

    fn expected(&mut self, key: &str, node: &Node) {
        let path = self.key_path(key);
        self.expected_at(&path, key, node);
    }

    fn expected_at(&mut self, path: &str, key: &str, node: &Node) {
        let Some(kind) = self.section.key(key).map(|key| &key.kind) else { return };
        let message = match outside(node, kind) {
            Some(range) => format!("{} is outside the range: {range}", node.shown()),
            None => format!("{} is not {}", node.shown(), kind.allowed()),
        };
        self.report.error(node.mark, path, message, hint(node, kind));
    }

    fn default_text(&self, key: &str) -> &'static str {
        self.section.key(key).map_or("", |key| key.default.trim_matches('"'))
    }

    /// A text, if written.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                self.expected(key, node);
                None
            }
        }
    }

    /// A text with a default.
    pub fn text_or_default(&mut self, key: &str) -> String {
        self.text(key).unwrap_or_else(|| self.default_text(key).to_owned())
    }

    /// One of the key's words.
    pub fn choice(&mut self, key: &str) -> &'static str {
        let default = self.default_text(key);
        let Some(Kind::Choice(words)) = self.section.key(key).map(|key| &key.kind) else { return default };
        let Some(node) = self.node(key) else { return default };
        if let Value::Text(text) = &node.value {
            if let Some(word) = words.iter().find(|word| *word == text) {
                return word;
            }
            let near = nearest(text, words.iter().copied())
                .filter(|_| !node.secret)
                .map(|near| format!("did you mean \"{near}\"?"));
            let message = format!(
                "{} is not {}",
                node.shown(),
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            );
            let path = self.key_path(key);
            self.report.error(node.mark, &path, message, near);
        } else {
            self.expected(key, node);
        }
        default
    }

    /// A yes or no.
    pub fn bool(&mut self, key: &str) -> bool {
        let default = self.default_text(key) == "true";
        let Some(node) = self.node(key) else { return default };
        match &node.value {
            Value::Bool(value) => *value,
            Value::Text(text) if node.substituted && text == "true" => true,
            Value::Text(text) if node.substituted && text == "false" => false,
            _ => {
                self.expected(key, node);
                default
            }
        }
    }

    /// A whole number, if written and in range; else the default, if there is one.
    pub fn count(&mut self, key: &str) -> Option<u64> {
        let default = self.default_text(key).parse().ok();
        let Some(Kind::Count(min, max)) = self.section.key(key).map(|key| &key.kind) else { return default };
        let node = match self.node(key) {
            None => return default,
            Some(node) => node,
        };
        match &node.value {
            Value::Integer(number)
                if u64::try_from(*number).is_ok_and(|number| (*min..=*max).contains(&number)) =>
            {
                u64::try_from(*number).ok()
            }
            // A number from the environment is text.
            Value::Text(text)
                if node.substituted
                    && text.parse::<u64>().is_ok_and(|number| (*min..=*max).contains(&number)) =>
            {
                text.parse().ok()
            }
            _ => {
                self.expected(key, node);
                default
            }
        }
    }

    /// A whole number that has a default.
    pub fn count_u32(&mut self, key: &str) -> u32 {
        self.count(key).and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
    }

    /// A duration in its range.
    pub fn duration(&mut self, key: &str) -> Duration {
        let default = unit::duration(self.default_text(key)).unwrap_or_default();
        let Some(Kind::Duration(min, max)) = self.section.key(key).map(|key| &key.kind) else {
            return default;
        };
        let range = unit::duration(min).unwrap_or_default()..=unit::duration(max).unwrap_or(Duration::MAX);
        self.unit(key, default, unit::duration, |value| range.contains(value))
    }

    /// A size in its range.
    pub fn size(&mut self, key: &str) -> u64 {
        let default = unit::size(self.default_text(key)).unwrap_or_default();
        let Some(Kind::Size(min, max)) = self.section.key(key).map(|key| &key.kind) else { return default };
        let range = unit::size(min).unwrap_or_default()..=unit::size(max).unwrap_or(u64::MAX);
        self.unit(key, default, unit::size, |value| range.contains(value))
    }

    /// A size, if written.
    pub fn size_if(&mut self, key: &str) -> Option<u64> {
        self.has(key).then(|| self.size(key))
    }

    /// A rate, if written.
    pub fn rate(&mut self, key: &str) -> Option<Rate> {
        if !self.has(key) {
            return None;
        }
        self.unit(key, None, |text| unit::rate(text).map(Some), |_| true)
    }

    fn unit<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
        fits: impl Fn(&T) -> bool,
    ) -> T {
        let Some(node) = self.node(key) else { return default };
        if let Value::Text(text) = &node.value
            && let Some(value) = parse(text)
            && fits(&value)
        {
            return value;
        }
        self.expected(key, node);
        default
    }

    /// An address with port, if written.
    pub fn address(&mut self, key: &str) -> Option<SocketAddr> {
        let node = self.node(key)?;
        if let Value::Text(text) = &node.value
            && let Ok(address) = text.parse()
        {
            return Some(address);
        }
        self.expected(key, node);
        None
    }

    /// A path, relative to the file that names it.
    pub fn path_value(&mut self, key: &str) -> Option<PathBuf> {
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) if !text.is_empty() => Some(self.resolve(node.mark, text)),
            _ => {
                self.expected(key, node);
                None
            }
        }
    }

    /// The default of a path key, relative to the file of this table.
    pub fn path_or_default(&mut self, key: &str) -> PathBuf {
        self.path_value(key).unwrap_or_else(|| self.resolve(self.mark, self.default_text(key)))
    }

    /// A path as written in a file.
    pub fn resolve(&self, mark: Mark, text: &str) -> PathBuf {
        self.report.files.path(mark).parent().unwrap_or(Path::new("")).join(text)
    }

    /// Address ranges; empty when not written.
    pub fn networks(&mut self, key: &str) -> Vec<IpNet> {
        let mut all = Vec::new();
        for (node, text) in self.texts_with_nodes(key) {
            match unit::networks(&text) {
                Some(nets) => all.extend(nets),
                None => self.expected(key, node),
            }
        }
        all
    }

    /// A text or a list of them; empty when not written.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        self.texts_with_nodes(key).into_iter().map(|(_, text)| text).collect()
    }

    /// The same with the places.
    pub fn texts_with_nodes(&mut self, key: &str) -> Vec<(&'a Node, String)> {
        let mut texts = Vec::new();
        for node in self.nodes(key) {
            match &node.value {
                Value::Text(text) => texts.push((node, text.clone())),
                _ => self.expected(key, node),
            }
        }
        texts
    }

    /// A value or a list of values.
    pub fn nodes(&self, key: &str) -> Vec<&'a Node> {
        match self.node(key) {
            None => Vec::new(),
            Some(Node { value: Value::List(list), .. }) => list.iter().collect(),
            Some(node) => vec![node],
        }
    }

    /// A table of free names to texts.
    pub fn text_map(&mut self, key: &str) -> Vec<(String, String)> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Table(table) = &node.value else {
            self.expected(key, node);
            return Vec::new();
        };
        let mut map = Vec::new();
        for entry in &table.entries {
            match &entry.node.value {
                Value::Text(text) => map.push((entry.name.clone(), text.clone())),
                _ => {
                    let path = format!("{}.{}", self.key_path(key), entry.name);
                    self.report.error(
                        entry.node.mark,
                        &path,
                        format!("{} is not text", entry.node.shown()),
                        None,
                    );
                }
            }
        }
        map
    }

    /// Reads a nested table, if written.
    pub fn table<T>(
        &mut self,
        key: &str,
        section: &'static Section,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> Option<T> {
        let node = self.node(key)?;
        let path = self.key_path(key);
        self.below(key, node, path, section, read)
    }

    /// Reads a nested table, or an empty one in its place: every key has its default.
    pub fn table_or_default<T>(
        &mut self,
        key: &str,
        section: &'static Section,
        read: impl Fn(&mut Reader<'_>) -> T,
    ) -> T {
        if let Some(value) = self.table(key, section, &read) {
            return value;
        }
        let empty = Table::default();
        let mut scratch = Report::default();
        // Paths in defaults are relative to the file of the table above.
        std::mem::swap(&mut scratch.files, &mut self.report.files);
        let value = read(&mut Reader::new(&empty, section, self.key_path(key), self.mark, &mut scratch));
        std::mem::swap(&mut scratch.files, &mut self.report.files);
        value
    }

    /// Reads a list of tables (or one table in its place).
    pub fn tables<T>(
        &mut self,
        key: &str,
        section: &'static Section,
        mut read: impl FnMut(&mut Reader<'_>, usize) -> T,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for (index, node) in self.nodes(key).into_iter().enumerate() {
            let path = format!("{}[{index}]", self.key_path(key));
            all.extend(self.below(key, node, path, section, |reader| read(reader, index)));
        }
        all
    }

    /// Reads tables by name, in the order they were written.
    pub fn named<T>(
        &mut self,
        key: &str,
        section: &'static Section,
        mut read: impl FnMut(&mut Reader<'_>, &str) -> T,
    ) -> Vec<T> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Table(table) = &node.value else {
            self.expected(key, node);
            return Vec::new();
        };
        let mut entries: Vec<&Entry> = table.entries.iter().collect();
        entries.sort_by_key(|entry| entry.mark);
        let mut all = Vec::new();
        for entry in entries {
            let path = format!("{}.{}", self.key_path(key), entry.name);
            all.extend(self.below(key, &entry.node, path, section, |reader| read(reader, &entry.name)));
        }
        all
    }

    /// Reads a node as a table of `section`.
    pub fn below<T>(
        &mut self,
        key: &str,
        node: &Node,
        path: String,
        section: &'static Section,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> Option<T> {
        match &node.value {
            Value::Table(table) => Some(read(&mut Reader::new(table, section, path, node.mark, self.report))),
            _ => {
                self.expected_at(&path, key, node);
                None
            }
        }
    }
}

/// The range, when the value is of the right kind and only too small or too large.
fn outside(node: &Node, kind: &Kind) -> Option<String> {
    match (kind, &node.value) {
        (Kind::Count(min, max), Value::Integer(_)) => Some(format!("{min} to {max}")),
        (Kind::Duration(min, max), Value::Text(text)) if unit::duration(text).is_some() => {
            Some(format!("\"{min}\" to \"{max}\""))
        }
        (Kind::Size(min, max), Value::Text(text)) if unit::size(text).is_some() => {
            Some(format!("\"{min}\" to \"{max}\""))
        }
        _ => None,
    }
}

/// What was probably meant.
fn hint(node: &Node, kind: &Kind) -> Option<String> {
    if node.secret {
        return None;
    }
    match (kind, &node.value) {
        (Kind::Duration(..), Value::Integer(number)) if *number >= 0 => {
            Some(format!("write the unit, in quotes: \"{number}s\" or \"{number}ms\""))
        }
        (Kind::Size(..), Value::Integer(number)) if *number >= 0 => {
            Some(format!("write the unit, in quotes: \"{number}B\" or \"{number}MiB\""))
        }
        (Kind::Size(..), Value::Text(text)) => ["KB", "MB", "GB", "TB", "K", "M", "G", "T"]
            .into_iter()
            .find(|unit| text.to_ascii_uppercase().ends_with(unit))
            .map(|unit| format!("sizes are powers of two: {}iB", &unit[..1])),
        (Kind::Duration(..), Value::Text(text)) if text.contains('.') => {
            Some("whole numbers only: \"1500ms\" instead of \"1.5s\"".to_owned())
        }
        (Kind::Bool, Value::Text(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some("write true, without quotes".to_owned()),
            "false" | "no" | "off" | "0" => Some("write false, without quotes".to_owned()),
            _ => None,
        },
        (Kind::Bool, Value::Integer(number @ (0 | 1))) => Some(format!("write {}", *number == 1)),
        (Kind::Count(..), Value::Text(text)) if text.parse::<u64>().is_ok() => {
            Some(format!("write {text}, without quotes"))
        }
        (Kind::Text | Kind::Path, Value::Integer(_) | Value::Float(_) | Value::Bool(_)) => {
            Some(format!("put it in quotes: \"{}\"", node.shown()))
        }
        (Kind::Address, Value::Integer(port)) => Some(format!("with its address: \"127.0.0.1:{port}\"")),
        (Kind::Address, Value::Text(text)) => {
            let port: u16 = text.rsplit(':').next().unwrap_or(text).parse().ok()?;
            Some(format!("an IP address is needed, for example \"127.0.0.1:{port}\""))
        }
        (Kind::List(inner), _) if !matches!(node.value, Value::List(_)) => hint(node, inner),
        _ => None,
    }
}
