//! From files to one tree: reading, includes, the environment.
//!
//! **Job.** Parse TOML with all of its errors, join included files, put `${NAME}` in.
//! **Called by** `madang`. **Calls** the toml crate; files through [`Source`].
//!
//! Invariants
//! 1. A table may be continued in another file; a key set twice is an error that names both places.
//! 2. Includes do not nest deeper than [`DEPTH_MAX`], at most [`FILES_MAX`] files are read, each of them once.
//!
//! Not here: which keys exist (`schema`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::{Mark, Report};
use crate::tree::{Entry, Node, Table, Value};

/// How deep includes may nest.
pub const DEPTH_MAX: usize = 8;
/// How many files may be read.
pub const FILES_MAX: usize = 1024;
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
        let same = clean(path);
        let refusal = if self.seen.contains(&same) {
            Some(format!("{} is included twice or in a circle", path.display()))
        } else if depth > DEPTH_MAX {
            Some(format!("{} is included more than {DEPTH_MAX} files deep", path.display()))
        } else if self.seen.len() >= FILES_MAX {
            Some(format!("more than {FILES_MAX} settings files"))
        } else {
            None
        };
        if let Some(message) = refusal {
            return self.report.error(from.unwrap_or_default(), "include", message, None);
        }
        self.seen.push(same);
        let read = self.source.read(path).and_then(|text| match text.len() {
            0..=FILE_BYTES_MAX => Ok(text),
            _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB")),
        });
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                let mark = from.unwrap_or_else(|| Mark {
                    file: self.report.files.add(path.to_owned(), String::new()),
                    offset: 0,
                });
                let help = match error.kind() {
                    io::ErrorKind::NotFound if from.is_none() => {
                        Some("name another file with -c, or serve a folder without settings: `madang DIR`")
                    }
                    io::ErrorKind::InvalidData => Some("settings are written in UTF-8"),
                    io::ErrorKind::PermissionDenied => Some("let the server's user read it"),
                    _ => None,
                };
                let message = format!("cannot read {}: {error}", path.display());
                return self.report.error(mark, "", message, help.map(str::to_owned));
            }
        };
        let file = self.report.files.add(path.to_owned(), text.clone());
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let mark = Mark { file, offset: u32::try_from(offset).unwrap_or(0) };
            // What the parser put in its place is nobody's fault.
            self.report.unusable(mark, "", format!("this is not TOML: {}", error.message().trim()), None);
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
        let nodes = match &include.node.value {
            Value::List(list) => list.as_slice(),
            _ => std::slice::from_ref(&include.node),
        };
        for node in nodes {
            let Value::Text(pattern) = &node.value else {
                let help = Some("for example include = \"conf.d/*.toml\"".to_owned());
                let message = format!("{} is not a file name", node.shown());
                self.report.error(node.mark, "include", message, help);
                continue;
            };
            let folder_star = Path::new(pattern).parent().is_some_and(|p| p.to_string_lossy().contains('*'));
            if folder_star || pattern.matches('*').count() > 1 {
                let help = Some("for example \"conf.d/*.toml\"".to_owned());
                let message = "one `*` may stand in the last part of the path, none in its folders";
                self.report.error(node.mark, "include", message, help);
                continue;
            }
            let full = path.parent().unwrap_or(Path::new("")).join(pattern);
            match self.source.list(&full) {
                Ok(found) if found.is_empty() && !pattern.contains('*') => {
                    let message = format!("there is no file {}", full.display());
                    let help = Some("the path is relative to the file that includes it".to_owned());
                    self.report.error(node.mark, "include", message, help);
                }
                Ok(found) => {
                    for file in found {
                        self.file(&file, Some(node.mark), depth + 1, root);
                    }
                }
                Err(error) => {
                    let message = format!("cannot list {}: {error}", full.display());
                    self.report.error(node.mark, "include", message, None);
                }
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
        let (mut secret, mut substituted) = (false, false);
        let value = match value.get_ref() {
            DeValue::String(text) => {
                substituted = text.contains("${");
                Value::Text(self.substitute(text, mark, path, &mut secret))
            }
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    self.report.unusable(mark, path, "the number is too large", None);
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
        Node { mark, value, secret, substituted }
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
                let help = Some("write `$${` for a plain `${`".to_owned());
                self.report.unusable(mark, path, "`${` without `}`", help);
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
                    self.report.hide(value, &format!("${{{name}}}"));
                    out.push_str(value);
                }
                (None, Some(default)) => out.push_str(default),
                (None, None) => {
                    let help = format!("set it, or give a default: ${{{name}:-value}}");
                    self.report.unusable(mark, path, format!("the environment has no {name}"), Some(help));
                }
            }
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        out
    }

    /// Joins a further file's table to what was read before it.
    fn join(&mut self, into: &mut Table, from: Table, path: &str) {
        if into.entries.is_empty() {
            into.entries = from.entries;
            return;
        }
        // By name, so that a file of many thousand keys takes no quadratic time.
        let places: BTreeMap<String, usize> =
            into.entries.iter().enumerate().map(|(at, entry)| (entry.name.clone(), at)).collect();
        for entry in from.entries {
            let below = if path.is_empty() { entry.name.clone() } else { format!("{path}.{}", entry.name) };
            let Some(have) = places.get(&entry.name).and_then(|at| into.entries.get_mut(*at)) else {
                into.entries.push(entry);
                continue;
            };
            match (&mut have.node.value, entry.node.value) {
                (Value::Table(old), Value::Table(new)) => self.join(old, new, &below),
                _ => {
                    let (line, _, _) = self.report.files.locate(have.mark);
                    let file = self.report.files.path(have.mark).display();
                    let message = format!("is already set in {file}:{line}");
                    let help = Some("keep one of the two".to_owned());
                    self.report.error(entry.mark, &below, message, help);
                }
            }
        }
    }
}

/// A path without `.` and `..`, to tell whether two spellings are one file. Two names of one file by a symbolic link
/// are not seen here; the limits on depth and number hold all the same.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

fn mark<T>(file: u32, spanned: &Spanned<T>) -> Mark {
    Mark { file, offset: u32::try_from(spanned.span().start).unwrap_or(0) }
}
