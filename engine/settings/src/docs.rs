//! The settings' reference page, from the same table that reads them.
//!
//! **Job.** Make docs/configuration.md. **Called by** `madang schema --docs`; a test keeps the page current.
//! Not here: tutorials (README, examples).

use std::fmt::Write as _;

use crate::schema::{Kind, Section};

/// The page in Markdown: each section once, in the order they are first named.
pub fn markdown(root: &Section, intro: &str) -> String {
    let mut out = format!("{}\n", intro.trim_end());
    let mut queue: Vec<&Section> = vec![root];
    let mut done: Vec<&str> = Vec::new();
    while !queue.is_empty() {
        let section = queue.remove(0);
        if done.contains(&section.title) {
            continue;
        }
        done.push(section.title);
        let _ = write!(
            out,
            "\n## {}\n\n{}\n\n| key | values | default | meaning |\n|---|---|---|---|\n",
            section.title, section.doc
        );
        let mut below = Vec::new();
        for key in section.keys {
            collect(&key.kind, &mut below);
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} |",
                key.name,
                cell(&values(&key.kind)),
                cell(&default),
                cell(key.doc)
            );
        }
        // Depth first: a section's own tables follow it.
        queue.splice(0..0, below);
    }
    out
}

fn values(kind: &Kind) -> String {
    match kind {
        Kind::Table(section) => format!("a table, see {}", section.title),
        Kind::Named(section) => format!("tables by name, see {}", section.title),
        Kind::List(inner) => format!("{}, or a list of such", values(inner)),
        Kind::Map(inner) => format!("a table of names to {}", values(inner)),
        Kind::Either(kinds) => kinds.iter().map(values).collect::<Vec<_>>().join(", or "),
        other => other.allowed(),
    }
}

fn collect<'a>(kind: &'a Kind, into: &mut Vec<&'a Section>) {
    match kind {
        Kind::Table(section) | Kind::Named(section) => into.push(section),
        Kind::List(inner) | Kind::Map(inner) => collect(inner, into),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| collect(kind, into)),
        _ => {}
    }
}
