//! Host names in settings.
//!
//! **Job.** Read a list of names and wildcards into their one spelling. **Called by** whoever has sites or routes by name.
//! **Calls** `settings`.
//!
//! Not here: which of several names stands for a host (`tls::names`).

use madang_settings::reader::Reader;

/// A lower-case host name or `*.rest`.
fn host_pattern(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let fine = name.parse::<std::net::IpAddr>().is_ok()
        || name
            .strip_prefix('[')
            .and_then(|v6| v6.strip_suffix(']'))
            .is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
        || (name.len() <= 253 && name.split('.').all(label));
    fine.then(|| text.to_ascii_lowercase())
}

/// Reads names and wildcards, lower case; what is none is told.
pub fn host_names(r: &mut Reader<'_>, key: &str) -> Vec<String> {
    let mut hosts = Vec::new();
    for (node, text) in r.texts_with_nodes(key) {
        match host_pattern(&text) {
            Some(host) => hosts.push(host),
            None => {
                let path = r.key_path(key);
                let help = Some("for example \"example.org\" or \"*.example.org\"".to_owned());
                r.report.error(node.mark, &path, format!("{text:?} is not a host name"), help);
            }
        }
    }
    hosts
}
