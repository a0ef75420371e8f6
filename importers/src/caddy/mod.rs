//! Caddyfiles: sites, their handlers, reverse proxies.
//!
//! **Job.** Take a file apart into global options, snippets and sites, and hand each site on. **Called by** `choose`.
//! **Calls** its children.
//!
//! Not here: one site's addresses (`address`), its directives in Caddy's order (`site`), pools (`proxy`).

mod address;
mod lex;
mod matcher;
mod proxy;
mod rules;
mod site;

use crate::draft::{Draft, Kind, Section};
use crate::folder::Folder;
use crate::nginx::{name_alone, settle};

use self::lex::{Importer, Line};

/// Global options whose work Madang does by itself or otherwise.
const NOT_NEEDED: [&str; 8] = [
    "admin",
    "persist_config",
    "grace_period",
    "shutdown_delay",
    "debug",
    "storage",
    "servers",
    "default_bind",
];

/// Options for the whole file.
pub(crate) struct Options {
    http_port: u16,
    https_port: u16,
    no_tls: bool,
    local_certs: bool,
}

/// Whether a text looks like a Caddyfile.
pub(crate) fn looks_like(text: &str) -> bool {
    let words = ["reverse_proxy", "file_server", "handle_path", "encode", "handle", "php_fastcgi", "redir"];
    let begins = |line: &str| {
        words.iter().any(|word| {
            line.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        })
    };
    !text.contains(';') && text.lines().map(str::trim_start).any(begins)
}

/// Reads a file.
///
/// # Errors
/// A sentence with file and line.
pub(crate) fn import(folder: &dyn Folder, file: &str, text: &str) -> Result<Draft, String> {
    let mut draft = Draft::from_source(file);
    let (mut snippets, mut rest) = (Vec::new(), Vec::new());
    for line in lex::lines(file, text)? {
        if line.words.len() == 1 && line.name().starts_with('(') && line.block.is_some() {
            snippets.push(line);
        } else {
            rest.push(line);
        }
    }
    let mut importer = Importer { folder, snippets, made: 0, missing: Vec::new() };
    let mut lines = importer.expand(rest, 0)?;
    for (at, name) in importer.missing {
        draft.lose(at, format!("import {name}"), "there is neither a snippet nor a file of that name");
    }
    let mut options = Options { http_port: 80, https_port: 443, no_tls: false, local_certs: false };
    if lines.first().is_some_and(|line| line.words.is_empty() && line.block.is_some()) {
        let global = lines.remove(0);
        self::options(&mut draft, &global, &mut options);
    }
    // Without braces the first line is the address and the rest its site.
    if lines.first().is_some_and(|line| line.block.is_none()) && !lines.is_empty() {
        let first = lines.remove(0);
        let block = Some(std::mem::take(&mut lines));
        lines.push(Line { words: first.words, block, at: first.at });
    }
    for line in &lines {
        if line.block.is_none() {
            draft.lose(line.at.clone(), line.words.join(" "), "a site is an address and a block");
            continue;
        }
        site::import(&mut draft, folder, line, &options);
    }
    if draft.count(Kind::Site) == 0 {
        return Err(format!("{file}: there is no site in it"));
    }
    settle(&mut draft);
    name_alone(&mut draft);
    let count = draft.count(Kind::Site);
    draft
        .found
        .insert(0, format!("{file}: Caddy, {count} site{} made of it", if count == 1 { "" } else { "s" }));
    draft.head.push("/folder/* takes /folder too; paths are as written, upper and lower case apart; IPv6 wants its own \"http://[::]:80\".".to_owned());
    draft.next.push("stop Caddy before the first start: both want the same ports".to_owned());
    Ok(draft)
}

fn options(draft: &mut Draft, global: &Line, options: &mut Options) {
    for line in global.inside() {
        match line.name() {
            "http_port" => options.http_port = line.word(1).parse().unwrap_or(80),
            "https_port" => options.https_port = line.word(1).parse().unwrap_or(443),
            "auto_https" => options.no_tls = line.word(1) == "off",
            "local_certs" => options.local_certs = true,
            "email" | "acme_ca" | "acme_dns" | "cert_issuer" | "on_demand_tls" => {
                draft.lose(
                    line.at.clone(),
                    line.name(),
                    "it concerns automatic certificates, which are not in this version",
                );
            }
            "order" => draft.lose(
                line.at.clone(),
                line.words.join(" "),
                "the order of routes is the order in which they are written",
            ),
            "log" => {}
            name if NOT_NEEDED.contains(&name) => draft.not_needed(name),
            name => draft.lose(line.at.clone(), name, "there is no such option; see `madang schema --docs`"),
        }
    }
}

/// Puts a site in front of pools and apps.
fn push_site(draft: &mut Draft, section: Section) {
    let place =
        draft.sections.iter().position(|section| section.kind != Kind::Site).unwrap_or(draft.sections.len());
    draft.sections.insert(place, section);
}
