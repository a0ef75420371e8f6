//! JavaScript that is no more than a value: `module.exports = { … }` as JSON.
//!
//! **Job.** Read object and array literals, strings, numbers, names of keys without quotes, comments, commas at the end.
//! **Called by** `pm2`. Pure: nothing is run.
//!
//! Invariants
//! 1. Anything else (calls, variables, templates with `${`) is `None`, never a guess. Nesting is at most [`DEPTH_MAX`].
//!
//! Not here: running a file (`Folder::evaluate`).

use serde_json::{Map, Number, Value};

/// How deep values nest.
const DEPTH_MAX: usize = 32;

/// What `module.exports =` or `export default` gives.
pub(super) fn exported(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    reader.space();
    for strict in ["'use strict'", "\"use strict\""] {
        if reader.take(strict) {
            reader.take(";");
        }
    }
    reader.space();
    if reader.take("module.exports") || reader.take("exports.default") {
        reader.space();
        if !reader.take("=") {
            return None;
        }
    } else if !reader.take("export default") && !reader.rest.starts_with('{') {
        return None;
    }
    let value = reader.value(0)?;
    reader.space();
    reader.take(";");
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Whitespace and comments.
    fn space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("//") {
                self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
            } else if self.rest.starts_with("/*") {
                self.rest = self.rest.split_once("*/").map_or("", |(_, behind)| behind);
            } else {
                return;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.rest.chars().next()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' | '\'' | '`' => self.string().map(Value::String),
            c if c.is_ascii_digit() || c == '-' => self.number(),
            _ => {
                let word = self.word()?;
                match word.as_str() {
                    "true" => Some(Value::Bool(true)),
                    "false" => Some(Value::Bool(false)),
                    "null" | "undefined" => Some(Value::Null),
                    _ => None,
                }
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.take("{");
        let mut map = Map::new();
        loop {
            self.space();
            if self.take("}") {
                return Some(Value::Object(map));
            }
            let key = if self.rest.starts_with(['"', '\'']) { self.string()? } else { self.word()? };
            self.space();
            if !self.take(":") {
                return None;
            }
            map.insert(key, self.value(depth + 1)?);
            self.space();
            if !self.take(",") && !self.rest.starts_with('}') {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.take("[");
        let mut list = Vec::new();
        loop {
            self.space();
            if self.take("]") {
                return Some(Value::Array(list));
            }
            list.push(self.value(depth + 1)?);
            self.space();
            if !self.take(",") && !self.rest.starts_with(']') {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let mut chars = self.rest.chars();
        let quote = chars.next()?;
        let mut out = String::new();
        loop {
            match chars.next()? {
                '\\' => match chars.next()? {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    '\n' => {}
                    c @ ('"' | '\'' | '`' | '\\' | '/' | '$') => out.push(c),
                    _ => return None,
                },
                '$' if quote == '`' && chars.as_str().starts_with('{') => return None,
                '\n' if quote != '`' => return None,
                c if c == quote => break,
                c => out.push(c),
            }
        }
        self.rest = chars.as_str();
        Some(out)
    }

    fn number(&mut self) -> Option<Value> {
        let end =
            self.rest.find(|c: char| !c.is_ascii_digit() && !"-+.eE_".contains(c)).unwrap_or(self.rest.len());
        let text = self.rest[..end].replace('_', "");
        self.rest = &self.rest[end..];
        let number =
            text.parse::<i64>().map(Number::from).ok().or_else(|| Number::from_f64(text.parse().ok()?));
        number.map(Value::Number)
    }

    fn word(&mut self) -> Option<String> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$')
            .unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        (!word.is_empty()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_programs_are_not() {
        check(
            "module.exports = { apps: [{ name: 'a', n: 2, 'b-c': -1.5, ok: true, }], /* x */ } // end",
            Some(r#"{"apps":[{"name":"a","n":2,"b-c":-1.5,"ok":true}]}"#),
        );
        check("export default { a: `x\ny` };", Some(r#"{"a":"x\ny"}"#));
        check("const x = 1; module.exports = { a: x }", None);
        check("module.exports = { a: require('os').cpus() }", None);
        check("module.exports = { a: `${1}` }", None);
        check("module.exports = { a: 'open", None);
        check(&format!("module.exports = {}", "[".repeat(100_000)), None);

        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            let want: Option<Value> = want.map(|want| serde_json::from_str(want).unwrap());
            assert_eq!(exported(text), want);
        }
    }
}
