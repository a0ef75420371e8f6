//! What differs between two settings.
//!
//! **Job.** Compare what was written, key by key, and say what a change would do. **Called by** `plan`, `reload`.
//!
//! Invariants
//! 1. Values from the environment are compared but never shown.
//!
//! Not here: carrying it out (`house`).

use std::collections::BTreeMap;

use madang_settings::tree::{Node, Table, Value};
use serde::Serialize;

use super::Settings;

/// When a change is felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// From the next request on.
    Live,
    /// For new connections.
    NewConnections,
    /// Only with `madang upgrade`.
    NeedsUpgrade,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Key path.
    pub key: String,
    /// As written before; `None`: it was not there.
    pub old: Option<String>,
    /// As written now; `None`: it is gone.
    pub new: Option<String>,
    /// When it is felt.
    pub effect: Effect,
}

/// All keys that differ, in order.
pub fn diff(old: &Settings, new: &Settings) -> Vec<Change> {
    diff_trees(&old.tree, &new.tree)
}

fn diff_trees(old: &Table, new: &Table) -> Vec<Change> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten(old, "", &mut before);
    flatten(new, "", &mut after);
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter_map(|key| {
            let (old, new) = (before.get(key), after.get(key));
            let same = old.map(|node| plain(node)) == new.map(|node| plain(node));
            let shown = |node: &&Node| match (&node.value, key.as_str()) {
                // Whether its password came from the environment or was written here.
                (Value::Text(text), "store.database") if !node.secret => {
                    madang_store::config::without_password(text)
                }
                (Value::Text(text), "bus.nats") if !node.secret => madang_bus::config::without_secret(text),
                (Value::Text(_), key) if key.starts_with("issuer.") && key.ends_with(".secret") => {
                    "…".to_owned()
                }
                _ => node.shown(),
            };
            (!same).then(|| Change {
                key: key.clone(),
                old: old.map(shown),
                new: new.map(shown),
                effect: effect(key),
            })
        })
        .collect()
}

fn flatten<'a>(table: &'a Table, path: &str, into: &mut BTreeMap<String, &'a Node>) {
    for entry in &table.entries {
        let key = if path.is_empty() { entry.name.clone() } else { format!("{path}.{}", entry.name) };
        flatten_node(&entry.node, key, into);
    }
}

fn flatten_node<'a>(node: &'a Node, key: String, into: &mut BTreeMap<String, &'a Node>) {
    match &node.value {
        Value::Table(table) => flatten(table, &key, into),
        Value::List(list) if list.iter().any(|node| matches!(node.value, Value::Table(_))) => {
            for (index, node) in list.iter().enumerate() {
                flatten_node(node, format!("{key}[{index}]"), into);
            }
        }
        _ => {
            into.insert(key, node);
        }
    }
}

/// A value without its place.
fn plain(node: &Node) -> String {
    match &node.value {
        Value::List(list) => list.iter().map(plain).collect::<Vec<_>>().join("\u{0}"),
        Value::Text(text) => format!("t{text}"),
        other => format!("{other:?}"),
    }
}

fn effect(key: &str) -> Effect {
    match key {
        "server.workers" | "server.user" | "server.data" | "server.admin" => Effect::NeedsUpgrade,
        "identity.hash_at_once" => Effect::NeedsUpgrade,
        key if key.starts_with("store.") || key.starts_with("bus.") => Effect::NeedsUpgrade,
        key if key.contains(".listen") || key.contains(".tls") || key.contains(".client_auth") => {
            Effect::NewConnections
        }
        "server.connections_max" | "server.connections_per_address_max" => Effect::NewConnections,
        key if key.starts_with("limits.h2_") => Effect::NewConnections,
        _ => Effect::Live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_settings::report::Report;
    use madang_settings::source::{Source, load};

    struct Text(&'static str);
    impl Source for Text {
        fn read(&self, _: &std::path::Path) -> std::io::Result<String> {
            Ok(self.0.to_owned())
        }
        fn list(&self, _: &std::path::Path) -> std::io::Result<Vec<std::path::PathBuf>> {
            Ok(Vec::new())
        }
    }

    fn tree(text: &'static str, secret: &str) -> Table {
        let environment = [("SECRET".to_owned(), secret.to_owned())].into();
        load("x".as_ref(), &environment, &Text(text), &mut Report::default())
    }

    #[test]
    fn changes_name_their_keys_and_hide_secrets() {
        let old = tree(
            "[server]\nworkers = 1\n[site.a]\nheaders = { x = \"${SECRET}\" }\nroute = [{ path = \"/a\" }, { path = \"/b\" }]",
            "one",
        );
        let new = tree(
            "[server]\nworkers = 2\n\n[site.a]\nheaders = { x = \"${SECRET}\" }\nroute = [{ path = \"/a\" }, { path = \"/c\" }]\n[log]\nslow = \"1s\"",
            "two",
        );
        let changes = diff_trees(&old, &new);
        let told: Vec<_> = changes.iter().map(|change| (change.key.as_str(), change.effect)).collect();
        assert_eq!(
            told,
            [
                ("log.slow", Effect::Live),
                ("server.workers", Effect::NeedsUpgrade),
                ("site.a.headers.x", Effect::Live),
                ("site.a.route[1].path", Effect::Live),
            ]
        );
        assert!(!format!("{changes:?}").contains("two"));
        assert_eq!(diff_trees(&new, &new), []);
    }
}
