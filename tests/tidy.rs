//! Goal: the layout keeps its promises: arrows between crates point one way, every module says its job, every path that
//! a document names exists, files stay short, dependencies are accounted for.
//! Method: read `cargo metadata`, the sources and the documents as they are in the checkout.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may know whom. A new arrow is a decision: write it down in docs/decisions first.
const GRAPH: &[(&str, &[&str])] = &[
    ("madang-wire", &[]),
    ("madang-settings", &[]),
    ("madang-host", &["madang-settings", "madang-wire"]),
    ("madang-http", &["madang-host", "madang-settings", "madang-wire"]),
    ("madang-store", &["madang-host", "madang-settings"]),
    ("madang-bus", &["madang-host", "madang-settings"]),
    ("madang-identity", &["madang-host", "madang-http", "madang-settings", "madang-store", "madang-wire"]),
    ("madang-balance", &["madang-host", "madang-http", "madang-settings", "madang-wire"]),
    ("madang-web", &["madang-host", "madang-http", "madang-settings", "madang-wire"]),
    ("madang-importers", &[]),
    ("madang-drills", &["madang-host"]),
    (
        "madang-chat",
        &["madang-bus", "madang-host", "madang-http", "madang-settings", "madang-store", "madang-wire"],
    ),
    ("madang-supervise", &["madang-host", "madang-http", "madang-settings", "madang-wire"]),
    ("madang-chat-client", &["madang-host", "madang-wire"]),
    ("madang-console", &["madang-host", "madang-http", "madang-settings"]),
    (
        "madang",
        &[
            "madang-balance",
            "madang-bus",
            "madang-chat",
            "madang-chat-client",
            "madang-console",
            "madang-host",
            "madang-http",
            "madang-identity",
            "madang-importers",
            "madang-settings",
            "madang-store",
            "madang-supervise",
            "madang-web",
            "madang-wire",
        ],
    ),
];
/// Longer files have a second reason to exist: find it.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for top in ["engine", "roles", "importers", "clients", "drills", "madang", "tests", "benches"] {
        walk(&root().join(top), &mut found);
    }
    assert!(found.len() > 40, "only {} sources found", found.len());
    found
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir()
            && path
                .file_name()
                .is_some_and(|name| !["target", "node_modules", "given"].iter().any(|data| name == *data))
        {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn crates_know_only_whom_they_may() {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut graph = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let known: BTreeSet<String> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| name.starts_with("madang"))
            .map(str::to_owned)
            .collect();
        graph.insert(package["name"].as_str().unwrap().to_owned(), known);
    }
    let allowed: BTreeMap<String, BTreeSet<String>> = GRAPH
        .iter()
        .map(|(name, known)| ((*name).to_owned(), known.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    for (name, known) in &graph {
        let may = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in the graph of tests/tidy.rs"));
        let too_many: Vec<_> = known.difference(may).collect();
        assert!(too_many.is_empty(), "{name} may not know {too_many:?}");
    }
}

#[test]
fn every_module_says_its_job() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|path| !std::fs::read_to_string(path).unwrap().trim_start().starts_with("//!"))
        .map(|path| shown(path))
        .collect();
    assert!(silent.is_empty(), "no header: {silent:?}");
}

#[test]
fn files_have_one_reason_to_exist() {
    let long: Vec<String> = sources()
        .iter()
        .map(|path| (shown(path), std::fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn nothing_is_called_by_a_name_that_says_nothing() {
    let vague = ["utils", "util", "helpers", "helper", "common", "misc", "manager", "lib2"];
    for path in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(!vague.contains(&stem), "{}", shown(&path));
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut documents = vec![];
    for name in ["README.md", "README.ko.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        documents.push(root().join(name));
    }
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    let tops = [
        "engine/",
        "roles/",
        "importers/",
        "clients/",
        "drills/",
        "madang/src",
        "docs/",
        "tests/",
        "benches/",
        "examples/",
        "fuzz/",
        ".ci/",
    ];
    let mut missing = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document)
            .unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split([' ', ':']).next().unwrap();
            let is_path =
                tops.iter().any(|top| path.starts_with(top)) && !path.contains(['*', '{', '<', '…']);
            if is_path && std::fs::symlink_metadata(root().join(path)).is_err() {
                missing.push(format!("{}: `{path}`", shown(&document)));
            }
        }
        for picture in
            text.split(" src=\"").chain(text.split(" srcset=\"")).filter(|part| part.starts_with("docs/"))
        {
            let target = picture.split('"').next().unwrap();
            if std::fs::symlink_metadata(document.parent().unwrap().join(target)).is_err() {
                missing.push(format!("{}: \"{target}\"", shown(&document)));
            }
        }
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            let near = document.parent().unwrap().join(target);
            if !target.is_empty() && !target.contains("://") && std::fs::symlink_metadata(near).is_err() {
                missing.push(format!("{}: ({target})", shown(&document)));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_dependency_has_its_line() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim());
    let decisions = std::fs::read_to_string(root().join("docs/decisions/0002-dependencies.md")).unwrap();
    let unaccounted: Vec<&str> = names
        .filter(|name| !name.starts_with("madang-") && !decisions.contains(&format!("`{name}`")))
        .collect();
    assert!(unaccounted.is_empty(), "no line in docs/decisions/0002-dependencies.md: {unaccounted:?}");
}

// Goal: the fuzz target of the settings, which no stable toolchain builds, keeps up with the sections there are.
// Method: it takes in madang/src/config as it stands, and so its package must know every crate of ours that madang knows.
#[test]
fn the_fuzz_targets_know_every_crate_of_the_program() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (program, fuzz) = (read("madang/Cargo.toml"), read("fuzz/Cargo.toml"));
    let ours =
        program.split("[dependencies]").nth(1).unwrap().lines().take_while(|line| !line.starts_with('['));
    let names: Vec<&str> = ours.filter_map(|line| line.strip_suffix(".workspace = true")).collect();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("madang-") && !fuzz.contains(&format!("\n{name} = ")))
        .collect();
    assert!(names.len() > 5 && missing.is_empty(), "fuzz/Cargo.toml lacks {missing:?}");
}

#[test]
fn unsafe_code_is_nowhere_but_where_it_is_argued() {
    let unsafe_word = ["uns", "afe"].concat();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let uses = text.lines().any(|line| {
            line.contains(&format!("{unsafe_word} {{")) || line.contains(&format!("{unsafe_word} impl"))
        });
        let argued =
            text.contains(&format!("allow({unsafe_word}_code)")) && text.contains("**Why this may be");
        assert!(
            !uses || argued || shown(&path).starts_with("tests/"),
            "{} uses it without its argument",
            shown(&path)
        );
    }
}
