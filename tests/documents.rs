//! What is written for people and editors about the settings says what the program does.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::house::program;

fn said(arguments: &[&str]) -> String {
    let output = program().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

// Goal: docs/configuration.md is what the program itself says of its settings.
#[test]
fn the_page_of_settings_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page == said(&["schema", "--docs"]), "run: madang schema --docs > docs/configuration.md");
}

// Goal: the chat's documents for programs are what the program itself says; each says which it is.
#[test]
fn the_documents_of_the_chats_protocol_are_current() {
    for (option, file, first) in
        [("--chat", "chat-protocol.json", "asyncapi"), ("--chat-http", "chat-http.json", "openapi")]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        let made = said(&["schema", option]);
        assert!(kept == made, "run: madang schema {option} > docs/{file}");
        let document: Value = serde_json::from_str(&made).unwrap();
        assert!(document[first].as_str().is_some_and(|version| version.starts_with("3.")), "{file}");
        told(&document["components"]["schemas"], "", &mut Vec::new());
    }

    // Every field of every message has its meaning, and every number its range.
    fn told(value: &Value, at: &str, silent: &mut Vec<String>) {
        if let Some(fields) = value["properties"].as_object() {
            for (name, field) in fields {
                let is_said = field["description"].is_string() || field.get("const").is_some();
                let whole = field["type"] != "integer" || field["maximum"].is_number();
                if !is_said || !whole {
                    silent.push(format!("{at}.{name}: {field}"));
                }
            }
        }
        match value {
            // What must not be says nothing of what a field is.
            Value::Object(map) => map
                .iter()
                .filter(|(name, _)| *name != "not")
                .for_each(|(name, below)| told(below, &format!("{at}/{name}"), silent)),
            Value::Array(list) => list.iter().for_each(|below| told(below, at, silent)),
            _ => {}
        }
        if at.is_empty() {
            assert!(silent.is_empty(), "{silent:#?}");
        }
    }
}

// Goal: editors get a schema that knows every key, refuses unknown ones, and explains each.
// Method: walk the whole schema; then look up keys that people write.
#[test]
fn the_schema_knows_and_explains_every_key() {
    let schema: Value = serde_json::from_str(&said(&["schema"])).unwrap();
    assert!(
        schema["$schema"].as_str().is_some_and(|dialect| dialect.contains("json-schema.org")),
        "{schema}"
    );
    let mut keys = 0;
    walk(&schema, &mut keys);
    assert!(keys > 150, "only {keys} keys");
    let text = schema.to_string();
    for key in ["head_timeout", "https_redirect", "proxy", "servers", "client_auth", "listen"] {
        assert!(text.contains(&format!("\"{key}\":")), "{key}");
    }

    fn walk(value: &Value, keys: &mut usize) {
        if let Some(properties) = value["properties"].as_object() {
            assert_eq!(value["additionalProperties"], false, "unknown keys are refused: {value}");
            for (name, property) in properties {
                *keys += 1;
                let told = property["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(told, "{name} is explained: {property}");
            }
        }
        match value {
            Value::Object(map) => map.values().for_each(|value| walk(value, keys)),
            Value::Array(list) => list.iter().for_each(|value| walk(value, keys)),
            _ => {}
        }
    }
}

// Goal: docs/errors.md has every name that the sources give to an error, and no other.
// Method: names as they are written where errors are made, in the files that make them.
#[test]
fn the_page_of_errors_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.split("#[cfg(test)]\nmod").next().unwrap_or_default().to_owned()
    };
    let mut made = BTreeSet::new();
    for path in rust_files(&root.join("roles/web/src")) {
        let text = read(path.strip_prefix(&root).unwrap().to_str().unwrap());
        for call in text.split("Failure::new(").skip(1) {
            let mut arguments = call.splitn(3, ',').map(str::trim);
            let (_, blame, rest) = (arguments.next(), arguments.next(), arguments.next().unwrap_or_default());
            // Calls that hand a name on have it from another place that is read here.
            if blame.is_some_and(|blame| blame.contains("Blame::")) && rest.starts_with('"') {
                made.extend(rest.split('"').nth(1).map(str::to_owned));
            }
        }
    }
    let balance = rust_files(&root.join("roles/balance/src")).into_iter();
    let upstream = rust_files(&root.join("engine/http/src/upstream")).into_iter();
    for path in balance.chain(upstream) {
        let text = read(path.strip_prefix(&root).unwrap().to_str().unwrap());
        let quoted = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| line.split('"').skip(1).step_by(2));
        let is_name = |word: &&str| {
            ["upstream-", "pool-", "server-", "no-descriptors", "client-body", "body-too-large"]
                .iter()
                .any(|begin| word.starts_with(begin))
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        made.extend(quoted.filter(is_name).map(str::to_owned));
    }
    for path in ["engine/wire/src/http1/answer_head.rs", "engine/wire/src/http1/chunked.rs"] {
        let text = read(path);
        let names = text.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next());
        made.extend(names.filter(|name| name.contains('-') && !name.contains(' ')).map(str::to_owned));
    }
    let page = read("docs/errors.md");
    let first =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next().map(str::to_owned));
    let told: BTreeSet<String> = first
        .flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .collect();
    let missing: Vec<_> = made.difference(&told).collect();
    let gone: Vec<_> = told.difference(&made).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not on the page: {missing:?}; not in the sources: {gone:?}"
    );
    assert!(made.len() > 50, "only {} names found", made.len());
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.to_string_lossy().contains("test")
        {
            files.push(path);
        }
    }
    files
}
