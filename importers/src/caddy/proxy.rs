//! `reverse_proxy` as a pool and a route.
//!
//! **Job.** Servers, how one is picked, how they are watched, fields on the way. **Called by** `site`.
//!
//! Not here: paths (`matcher`, `site`).

use crate::draft::{Draft, Entry, Kind, Place, Route, Section, Value};

use super::lex::Line;

/// What of the fields and options could not be said.
pub(super) type Lost = Vec<(Place, String, &'static str)>;

/// Makes the pool (or finds the same one) and gives the route what belongs to it. False: there is no server that can be named.
pub(super) fn proxy(
    draft: &mut Draft,
    route: &mut Route,
    line: &Line,
    words: &[String],
    lost: &mut Lost,
) -> bool {
    let mut upstreams: Vec<String> = words.to_vec();
    let mut pool = Section::new(Kind::Pool, "");
    let mut first_only = false;
    for option in line.inside() {
        let (first, second) = (option.word(1), option.word(2));
        let mut lose = |instead: &'static str| {
            lost.push((option.at.clone(), format!("{} of reverse_proxy", option.words.join(" ")), instead))
        };
        match option.name() {
            "to" => upstreams.extend(option.words[1..].iter().cloned()),
            "lb_policy" => match first {
                "round_robin" => {}
                "random" | "random_choose" => pool.set("balance", "two-choices"),
                "least_conn" => pool.set("balance", "least-connections"),
                "first" => first_only = true,
                "ip_hash" | "client_ip_hash" => pool.set("balance", "hash"),
                "uri_hash" => hash(&mut pool, "uri"),
                "header" if !second.is_empty() => {
                    hash(&mut pool, &format!("header:{}", second.to_lowercase()))
                }
                "cookie" => {
                    let name = if second.is_empty() { "lb" } else { second };
                    pool.set("sticky", Value::Table(vec![("cookie".to_owned(), name.into())]));
                }
                _ => lose("`balance` is round-robin, least-connections, two-choices, least-time or hash"),
            },
            "health_uri" | "health_path" => pool.set_in("health", "path", first),
            "health_interval" => set_time(&mut pool, "health", "every", first),
            "health_timeout" => set_time(&mut pool, "health", "timeout", first),
            "health_status" => pool.set_in("health", "status", first),
            "health_body" if !first.contains(['^', '$', '*', '(', '[', '\\', '.']) => {
                pool.set_in("health", "body", first)
            }
            "health_fails" => set_number(&mut pool, "health", "fall", first, 100),
            "health_passes" => set_number(&mut pool, "health", "rise", first, 100),
            "health_port" => set_number(&mut pool, "health", "port", first, 65_535),
            "fail_duration" => set_time(&mut pool, "passive", "eject_for", first),
            "max_fails" => set_number(&mut pool, "passive", "failures", first, 10_000),
            "header_up" => field(route, "request_headers", option, &mut lose),
            "header_down" => field(route, "headers", option, &mut lose),
            "flush_interval" | "stream_timeout" | "stream_close_delay" | "trusted_proxies" => {}
            "lb_try_duration" => set_time(&mut pool, "retry", "deadline", first),
            "lb_retries" => set_number(
                &mut pool,
                "retry",
                "attempts",
                &first.parse::<u64>().map_or(String::new(), |n| (n.min(7) + 1).to_string()),
                8,
            ),
            "lb_try_interval" => {}
            "transport" => {
                for inner in option.inside() {
                    match inner.name() {
                        "dial_timeout" => set_time(&mut pool, "timeouts", "connect", inner.word(1)),
                        "response_header_timeout" => {
                            set_time(&mut pool, "timeouts", "first_byte", inner.word(1))
                        }
                        "read_timeout" => set_time(&mut pool, "timeouts", "idle", inner.word(1)),
                        "keepalive" | "keepalive_idle_conns" | "write_timeout" | "compression" => {}
                        "tls" => upstreams
                            .iter_mut()
                            .filter(|to| !to.contains("://"))
                            .for_each(|to| *to = format!("https://{to}")),
                        "versions" if inner.words.iter().any(|word| word == "h2c") => {
                            upstreams
                                .iter_mut()
                                .filter(|to| !to.contains("://"))
                                .for_each(|to| *to = format!("h2c://{to}"));
                        }
                        _ => lost.push((
                            inner.at.clone(),
                            format!("{} of transport", inner.words.join(" ")),
                            "see `tls` and `timeouts` of the pool",
                        )),
                    }
                }
            }
            _ => lose("there is no counterpart in a pool"),
        }
    }
    let mut servers: Vec<Value> = Vec::new();
    for upstream in &upstreams {
        let Some(all) = addresses(upstream) else { return false };
        for address in all {
            servers.push(if first_only && !servers.is_empty() {
                Value::Table(vec![("address".to_owned(), address.into()), ("backup".to_owned(), true.into())])
            } else {
                address.into()
            });
        }
    }
    if servers.is_empty() {
        return false;
    }
    if pool.get("health").is_some_and(
        |health| !matches!(health, Value::Table(keys) if keys.iter().any(|(key, _)| key == "path")),
    ) {
        pool.set_in("health", "tcp", true);
    }
    pool.entries.insert(0, Entry { key: "servers", value: Value::List(servers), why: String::new() });
    let same = draft.sections.iter().find(|known| known.kind == Kind::Pool && known.entries == pool.entries);
    let name = match same {
        Some(same) => same.name.clone(),
        None => {
            pool.name = draft.free_name(Kind::Pool, "backend");
            let name = pool.name.clone();
            draft.sections.push(pool);
            name
        }
    };
    route.set("proxy", name);
    true
}

