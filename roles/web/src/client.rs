//! Who the client is, when proxies may stand between.
//!
//! **Job.** Believe `x-forwarded-for`, `x-forwarded-proto` and `x-request-id` from trusted peers; take them, and every
//! other field that claims an identity, from everybody else out of the request.
//! **Reads** `server.trusted_proxies`. **Writes** `notes.client`, the head's scheme. **Called by** `phases` (identify).
//!
//! Invariants
//! 1. The client is the last address in the list that is not a trusted proxy: everything left of it is hearsay.
//! 2. After this step no field of the request claims an identity that no trusted proxy vouches for (TRAPS 6).
//! 3. `forwarded` (RFC 7239) is always taken out: two fields for one fact is how they come to differ.
//!
//! Not here: the PROXY protocol (`http::accept`), what goes upstream (the balancing role).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use madang_http::exchange::Exchange;
use madang_wire::request::{RequestHead, Scheme};

/// Addresses looked at from the right of a list; a longer chain of proxies is a mistake or an attack.
const HOPS_MAX: usize = 32;

/// Fields by which programs behind a proxy learn who the client is, beside `x-forwarded-*`.
const CLAIMS: [&str; 8] = [
    "forwarded",
    "x-real-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "remote-user",
    "x-remote-user",
];

/// Settles who the client is. True where the peer is a trusted proxy.
pub(crate) fn identify(exchange: &mut Exchange, trusted: &[IpNet]) -> bool {
    let peer = exchange.connection.peer().ip().to_canonical();
    if !is_trusted(peer, trusted) {
        remove_claims(&mut exchange.head);
        return false;
    }
    exchange.notes.client = Some(client(peer, &exchange.head, trusted));
    // Written by the outermost proxy, which alone saw how the client came.
    match exchange.head.get("x-forwarded-proto") {
        Some(b"https") => exchange.head.set_scheme(Scheme::Https),
        Some(b"http") => exchange.head.set_scheme(Scheme::Http),
        _ => {}
    }
    exchange.head.remove_field("forwarded");
    true
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

fn client(peer: IpAddr, head: &RequestHead, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let mut hops = 0;
    // Several fields are one list; the nearest proxy wrote at the very end.
    let mut fields: [&[u8]; 8] = [b""; 8];
    let mut count = 0;
    for field in head.get_all("x-forwarded-for") {
        if count == fields.len() {
            fields.rotate_left(1);
        } else {
            count += 1;
        }
        fields[count - 1] = field;
    }
    for field in fields[..count].iter().rev() {
        for hop in field.rsplit(|byte| *byte == b',') {
            hops += 1;
            let Some(address) = address(hop).filter(|_| hops <= HOPS_MAX) else { return client };
            client = address;
            if !is_trusted(address, trusted) {
                return client;
            }
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

fn remove_claims(head: &mut RequestHead) {
    let claims = |name: &str| {
        matches!(name.as_bytes().first(), Some(b'x' | b'f' | b't' | b'c' | b'r'))
            && (name.starts_with("x-forwarded-") || CLAIMS.contains(&name))
    };
    // Nearly every request has none: one look, nothing changed. What is found is taken out by name.
    loop {
        let found = head.fields().map(|(name, _)| name).find(|name| claims(name)).map(str::to_owned);
        match found {
            Some(name) => head.remove_field(&name),
            None => return,
        }
    }
}

/// Whether an id that came from a trusted proxy is one that can be passed on and logged as it is.
pub(crate) fn is_request_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{connection, exchange_on, head};

    fn trusted() -> Vec<IpNet> {
        ["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap()).to_vec()
    }

    // Goal: the client is who the last trusted proxy saw, and nobody else can choose it.
    // Method: peers, lists as forged and as honest, the client believed.
    #[test]
    fn the_client_is_whom_the_last_trusted_proxy_saw() {
        check("192.0.2.9", &[], "192.0.2.9");
        check("192.0.2.9", &["203.0.113.1"], "192.0.2.9");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.1"], "203.0.113.1");
        check("10.0.0.1", &["203.0.113.1:5000"], "203.0.113.1");
        check("10.0.0.1", &["6.6.6.6, 203.0.113.1, 10.0.0.2"], "203.0.113.1");
        check("10.0.0.1", &["6.6.6.6", "203.0.113.1", "10.0.0.2"], "203.0.113.1");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["nonsense"], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.1, nonsense, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[""], "10.0.0.1");
        check("10.0.0.1", &["[2001:db8::7]:80"], "2001:db8::7");
        check("10.0.0.1", &["2001:db8::7, 2001:db8:1::1"], "2001:db8::7");
        check("10.0.0.1", &["::ffff:203.0.113.1"], "203.0.113.1");
        check("::ffff:10.0.0.1", &["203.0.113.1"], "203.0.113.1");
        check("10.0.0.1", &["a", "b", "c", "d", "e", "f", "g", "h", "203.0.113.1"], "203.0.113.1");
        check("10.0.0.1", &[&["10.0.0.2"; 40].join(",")], "10.0.0.2");

        #[track_caller]
        fn check(peer: &str, list: &[&str], want: &str) {
            let fields: Vec<_> = list.iter().map(|value| ("X-Forwarded-For", *value)).collect();
            let peer = SocketAddr::new(peer.parse().unwrap(), 1).to_string();
            let mut exchange =
                exchange_on(&connection(&peer, "http://t"), head("GET", "a.example", "/", &fields));
            identify(&mut exchange, &trusted());
            assert_eq!(exchange.client().to_canonical().to_string(), want);
        }
    }

    // Goal: what claims an identity stays only where a trusted proxy vouches for it.
    #[test]
    fn claims_of_strangers_are_taken_out() {
        check("192.0.2.9:1", Scheme::Http, "accept x-other");
        check(
            "10.0.0.1:1",
            Scheme::Https,
            "accept x-forwarded-proto x-forwarded-for x-real-ip remote-user x-other",
        );

        #[track_caller]
        fn check(peer: &str, scheme: Scheme, want: &str) {
            let fields = [
                ("Accept", "*/*"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-For", "203.0.113.1"),
                ("Forwarded", "for=6.6.6.6"),
                ("X-Real-IP", "6.6.6.6"),
                ("Remote-User", "root"),
                ("X-Other", "1"),
            ];
            let mut exchange =
                exchange_on(&connection(peer, "http://t"), head("GET", "a.example", "/", &fields));
            identify(&mut exchange, &trusted());
            let left: Vec<&str> = exchange.head.fields().map(|(name, _)| name).collect();
            assert_eq!((exchange.head.scheme(), left.join(" ").as_str()), (scheme, want));
        }
    }
}
