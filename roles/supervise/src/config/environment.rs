//! The environment of an app: inline, from a file, from a file of secrets.
//!
//! **Job.** Read and check names and values. **Called by** `config::program`. **Calls** `settings`, `host::file`.
//!
//! Invariants
//! 1. Values are never shown: not by `Debug`, not in a problem. A file may hold a password in any line.
//! 2. A name that Madang sets itself is refused: the app would not get what was written.
//!
//! Not here: what Madang adds (`keeper`).

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use madang_host::file;
use madang_settings::reader::Reader;

/// The largest file of variables, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What Madang says to every instance.
const OURS: [&str; 8] = [
    "PORT",
    "SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "MADANG_APP",
    "MADANG_INSTANCE",
    "MADANG_RELEASE",
];

/// Names and values.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Invariant 1.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Of these; later ones win.
    pub fn of<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let mut all = BTreeMap::new();
        for key in ["secrets_file", "env_file"] {
            let Some(path) = r.path_value(key) else { continue };
            if key == "secrets_file" {
                check_secrecy(r, key, &path);
            }
            match file::read_text(&path, FILE_BYTES_MAX) {
                Ok(text) => all.extend(read_lines(r, key, &path, &text)),
                Err(error) => r.error(key, format!("cannot read {}: {error}", path.display()), None),
            }
        }
        for (name, value) in r.text_map("env") {
            if let Some(fault) = fault(&name, &value) {
                r.error("env", fault, None);
            }
            all.insert(name, value);
        }
        Self(all)
    }
}

/// What is wrong with a variable; never its value.
fn fault(name: &str, value: &str) -> Option<String> {
    if name.is_empty() || name.bytes().any(|b| b == b'=' || b <= b' ' || b == 0x7f) {
        Some(format!("{name:?} cannot be the name of a variable"))
    } else if OURS.contains(&name) {
        Some(format!("{name} is what Madang tells the app: it would be overwritten"))
    } else if value.contains('\0') {
        Some(format!("the value of {name} holds a NUL character"))
    } else {
        None
    }
}

fn check_secrecy(r: &mut Reader<'_>, key: &str, path: &Path) {
    // One that cannot be read is told by the reading.
    let Ok(meta) = std::fs::metadata(path) else { return };
    if meta.permissions().mode() & 0o077 != 0 {
        let help = Some(format!("chmod 600 {}", path.display()));
        r.error(key, format!("{} can be read by others than its owner", path.display()), help);
    }
}

/// Lines `NAME=value`, `export NAME=value`; values may stand in quotes, which are taken off. Nothing is substituted.
fn read_lines(r: &mut Reader<'_>, key: &str, path: &Path, text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let mut complain =
            |what: &str| r.error(key, format!("{} line {}: {what}", path.display(), index + 1), None);
        let Some((name, value)) = line.split_once('=') else {
            // Not shown: it may be a piece of a secret.
            complain("it is not NAME=value");
            continue;
        };
        let (name, value) = (name.trim(), unquoted(value.trim()));
        match fault(name, value) {
            Some(fault) => complain(&fault),
            None => all.push((name.to_owned(), value.to_owned())),
        }
    }
    all
}

fn unquoted(value: &str) -> &str {
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}
