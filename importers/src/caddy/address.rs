//! The addresses in front of a Caddy site.
//!
//! **Job.** `example.org`, `:8080`, `http://a.example`, `localhost` to listeners and names; `tls` to certificates.
//! **Called by** `site`. Pure.
//!
//! Not here: what is answered there (`site`).

use crate::draft::{Section, Value};
use crate::folder::Folder;

use super::Options;
use super::lex::Line;

/// What addresses say together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Ports without TLS.
    pub(super) plain: Vec<u16>,
    /// Ports with TLS.
    pub(super) secure: Vec<u16>,
    /// Names; empty: any.
    pub(super) hosts: Vec<String>,
    /// Who comes in the clear is sent to https.
    pub(super) redirect: bool,
    /// Names that need a certificate from outside.
    pub(super) public: bool,
    /// What is no address here.
    pub(super) lost: Vec<String>,
}

/// Reads them.
pub(super) fn read(words: &[String], options: &Options) -> Addresses {
    let mut all = Addresses::default();
    let mut any = false;
    for word in words.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty()) {
        let (scheme, rest) =
            word.split_once("://").map_or((None, word), |(scheme, rest)| (Some(scheme), rest));
        let (authority, path) =
            rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()),
            _ => (authority, None),
        };
        let bad_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']')) && port.is_none();
        if bad_port
            || !path.is_empty()
            || !matches!(scheme, None | Some("http" | "https"))
            || host.contains('{')
            || host.contains('/')
        {
            all.lost.push(word.to_owned());
            continue;
        }
        let secure = match (scheme, port) {
            (Some(scheme), _) => scheme == "https",
            _ if options.no_tls => false,
            (None, Some(port)) => port != options.http_port && !host.is_empty(),
            (None, None) => !host.is_empty(),
        };
        let secure = secure || (scheme.is_none() && port == Some(options.https_port) && !options.no_tls);
        let port = port.unwrap_or(if secure { options.https_port } else { options.http_port });
        let list = if secure { &mut all.secure } else { &mut all.plain };
        if !list.contains(&port) {
            list.push(port);
        }
        if secure && port == options.https_port && !host.is_empty() {
            all.redirect = true;
        }
        let wild = host.strip_prefix("*.").unwrap_or(host);
        let local = wild == "localhost"
            || wild.ends_with(".localhost")
            || wild.ends_with(".internal")
            || wild.ends_with(".local")
            || wild.parse::<std::net::IpAddr>().is_ok();
        all.public |= secure && !local && !host.is_empty();
        if host.is_empty() {
            any = true;
        } else if wild.contains('*') {
            all.lost.push(word.to_owned());
        } else if !all.hosts.contains(&host.to_lowercase()) {
            all.hosts.push(host.to_lowercase());
        }
    }
    if any {
        all.hosts.clear();
    }
    if all.redirect && !all.plain.contains(&options.http_port) {
        all.plain.insert(0, options.http_port);
    }
    all
}

/// `tls`, and what Caddy did by itself.
pub(super) fn certificates(
    section: &mut Section,
    folder: &dyn Folder,
    line: &Line,
    addresses: &Addresses,
    options: &Options,
) {
    if addresses.secure.is_empty() {
        return;
    }
    let tls = line.inside().iter().find(|line| line.name() == "tls");
    let words: Vec<&str> =
        tls.map(|tls| tls.words[1..].iter().map(String::as_str).collect()).unwrap_or_default();
    match words.as_slice() {
        [cert, key] => {
            section.set(
                "tls",
                Value::map([("cert".to_owned(), folder.named(cert)), ("key".to_owned(), folder.named(key))]),
            );
        }
        ["internal"] => section.set("tls", "local"),
        _ if !addresses.public || options.local_certs => section.set("tls", "local"),
        _ => {
            section.set_why("tls", "local", "browsers warn; { cert = \"…\", key = \"…\" } takes certbot's");
            let at = tls.unwrap_or(line).at.clone();
            section.lose(
                at,
                "automatic certificates",
                "not in this version: have certbot make them and name the files in `tls`",
            );
        }
    }
    for option in tls.into_iter().flat_map(|tls| tls.inside()) {
        match (option.name(), option.word(1)) {
            ("protocols", "tls1.3") => section.set("tls_min", "1.3"),
            ("ciphers" | "curves" | "alpn" | "protocols", _) => {}
            _ => section.lose(
                option.at.clone(),
                format!("tls {}", option.words.join(" ")),
                "see `tls` and `client_auth` of the site",
            ),
        }
    }
    if addresses.redirect {
        section.set("https_redirect", true);
    }
}