fn hash(pool: &mut Section, by: &str) {
    pool.set("balance", "hash");
    pool.set("hash_by", by);
}

fn set_number(pool: &mut Section, key: &'static str, name: &str, text: &str, max: u64) {
    if let Ok(number) = text.parse::<u64>() {
        pool.set_in(key, name, number.clamp(1, max));
    }
}

fn set_time(pool: &mut Section, key: &'static str, name: &str, text: &str) {
    if let Some(time) = time(text) {
        pool.set_in(key, name, time);
    }
}

/// `1m30s`, `500ms`, `1.5s` as one number with one unit, from 10 ms to an hour.
fn time(text: &str) -> Option<String> {
    let (mut ms, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let number: u64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, scale) = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        ms = ms.checked_add(number.checked_mul(scale)?)?;
    }
    let ms = ms.clamp(100, 60_000);
    Some(if ms % 1000 == 0 { format!("{}s", ms / 1000) } else { format!("{ms}ms") })
}

/// `header_up`, `header_down`: `Name value`, `-Name`, `+Name value`.
fn field(route: &mut Route, key: &'static str, option: &Line, lose: &mut impl FnMut(&'static str)) {
    let (name, value) = (option.word(1), option.word(2));
    let plain = name.trim_start_matches('+').to_lowercase();
    if option.words.len() > 3 || name.contains('*') {
        return lose("a field is set to a fixed text or taken out");
    }
    if let Some(gone) = name.strip_prefix('-') {
        return route.add_to_map(key, &gone.to_lowercase(), "");
    }
    match (plain.as_str(), value) {
        ("host", "{host}" | "{http.request.host}" | "{hostport}") => {}
        ("host", "{upstream_hostport}" | "{http.reverse_proxy.upstream.hostport}") => {
            lose("`upstream_host` is one fixed name: that of the server");
        }
        ("host", value) if !value.contains('{') && key == "request_headers" => {
            route.set("upstream_host", value)
        }
        ("x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-real-ip", value)
            if value.contains('{') => {}
        (_, value) if value.contains('{') => lose("`request_headers` and `headers` are fixed texts"),
        (name, value) => route.add_to_map(key, name, value),
    }
}

/// One upstream, or those of a range of ports.
fn addresses(text: &str) -> Option<Vec<String>> {
    if let Some(path) = text.strip_prefix("unix//").or_else(|| text.strip_prefix("unix/")) {
        return Some(vec![format!("unix:/{}", path.trim_start_matches('/'))]);
    }
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", rest)) => ("", rest),
        Some(("https", rest)) => ("https://", rest),
        Some(("h2c", rest)) => ("h2c://", rest),
        Some(_) => return None,
        None => ("", text),
    };
    let rest = rest.trim_end_matches('/');
    let fine = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b));
    if !fine {
        return None;
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (rest, if scheme == "https://" { "443" } else { "80" }),
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let (from, to) = port.split_once('-').unwrap_or((port, port));
    let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to && to - from < 64).then(|| (from..=to).map(|port| format!("{scheme}{host}:{port}")).collect())
}
