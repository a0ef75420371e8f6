//! From files to one tree: reading, includes, the environment.
//!
//! **Job.** Parse TOML with all of its errors, join included files, put `${NAME}` in.
//! **Called by** `madang`. **Calls** the toml crate; files through [`Source`].
//!
//! Invariants
//! 1. A table may be continued in another file; a key set twice is an error that names both places.
//! 2. Includes do not nest deeper than [`DEPTH_MAX`] and a file is read once.
//!
//! Not here: which keys exist (`schema`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::{Mark, Report};
use crate::tree::{Entry, Node, Table, Value};

/// How deep includes may nest.
pub const DEPTH_MAX: usize = 8;
/// The largest settings file, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where files come from.
pub trait Source {
    /// A file's text.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// The files of a pattern whose last part may hold `*`, sorted.
    fn list(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;
}

/// Reads `path` and what it includes. Problems go to the report; what could be read is in the tree.
pub fn load(
    path: &Path,
    environment: &BTreeMap<String, String>,
    source: &dyn Source,
    report: &mut Report,
) -> Table {
    let mut loader = Loader { environment, source, report, seen: Vec::new() };
    let mut root = Table::default();
    loader.file(path, None, 0, &mut root);
    root
}

struct Loader<'a> {
    environment: &'a BTreeMap<String, String>,
    source: &'a dyn Source,
    report: &'a mut Report,
    seen: Vec<PathBuf>,
}

impl Loader<'_> {
    fn file(&mut self, path: &Path, from: Option<Mark>, depth: usize, root: &mut Table) {
        if depth > DEPTH_MAX || self.seen.iter().any(|seen| seen == path) {
            let message = format!("{} is included twice or in a circle", path.display());
            return self.report.error(from.unwrap_or_default(), "include", message, None);
        }
        self.seen.push(path.to_owned());
        let text = match self.source.read(path) {
            Ok(text) if text.len() <= FILE_BYTES_MAX => text,
            Ok(_) => {
                let message = format!("{} is larger than 4 MiB", path.display());
                return self.report.error(from.unwrap_or_default(), "", message, None);
            }
            Err(error) => {
                let mark = from.unwrap_or_else(|| Mark {
                    file: self.report.files.add(path.to_owned(), String::new()),
                    offset: 0,
                });
                let help = (error.kind() == io::ErrorKind::NotFound && from.is_none()).then(|| {
                    "name another file with -c, or serve a folder without settings: `madang DIR`".to_owned()
                });
                return self.report.error(mark, "", format!("cannot read {}: {error}", path.display()), help);
            }
        };
        let file = self.report.files.add(path.to_owned(), text.clone());
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let mark = Mark { file, offset: u32::try_from(offset).unwrap_or(0) };
            self.report.error(mark, "", format!("this is not TOML: {}", error.message().trim()), None);
        }
        let table = self.table(parsed.get_ref(), file, "");
        let include = table.get("include").cloned();
        self.join(root, table, "");
        root.entries.retain(|entry| entry.name != "include");
        if let Some(include) = include {
            self.includes(path, &include, depth, root);
        }
    }

    fn includes(&mut self, path: &Path, include: &Entry, depth: usize, root: &mut Table) {
        let patterns: Vec<(&str, Mark)> = match &include.node.value {
            Value::Text(text) => vec![(text, include.node.mark)],
            Value::List(list) => list
                .iter()
                .filter_map(|node| {
                    if let Value::Text(text) = &node.value { Some((text.as_str(), node.mark)) } else { None }
                })
                .collect(),
            _ => {
                let help = Some("for example include = \"conf.d/*.toml\"".to_owned());
                return self.report.error(
                    include.node.mark,
                    "include",
                    "must be a file name or a list of them",
                    help,
                );
            }
        };
        for (pattern, mark) in patterns {
            let full = path.parent().unwrap_or(Path::new("")).join(pattern);
            match self.source.list(&full) {
                Ok(found) if found.is_empty() && !pattern.contains('*') => {
                    self.report.error(mark, "include", format!("there is no file {}", full.display()), None);
                }
                Ok(found) => {
                    for file in found {
                        self.file(&file, Some(mark), depth + 1, root);
                    }
                }
                Err(error) => self.report.error(
                    mark,
                    "include",
                    format!("cannot list {}: {error}", full.display()),
                    None,
                ),
            }
        }
    }

    fn table(&mut self, parsed: &DeTable<'_>, file: u32, path: &str) -> Table {
        let mut entries: Vec<Entry> = Vec::new();
        for (key, value) in parsed {
            let mark = mark(file, key);
            let name = key.get_ref().to_string();
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let node = self.node(value, file, &below);
            entries.push(Entry { name, mark, node });
        }
        entries.sort_by_key(|entry| entry.mark);
        Table { entries }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, file: u32, path: &str) -> Node {
        let mark = mark(file, value);
        let mut secret = false;
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(self.substitute(text, mark, path, &mut secret)),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    self.report.error(mark, path, "the number is too large", None);
                    Value::Integer(0)
                }
            },
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Datetime(_) => Value::Other("date"),
            DeValue::Array(list) => {
                let nodes = list
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.node(item, file, &format!("{path}[{index}]")));
                Value::List(nodes.collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, file, path)),
        };
        Node { mark, value, secret }
    }

    /// Puts the environment in: `${NAME}`, `${NAME:-default}`; `$${` is a plain `${`.
    fn substitute(&mut self, text: &str, mark: Mark, path: &str, secret: &mut bool) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                self.report.error(
                    mark,
                    path,
                    "`${` without `}`",
                    Some("write `$${` for a plain `${`".to_owned()),
                );
                return out;
            };
            let inside = &rest[at + 2..at + end];
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            match (self.environment.get(name), default) {
                (Some(value), _) => {
                    *secret = true;
                    out.push_str(value);
                }
                (None, Some(default)) => out.push_str(default),
                (None, None) => {
                    let help = format!("set it, or give a default: ${{{name}:-value}}");
                    self.report.error(mark, path, format!("the environment has no {name}"), Some(help));
                }
            }
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        out
    }

    fn join(&mut self, into: &mut Table, from: Table, path: &str) {
        for entry in from.entries {
            let below = if path.is_empty() { entry.name.clone() } else { format!("{path}.{}", entry.name) };
            match into.entries.iter_mut().find(|have| have.name == entry.name) {
                None => into.entries.push(entry),
                Some(have) => match (&mut have.node.value, entry.node.value) {
                    (Value::Table(old), Value::Table(new)) => self.join(old, new, &below),
                    _ if below == "include" => {}
                    _ => {
                        let (line, _, _) = self.report.files.locate(have.mark);
                        let message = format!(
                            "is already set in {}:{line}",
                            self.report.files.path(have.mark).display()
                        );
                        self.report.error(entry.mark, &below, message, None);
                    }
                },
            }
        }
    }
}

fn mark<T>(file: u32, spanned: &Spanned<T>) -> Mark {
    Mark { file, offset: u32::try_from(spanned.span().start).unwrap_or(0) }
}
