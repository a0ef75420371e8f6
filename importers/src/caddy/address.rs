//! The addresses in front of a Caddy site.
//!
//! **Job.** `example.org`, `:8080`, `http://a.example`, `localhost` to listeners, names and TLS. **Called by** `site`. Pure.
//!
//! Not here: certificates by file (`site`).

use super::Options;

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
