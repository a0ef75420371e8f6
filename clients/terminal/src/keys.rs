//! The keys of a guest, kept from one time to the next.
//!
//! **Job.** A chat gives a guest a key; with it the guest is the same one the next time, and its name is free for it. One file of
//! JSON: chat and name to key. **Called by** `online`. **Calls** the file system.
//!
//! Invariants
//! 1. Only its owner may read the file, and it is exchanged whole.
//! 2. A file that cannot be read or written is no reason not to chat: then the guest is a new one.
//!
//! Not here: tokens of users (the command line reads them).

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Keys kept; older ones have lost their meaning long before.
const KEYS_MAX: usize = 200;
/// Bytes read of the file.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The file.
#[derive(Debug, Clone)]
pub(crate) struct Keys(Option<PathBuf>);

impl Keys {
    /// In this folder; `None`: nothing is kept.
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        Self(folder.map(|folder| folder.join("chat-keys.json")))
    }

    /// The key of this name in this chat.
    pub(crate) fn get(&self, chat: &str, name: &str) -> Option<String> {
        self.read().remove(&format!("{chat} {name}"))
    }

    /// Keeps it.
    pub(crate) fn put(&self, chat: &str, name: &str, key: &str) {
        let Some(path) = &self.0 else { return };
        let mut keys = self.read();
        while keys.len() >= KEYS_MAX {
            keys.pop_first();
        }
        keys.insert(format!("{chat} {name}"), key.to_owned());
        // Invariant 2.
        let _ = write(path, &keys);
    }

    fn read(&self) -> BTreeMap<String, String> {
        let mut text = String::new();
        let read = self
            .0
            .as_ref()
            .and_then(|path| File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok());
        read.and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
    }
}

fn write(path: &Path, keys: &BTreeMap<String, String>) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(serde_json::to_string(keys)?.as_bytes())?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_found_again_and_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("state/madang");
        let keys = Keys::new(Some(&inside));
        assert_eq!(keys.get("http://a/", "mina"), None);
        keys.put("http://a/", "mina", "k1");
        keys.put("http://a/", "jun", "k2");
        keys.put("http://a/", "mina", "k3");
        let keys = Keys::new(Some(&inside));
        assert_eq!(keys.get("http://a/", "mina").as_deref(), Some("k3"));
        assert_eq!(keys.get("http://b/", "mina"), None);
        let file = inside.join("chat-keys.json");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, "{broken").unwrap();
        assert_eq!(keys.get("http://a/", "jun"), None);
        for number in 0..300 {
            keys.put("http://a/", &number.to_string(), "k");
        }
        assert_eq!(keys.get("http://a/", "299").as_deref(), Some("k"));
        assert!(std::fs::metadata(&file).unwrap().len() < 20_000);
    }
}
