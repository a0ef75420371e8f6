//! What is written for people and editors about the settings says what the program does.

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
