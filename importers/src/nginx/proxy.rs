//! Upstream groups and addresses of `proxy_pass`, as pools.
//!
//! **Job.** Make a pool for each group and each address, once. **Called by** `nginx`, `action`.
//!
//! Invariants
//! 1. The same servers with the same scheme are one pool; a group nobody leads to is left out.
//!
//! Not here: paths and fields of a proxied request (`action`).

use crate::draft::{Draft, Kind, Place, Section, Value};

use super::lex::Directive;
use super::scope::{Notes, time};

/// Pools made so far.
#[derive(Debug, Default)]
pub(super) struct Pools {
    groups: Vec<Group>,
    /// Scheme and address or group, and the pool of it.
    made: Vec<(String, String)>,
}

#[derive(Debug)]
struct Group {
    name: String,
    /// Without its name's final form.
    section: Section,
    servers: Vec<(String, Vec<(String, Value)>)>,
}

impl Pools {
    /// `upstream NAME { … }`.
    pub(super) fn group(&mut self, _: &mut Draft, directive: &Directive, notes: &mut Notes<'_>) {
        let name = directive.word(0).to_owned();
        let mut section = Section::new(Kind::Pool, "");
        let mut servers = Vec::new();
        let mut fails: Vec<(Option<u64>, Option<String>)> = Vec::new();
        for inside in directive.inside() {
            let word = |name: &str| inside.words.iter().find_map(|word| word.strip_prefix(name));
            match inside.name.as_str() {
                "server" => {
                    if inside.words.iter().any(|word| word == "down") {
                        section.say(format!("{} was marked down ({}).", inside.word(0), inside.at));
                        continue;
                    }
                    let mut options = Vec::new();
                    if let Some(weight) =
                        word("weight=").and_then(|n| n.parse::<u64>().ok()).filter(|n| *n != 1)
                    {
                        options.push(("weight".to_owned(), Value::Number(weight.min(256))));
                    }
                    if inside.words.iter().any(|word| word == "backup") {
                        options.push(("backup".to_owned(), Value::Bool(true)));
                    }
                    if let Some(most) =
                        word("max_conns=").and_then(|n| n.parse::<u64>().ok()).filter(|n| *n > 0)
                    {
                        options.push(("max_connections".to_owned(), Value::Number(most.min(1_000_000))));
                    }
                    fails.push((
                        word("max_fails=").and_then(|n| n.parse().ok()),
                        word("fail_timeout=").map(time),
                    ));
                    for word in inside.words.iter().skip(1) {
                        let known = ["weight=", "max_conns=", "max_fails=", "fail_timeout="];
                        if !known.iter().any(|name| word.starts_with(name))
                            && !matches!(word.as_str(), "backup" | "resolve")
                        {
                            section.lose(
                                inside.at.clone(),
                                format!("server {} {word}", inside.word(0)),
                                "there is no such option of a server",
                            );
                        }
                    }
                    servers.push((inside.word(0).to_owned(), options));
                }
                "least_conn" => section.set("balance", "least-connections"),
                "ip_hash" => section.set_why("balance", "hash", "ip_hash: by the client's address"),
                "random" => section.set("balance", "two-choices"),
                "least_time" => section.set("balance", "least-time"),
                "hash" => match hash_key(inside.word(0)) {
                    Some(key) => {
                        section.set("balance", "hash");
                        section.set("hash_by", key);
                    }
                    None => section.lose(
                        inside.at.clone(),
                        format!("hash {}", inside.word(0)),
                        "hash_by takes ip, path, uri, header:NAME or cookie:NAME",
                    ),
                },
                "keepalive" => {
                    if let Ok(count) = inside.word(0).parse::<u64>() {
                        section.set("keep_alive", count.min(65_536));
                    }
                }
                "sticky" if inside.word(0) == "cookie" => {
                    let cookie = vec![("cookie".to_owned(), Value::from(inside.word(1)))];
                    section.set("sticky", Value::Table(cookie));
                }
                "keepalive_timeout" | "keepalive_requests" | "zone" | "keepalive_time" => {
                    notes.unknown(inside)
                }
                _ => {
                    section.lose(inside.at.clone(), inside.name.clone(), "there is no counterpart in a pool")
                }
            }
        }
        // Said once for the group: Madang's rest is the pool's.
        let said: Vec<_> = fails.iter().filter(|(count, rest)| count.is_some() || rest.is_some()).collect();
        if let Some((count, rest)) = said.first() {
            if let Some(count) = count {
                section.set_in("passive", "failures", (*count).min(10_000));
            }
            if let Some(rest) = rest {
                section.set_in("passive", "eject_for", rest.as_str());
            }
            if said.len() != fails.len() || said.iter().any(|other| other != &said[0]) {
                section.say(
                    "max_fails and fail_timeout differed between the servers; here they are the pool's.",
                );
            }
        }
        self.groups.push(Group { name, section, servers });
    }

