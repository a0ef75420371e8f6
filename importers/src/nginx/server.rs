//! One `server` as one site.
//!
//! **Job.** Addresses, names, certificates, what holds for all of its paths; its locations in Madang's order.
//! **Called by** `nginx`. **Calls** `location`.
//!
//! Not here: what a location does (`action`).

use crate::draft::{Draft, Entry, Kind, Section, Value};
use crate::folder::Folder;

use super::lex::Directive;
use super::location::{self, Around};
use super::proxy::Pools;
use super::scope::{Notes, Scope};

/// Addresses of one server, and what is said with them.
#[derive(Default)]
struct Listens {
    plain: Vec<String>,
    secure: Vec<String>,
    is_default: bool,
}

/// `80`, `*:80`, `[::]:80`, `1.2.3.4`, `unix:/path` as Madang writes addresses.
pub(super) fn address(text: &str) -> Option<String> {
    if text.starts_with("unix:/") {
        return Some(text.to_owned());
    }
    let text = text.replace("localhost", "127.0.0.1");
    if let Ok(port) = text.parse::<u16>() {
        return Some(format!("0.0.0.0:{port}"));
    }
    let text = text.strip_prefix("*:").map_or(text.clone(), |port| format!("0.0.0.0:{port}"));
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return Some(text);
    }
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some(format!("{text}:80"));
    }
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'))?;
    inside.parse::<std::net::Ipv6Addr>().is_ok().then(|| format!("{text}:80"))
}

/// Reads one.
pub(super) fn import(
    draft: &mut Draft,
    folder: &dyn Folder,
    server: &Directive,
    above: &Scope,
    pools: &mut Pools,
    notes: &mut Notes<'_>,
) {
    let mut section = Section::new(Kind::Site, "");
    let mut scope = above.child();
    let mut lost = Vec::new();
    let mut own = Notes { lost: &mut lost, not_needed: notes.not_needed, zones: notes.zones };
    let (mut listens, mut names) = (Listens::default(), Vec::new());
    let (mut cert, mut key, mut all_secure, mut newest) = (None, None, false, false);
    let mut deeds = Vec::new();
    for directive in server.inside() {
        match directive.name.as_str() {
            "listen" => listen(&mut listens, directive, &mut own),
            "server_name" => names.extend(directive.words.iter().cloned()),
            "ssl_certificate" => cert = Some(directive.word(0).to_owned()),
            "ssl_certificate_key" => key = Some(directive.word(0).to_owned()),
            "ssl" => all_secure = directive.word(0) == "on",
            "ssl_protocols" => newest = directive.words.iter().all(|word| word == "TLSv1.3"),
            "access_log" => {}
            "location" | "return" | "rewrite" | "if" => deeds.push(directive),
            _ if scope.absorb(directive, &mut own) => {}
            _ => own.unknown(directive),
        }
    }
    if listens.plain.is_empty() && listens.secure.is_empty() {
        listens.plain.push("0.0.0.0:80".to_owned());
    }
    if all_secure {
        listens.secure.append(&mut listens.plain);
    }
    let hosts = host_names(&names, server, &mut own);
    let wish = hosts.first().cloned().unwrap_or_else(|| "main".to_owned());
    section.name = draft.free_name(Kind::Site, &wish);
    let all = listens
        .plain
        .iter()
        .map(|address| format!("http://{address}"))
        .chain(listens.secure.iter().map(|address| format!("https://{address}")));
    section.set("listen", Value::one_or_many(all.collect()));
    if listens.is_default || hosts.is_empty() {
        if !hosts.is_empty() {
            section.say(format!("default_server: it answers any name, {} among them.", hosts.join(", ")));
        }
    } else {
        section.set_why(
            "hosts",
            Value::one_or_many(hosts.clone()),
            "names nobody has get 404; without this line they come here, too",
        );
    }
    if !listens.secure.is_empty() {
        match (cert, key) {
            (Some(cert), Some(key)) => {
                let pair = [("cert".to_owned(), folder.named(&cert)), ("key".to_owned(), folder.named(&key))];
                section.set("tls", Value::map(pair));
            }
            _ => {
                section.set_why("tls", "local", "no ssl_certificate was there: this machine's own authority");
            }
        }
        if newest {
            section.set("tls_min", "1.3");
        }
    }
    if scope.compress == Some(false) {
        section.set("compress", false);
    }
    let scheme = match (listens.plain.is_empty(), listens.secure.is_empty()) {
        (false, true) => Some("http"),
        (true, false) => Some("https"),
        _ => None,
    };
    let mut around = Around {
        draft,
        folder,
        pools,
        scheme,
        server_name: hosts.first().map(String::as_str),
        both: scheme.is_none(),
        named: Vec::new(),
        https_redirect: false,
        at: server.at.clone(),
    };
    section.routes = location::routes(&mut around, &deeds, &scope, &mut own);
    if around.https_redirect {
        section.set_why("https_redirect", true, "with 308; nginx said 301");
    }
    errors(&mut section, folder, server, &scope, &mut own);
    section.lost = lost;
    if section.routes.is_empty() {
        section.routes.push(crate::draft::Route::at("/*").with("respond", "").with("status", 404));
    }
    let place =
        draft.sections.iter().position(|section| section.kind != Kind::Site).unwrap_or(draft.sections.len());
    draft.sections.insert(place, section);
}

