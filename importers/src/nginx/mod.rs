//! nginx's settings: sites, their locations, upstream groups.
//!
//! **Job.** Read the whole file, make pools of `upstream`, hand each `server` on, settle what two servers cannot both have.
//! **Called by** `choose`. **Calls** its children.
//!
//! Invariants
//! 1. No two sites answer one name on one address, and no address lies inside another: nginx has an order for that, Madang refuses it.
//!
//! Not here: one server (`server`), its locations (`location`), the language (`lex`, `regex`, `target`).

mod action;
mod files;
mod lex;
mod location;
mod proxy;

mod scope;
mod server;

use crate::draft::{Draft, Entry, Kind, Lost, Place, Section, Value};
use crate::folder::Folder;

use self::lex::Directive;
use self::proxy::Pools;
use self::scope::{Notes, Scope};

/// Whether a text looks like nginx's.
pub(crate) fn looks_like(text: &str) -> bool {
    let has = |word: &str| {
        text.lines().map(str::trim_start).any(|line| {
            line.strip_prefix(word).is_some_and(|rest| {
                rest.trim_start().starts_with('{') || (rest.trim().is_empty() && word != "listen")
            })
        })
    };
    has("server")
        || (has("http") && text.contains("include"))
        || (text.contains("upstream ") && has("stream"))
}

/// Reads a file.
///
/// # Errors
/// A sentence with file and line.
pub(crate) fn import(folder: &dyn Folder, file: &str, text: &str) -> Result<Draft, String> {
    let read = lex::read(folder, file, text)?;
    let mut draft = Draft::from_source(file);
    draft.lost = read.lost;
    let mut directives: Vec<&Directive> = Vec::new();
    flatten(&read.directives, &mut directives);
    let zones = zones(&directives);
    let (mut lost, mut not_needed) = (Vec::new(), Vec::new());
    let mut notes = Notes { lost: &mut lost, not_needed: &mut not_needed, zones: &zones };
    let mut pools = Pools::default();
    for directive in directives.iter().filter(|directive| directive.name == "upstream") {
        pools.group(&mut draft, directive, &mut notes);
    }
    let mut scope = Scope::default();
    let servers: Vec<&Directive> =
        directives.iter().copied().filter(|directive| directive.name == "server").collect();
    for directive in &directives {
        match directive.name.as_str() {
            "server" | "upstream" => {}
            "stream" => streams(&mut draft, directive, &mut pools, &mut notes),
            "access_log" if directive.word(0) != "off" && draft.log.is_empty() => log(&mut draft),
            "access_log" => {}
            // Made for `proxy_set_header Connection`; Madang passes upgrades on by itself.
            "map" if directive.word(0) == "$http_upgrade" => {}
            _ if scope.absorb(directive, &mut notes) => {}
            _ => notes.unknown(directive),
        }
    }
    if servers.is_empty() && draft.count(Kind::Stream) == 0 {
        return Err(format!("{file}: there is no server in it"));
    }
    for server in &servers {
        server::import(&mut draft, folder, server, &scope, &mut pools, &mut notes);
    }
    pools.finish(&mut draft);
    draft.lost.append(&mut lost);
    draft.not_needed = not_needed;
    settle(&mut draft);
    name_alone(&mut draft);
    let sites: Vec<&str> = draft
        .sections
        .iter()
        .filter(|section| section.kind == Kind::Site)
        .map(|site| site.name.as_str())
        .collect();
    draft.found.insert(0, format!("{file}: nginx, {} made of it", counted(sites.len(), "site")));
    // What nginx has by default and Madang by another.
    if draft.count(Kind::Pool) > 0 {
        draft.head.push("nginx took bodies up to 1 MiB unless told otherwise; here it is 16 MiB (`limits.body_bytes_max`).".to_owned());
    }
    draft.head.push("/folder/* takes /folder too; answers are compressed (`compress`); fields x-forwarded-* are sent always.".to_owned());
    draft.next.push("stop nginx before the first start: both want the same ports".to_owned());
    Ok(draft)
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// `http { … }` is where its directives are looked for; in a file of one site they stand alone.
fn flatten<'d>(directives: &'d [Directive], into: &mut Vec<&'d Directive>) {
    for directive in directives {
        if directive.name == "http" {
            into.extend(directive.inside());
        } else {
            into.push(directive);
        }
    }
}

/// `limit_req_zone $binary_remote_addr zone=a:10m rate=10r/s`.
fn zones(directives: &[&Directive]) -> Vec<(String, String)> {
    let of = |directive: &&&Directive| {
        directive.name == "limit_req_zone" && directive.word(0).ends_with("remote_addr")
    };
    let read = |directive: &&Directive| {
        let word = |name: &str| directive.words.iter().find_map(|word| word.strip_prefix(name));
        let name = word("zone=")?.split(':').next()?.to_owned();
        let (count, unit) = word("rate=")?.split_once("r/")?;
        let count: u32 = count.parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
        matches!(unit, "s" | "m").then(|| (name, format!("{count}/{unit}")))
    };
    directives.iter().filter(of).filter_map(read).collect()
}

fn log(draft: &mut Draft) {
    draft.log.push(Entry {
        key: "access",
        value: "combined".into(),
        why: "access_log: to logs/access.log in the data folder (`access_file`)".to_owned(),
    });
}

/// `stream { server { listen …; proxy_pass …; } }`.
fn streams(draft: &mut Draft, block: &Directive, pools: &mut Pools, notes: &mut Notes<'_>) {
    for directive in block.inside() {
        match directive.name.as_str() {
            "upstream" => pools.group(draft, directive, notes),
            "server" => stream(draft, directive, pools, notes),
            _ => notes.unknown(directive),
        }
    }
}