    /// The pool for a scheme and what stands behind it; `None`: it is no address.
    pub(super) fn of(&mut self, draft: &mut Draft, scheme: &str, to: &str, at: &Place) -> Option<String> {
        let key = format!("{scheme}{to}");
        if let Some((_, name)) = self.made.iter().find(|(known, _)| *known == key) {
            return Some(name.clone());
        }
        let group = self.groups.iter().find(|group| group.name == to);
        let default_port = if scheme == "https://" { 443 } else { 80 };
        let mut section = match group {
            Some(group) => group.section.clone(),
            None => Section::new(Kind::Pool, ""),
        };
        section.name = draft.free_name(Kind::Pool, if group.is_some() { to } else { "backend" });
        let listed = match group {
            Some(group) => group.servers.clone(),
            None => vec![(to.to_owned(), Vec::new())],
        };
        let mut servers = Vec::new();
        for (address, options) in listed {
            let address = format!("{scheme}{}", with_port(&address, default_port)?);
            servers.push(if options.is_empty() {
                Value::Text(address)
            } else {
                let address = ("address".to_owned(), Value::Text(address));
                Value::Table(std::iter::once(address).chain(options).collect())
            });
        }
        if servers.is_empty() {
            return None;
        }
        section.entries.insert(
            0,
            crate::draft::Entry { key: "servers", value: Value::List(servers), why: String::new() },
        );
        if scheme == "https://" {
            section.say("Certificates of these servers are checked; nginx did not unless told (`tls` of the pool names an authority).");
        }
        if at.line == 0 {
            return None;
        }
        let name = section.name.clone();
        draft.sections.push(section);
        self.made.push((key, name.clone()));
        Some(name)
    }

    /// Sets a time of a pool; the longest of several wins.
    pub(super) fn wait(draft: &mut Draft, pool: &str, name: &str, value: &str) {
        if let Some(section) =
            draft.sections.iter_mut().find(|section| section.kind == Kind::Pool && section.name == pool)
        {
            section.set_in("timeouts", name, value);
        }
    }

    /// Groups that no location led to are told.
    pub(super) fn finish(&self, draft: &mut Draft) {
        for group in &self.groups {
            let used = self.made.iter().any(|(key, _)| {
                key.trim_start_matches("https://").trim_start_matches("h2c://") == group.name
            });
            if !used {
                draft.head.push(format!("upstream {} is left out: nothing leads to it.", group.name));
            }
        }
    }
}

fn hash_key(text: &str) -> Option<String> {
    match text {
        "$remote_addr" | "$binary_remote_addr" => Some("ip".to_owned()),
        "$request_uri" => Some("uri".to_owned()),
        "$uri" => Some("path".to_owned()),
        _ => {
            let header = text.strip_prefix("$http_").map(|name| format!("header:{}", name.replace('_', "-")));
            header.or_else(|| text.strip_prefix("$cookie_").map(|name| format!("cookie:{name}")))
        }
    }
}

/// `host:port`, a unix socket; a port where none is.
fn with_port(text: &str, port: u16) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Some(format!("unix:{}", path.trim_end_matches(':')));
    }
    let fine = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b));
    if !fine {
        return None;
    }
    let has_port =
        text.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']') && port.parse::<u16>().is_ok());
    Some(if has_port { text.to_owned() } else { format!("{text}:{port}") })
}