fn listen(listens: &mut Listens, directive: &Directive, notes: &mut Notes<'_>) {
    let has = |word: &str| directive.words.iter().any(|have| have == word);
    let Some(address) = address(directive.word(0)) else {
        notes.lose(
            &directive.at,
            format!("listen {}", directive.word(0)),
            "an address is needed: `listen = \"http://127.0.0.1:80\"`",
        );
        return;
    };
    listens.is_default |= has("default_server") || has("default");
    if has("quic") {
        notes.lose(
            &directive.at,
            "listen … quic",
            "HTTP/3 is not in this version; HTTP/2 is offered over TLS by itself",
        );
        return;
    }
    if has("proxy_protocol") {
        notes.lose(&directive.at, "listen … proxy_protocol", "`listen = [{ address = \"…\", proxy_protocol = [\"10.0.0.5\"] }]` names the proxies that send it");
    }
    let mut all = vec![address.clone()];
    if has("ipv6only=off")
        && let Some(port) = address.strip_prefix("[::]:")
    {
        all.insert(0, format!("0.0.0.0:{port}"));
    }
    let list = if has("ssl") { &mut listens.secure } else { &mut listens.plain };
    for address in all {
        if !list.contains(&address) {
            list.push(address);
        }
    }
}

fn host_names(names: &[String], server: &Directive, notes: &mut Notes<'_>) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for name in names {
        let mut made = Vec::new();
        if matches!(name.as_str(), "_" | "" | "*" | "$hostname" | "localhost.localdomain") {
            // Names that nobody asks for: they make a server the default one.
            continue;
        } else if let Some(rest) = name.strip_prefix('.') {
            made.extend([rest.to_owned(), format!("*.{rest}")]);
        } else {
            made.push(name.clone());
        }
        for host in made {
            let plain = host.strip_prefix("*.").unwrap_or(&host);
            let label = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            };
            if plain.len() <= 253 && plain.split('.').all(label) {
                hosts.push(host.to_ascii_lowercase());
            } else {
                notes.lose(
                    &server.at,
                    format!("server_name {name}"),
                    "`hosts` takes example.org and *.example.org (one label)",
                );
            }
        }
    }
    hosts.dedup();
    hosts
}

/// Error pages that are files.
fn errors(
    section: &mut Section,
    folder: &dyn Folder,
    server: &Directive,
    scope: &Scope,
    notes: &mut Notes<'_>,
) {
    let mut pages: Vec<(String, String)> = Vec::new();
    for (statuses, page) in &scope.errors {
        // A location of its own may say where the page lies.
        let own = server
            .inside()
            .iter()
            .find(|directive| directive.name == "location" && directive.words.last() == Some(page));
        let own_root = own
            .and_then(|own| own.inside().iter().find(|inside| inside.name == "root"))
            .map(|root| root.word(0).to_owned());
        let Some(root) = own_root.or_else(|| scope.root.clone()) else { continue };
        let file = format!("{}{page}", root.trim_end_matches('/'));
        if !folder.has(&file) {
            let what = format!(
                "error_page {} {page}",
                statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
            );
            notes.lose(
                &server.at,
                what,
                format!("there is no file {file}; `errors = {{ 404 = \"…\" }}` once there is"),
            );
            continue;
        }
        pages.extend(statuses.iter().map(|status| (status.to_string(), folder.named(&file))));
    }
    let fives = ["500", "502", "503", "504"];
    let same = fives
        .iter()
        .map(|status| pages.iter().find(|(known, _)| known == status).map(|(_, file)| file.clone()))
        .collect::<Option<Vec<_>>>();
    if let Some(files) = same
        && files.iter().all(|file| *file == files[0])
    {
        pages.retain(|(status, _)| !fives.contains(&status.as_str()));
        pages.push(("5xx".to_owned(), files[0].clone()));
    }
    if !pages.is_empty() {
        section.entries.push(Entry { key: "errors", value: Value::map(pages), why: String::new() });
    }
}