fn stream(draft: &mut Draft, server: &Directive, pools: &mut Pools, notes: &mut Notes<'_>) {
    let mut section = Section::new(Kind::Stream, draft.free_name(Kind::Stream, "stream"));
    let (mut listen, mut to) = (Vec::new(), None);
    for directive in server.inside() {
        match directive.name.as_str() {
            "listen" => {
                let scheme = if directive.words.iter().any(|word| word == "udp") { "udp" } else { "tcp" };
                match server::address(directive.word(0)) {
                    Some(address) if !directive.words.iter().any(|word| word == "ssl") => {
                        listen.push(format!("{scheme}://{address}"))
                    }
                    _ => notes.lose(
                        &directive.at,
                        format!("listen {}", directive.words.join(" ")),
                        "write it as `listen = \"tcp://…\"` or, with `tls`, \"tls://…\"",
                    ),
                }
            }
            "proxy_pass" => to = Some((directive.word(0).to_owned(), directive.at.clone())),
            "proxy_timeout" => section.set("idle", scope::time(directive.word(0))),
            "proxy_connect_timeout" => {}
            _ => notes.unknown(directive),
        }
    }
    let pool = to.and_then(|(to, at)| pools.of(draft, "", &to, &at));
    match (pool, listen.is_empty()) {
        (Some(pool), false) => {
            section.name = draft.free_name(Kind::Stream, &pool);
            section
                .entries
                .insert(0, Entry { key: "listen", value: Value::one_or_many(listen), why: String::new() });
            section.set("proxy", pool);
            draft.sections.push(section);
        }
        _ => {
            notes.lose(&server.at, "a server of stream", "it needs `listen` and `proxy_pass` with an address")
        }
    }
}

/// One name on one address has one site; one address is not inside another.
pub(crate) fn settle(draft: &mut Draft) {
    let mut taken: Vec<(String, Option<String>, String)> = Vec::new();
    let wildcards: Vec<String> = draft
        .sections
        .iter()
        .filter(|section| section.kind == Kind::Site)
        .flat_map(|site| texts(site.get("listen")))
        .filter_map(|listen| listen.split_once("://").map(|(_, address)| address.to_owned()))
        .filter(|address| address.starts_with("0.0.0.0:") || address.starts_with("[::]:"))
        .collect();
    for site in draft.sections.iter_mut().filter(|section| section.kind == Kind::Site) {
        let at = Place::new(&draft.source, 0);
        let mut listens = texts(site.get("listen"));
        let before = listens.len();
        listens.retain(|listen| {
            let address = listen.split_once("://").map_or("", |(_, address)| address);
            let Some((host, port)) = address.rsplit_once(':') else { return true };
            let any = if host.starts_with('[') { "[::]" } else { "0.0.0.0" };
            host == any || address.starts_with("unix:") || !wildcards.contains(&format!("{any}:{port}"))
        });
        if listens.len() < before {
            site.lost.push(Lost {
                at: at.clone(),
                what: "a listen of one address beside one of all addresses".to_owned(),
                instead: "one port is opened once; `from` on a route, or `allow` of the address, tells clients apart".to_owned(),
            });
        }
        let mut hosts = texts(site.get("hosts"));
        let had_hosts = !hosts.is_empty();
        hosts.retain(|host| {
            let clash = taken
                .iter()
                .any(|(address, name, _)| listens.contains(address) && name.as_ref() == Some(host));
            if clash {
                site.lost.push(Lost {
                    at: at.clone(),
                    what: format!("the second server for {host}"),
                    instead: "the first one of a name answers".to_owned(),
                });
            }
            !clash
        });
        if !had_hosts {
            listens.retain(|listen| {
                let clash = taken.iter().any(|(address, name, _)| address == listen && name.is_none());
                if clash {
                    site.lost.push(Lost {
                        at: at.clone(),
                        what: format!("a second server for any name on {listen}"),
                        instead: "the first one answers; give this one `hosts`".to_owned(),
                    });
                }
                !clash
            });
        }
        if (had_hosts && hosts.is_empty()) || listens.is_empty() {
            site.routes.clear();
            continue;
        }
        for listen in &listens {
            let names: Vec<Option<String>> =
                if hosts.is_empty() { vec![None] } else { hosts.iter().cloned().map(Some).collect() };
            taken.extend(names.into_iter().map(|name| (listen.clone(), name, site.name.clone())));
        }
        for (key, list) in [("listen", listens), ("hosts", hosts)] {
            if let Some(entry) = site.entries.iter_mut().find(|entry| entry.key == key) {
                entry.value = Value::one_or_many(list);
            }
        }
    }
    let gone: Vec<Lost> = draft
        .sections
        .iter()
        .filter(|section| section.kind == Kind::Site && section.routes.is_empty())
        .flat_map(|site| site.lost.clone())
        .collect();
    draft.lost.extend(gone);
    draft.sections.retain(|section| section.kind != Kind::Site || !section.routes.is_empty());
}

/// A single site is called main.
pub(crate) fn name_alone(draft: &mut Draft) {
    if draft.count(Kind::Site) == 1
        && let Some(site) = draft.sections.iter_mut().find(|section| section.kind == Kind::Site)
    {
        site.name = "main".to_owned();
    }
}

pub(crate) fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Text(text)) => vec![text.clone()],
        Some(Value::List(list)) => list
            .iter()
            .filter_map(|value| match value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
