//! A draft as the text of madang.toml.
//!
//! **Job.** Write sections, comments and losses so that people like to read them and `madang check` reads the same values.
//! **Called by** `madang init`. Pure.
//!
//! Invariants
//! 1. Every text is escaped: no value ends its line or reads the environment (`$${`).
//! 2. A comment is wrapped, never cut; control characters in it are spaces.
//!
//! Not here: what is written (the importers).

use std::fmt::Write as _;

use crate::draft::{Draft, Entry, Lost, Route, Section, Value};

/// Columns of a line, where it can be helped.
const WIDTH: usize = 110;

/// The whole file.
pub fn toml(draft: &Draft) -> String {
    let mut out = String::new();
    comment(
        &mut out,
        "",
        &format!("Made by `madang init` from {}. Every key: `madang schema --docs`.", draft.source),
    );
    for line in &draft.head {
        comment(&mut out, "", line);
    }
    for lost in &draft.lost {
        loss(&mut out, "", lost);
    }
    if !draft.not_needed.is_empty() {
        let names = draft.not_needed.join(", ");
        comment(&mut out, "", &format!("Not needed here: {names}."));
    }
    for (name, entries) in [("server", &draft.server), ("limits", &draft.limits), ("log", &draft.log)] {
        if !entries.is_empty() {
            let _ = write!(out, "\n[{name}]\n");
            write_entries(&mut out, entries, "");
        }
    }
    for section in &draft.sections {
        write_section(&mut out, section);
    }
    out
}

fn write_section(out: &mut String, section: &Section) {
    out.push('\n');
    for line in &section.comments {
        comment(out, "", line);
    }
    for lost in &section.lost {
        loss(out, "", lost);
    }
    let title = format!("{}.{}", section.kind.word(), key(&section.name));
    let _ = writeln!(out, "[{title}]");
    let routes: Vec<String> = section.routes.iter().map(one_line).collect();
    let short = routes.iter().all(|line| line.chars().count() + 3 <= WIDTH);
    let has_short_routes = !routes.is_empty() && short;
    write_entries(out, &section.entries, if has_short_routes { "route" } else { "" });
    if routes.is_empty() {
        return;
    }
    if !short {
        for route in &section.routes {
            out.push('\n');
            above(out, "", route);
            let _ = writeln!(out, "[[{title}.route]]");
            let width = route.entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            for (name, value) in &route.entries {
                let _ = writeln!(out, "{name:width$} = {}", shown(value));
            }
        }
        return;
    }
    let width = section.entries.iter().map(|entry| entry.key.len()).max().unwrap_or(0).max(5);
    if let ([route], [line]) = (section.routes.as_slice(), routes.as_slice())
        && route.comments.is_empty()
        && route.lost.is_empty()
        && line.chars().count() + width + 6 <= WIDTH
    {
        let _ = writeln!(out, "{:width$} = [{line}]", "route");
        return;
    }
    let _ = writeln!(out, "{:width$} = [", "route");
    for (route, line) in section.routes.iter().zip(&routes) {
        above(out, "  ", route);
        let _ = writeln!(out, "  {line},");
    }
    out.push_str("]\n");
}

fn above(out: &mut String, indent: &str, route: &Route) {
    for line in &route.comments {
        comment(out, indent, line);
    }
    for lost in &route.lost {
        loss(out, indent, lost);
    }
}

fn write_entries(out: &mut String, entries: &[Entry], also: &str) {
    let width = entries.iter().map(|entry| entry.key.len()).max().unwrap_or(0).max(also.len());
    for entry in entries {
        let line = format!("{:width$} = {}", entry.key, shown(&entry.value));
        if entry.why.is_empty() {
            let _ = writeln!(out, "{line}");
        } else if line.chars().count() + entry.why.chars().count() + 4 <= WIDTH {
            let _ = writeln!(out, "{line}   # {}", plain(&entry.why));
        } else {
            comment(out, "", &entry.why);
            let _ = writeln!(out, "{line}");
        }
    }
}

fn one_line(route: &Route) -> String {
    let pairs: Vec<String> =
        route.entries.iter().map(|(name, value)| format!("{name} = {}", shown(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn loss(out: &mut String, indent: &str, lost: &Lost) {
    comment(out, indent, &format!("not carried over: {lost}"));
}

/// Words on lines of their own, each behind a `#`.
fn comment(out: &mut String, indent: &str, text: &str) {
    let text = plain(text);
    let mut line = format!("{indent}#");
    let mut begun = false;
    for word in text.split_whitespace() {
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = format!("{indent}#  ");
        }
        line.push(' ');
        line.push_str(word);
        begun = true;
    }
    let _ = writeln!(out, "{line}");
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A value as TOML.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Table(pairs) if pairs.is_empty() => "{}".to_owned(),
        Value::Table(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{} = {}", key(name), shown(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { quoted(name) }
}

/// A basic string (TOML 1.0), in which nothing is read from the environment.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: whatever text is written, TOML reads the same text back.
    // Method: random text as a value and as a name; `$${` is what Madang reads as `${`.
    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let line = shown(&Value::Table(vec![(text.clone(), Value::Text(text.clone()))]));
            let whole = format!("it = {line}");
            let read = toml::de::DeTable::parse(&whole).unwrap();
            let table = read.get_ref().get("it").unwrap().get_ref().as_table().unwrap();
            let (name, value) = table.iter().next().unwrap();
            let escaped = text.replace("${", "$${");
            prop_assert_eq!(value.get_ref().as_str().unwrap(), &escaped);
            prop_assert!(!line.contains('\n') && *name.get_ref() == escaped);
        }
    }

    #[test]
    fn long_comments_are_wrapped_and_hold_no_control_characters() {
        let mut out = String::new();
        comment(&mut out, "  ", &format!("a\u{1b}[31m\n{}", "word ".repeat(60)));
        assert!(
            out.lines().count() > 2
                && out.lines().all(|line| line.starts_with("  # ") && line.len() <= WIDTH)
        );
        assert!(!out.contains('\u{1b}'));
    }
}
