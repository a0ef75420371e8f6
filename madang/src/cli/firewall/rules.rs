//! The words of the packet filter.
//!
//! **Job.** Say to nft(8) which ports are open: those of the settings and ssh's. Pure. **Called by** `firewall`, `doctor`.
//! **Calls** nothing.
//!
//! Invariants
//! 1. Only the table `inet madang` is named: no other table is touched, replaced or read.
//! 2. It is one transaction: the old table goes and the new one comes, or nothing changes.
//! 3. Only what comes in is judged. What is passed on (containers, routers) is none of its business.
//!
//! Not here: loading it (`apply`), which port ssh has (`ssh`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use madang_host::net::listen::Address;

use crate::cli::install::Facts;
use crate::cli::listening::{Listening, Protocol};

/// An open port: everywhere, or on one address of the machine.
pub(in crate::cli) type Open = (Protocol, Option<IpAddr>, u16);

/// What is to be open. Addresses that others cannot reach are left out.
pub(in crate::cli) fn open(facts: &Facts, ssh: &[u16]) -> BTreeSet<Open> {
    let mut all: BTreeSet<Open> = ssh.iter().map(|port| (Protocol::Tcp, None, *port)).collect();
    let admin = facts.admin.map(Address::Tcp);
    for address in facts.listen.iter().chain(&admin) {
        let (protocol, address) = match address {
            Address::Tcp(address) => (Protocol::Tcp, address),
            Address::Udp(address) => (Protocol::Udp, address),
            Address::Unix(_) => continue,
        };
        if !address.ip().is_loopback() {
            let at = Some(address.ip()).filter(|ip| !ip.is_unspecified());
            all.insert((protocol, at, address.port()));
        }
    }
    all
}

/// Who listens now for others and would not be heard any more.
pub(in crate::cli) fn closed(open: &BTreeSet<Open>, listening: &[Listening]) -> Vec<String> {
    let hidden = |one: &&Listening| {
        let (ip, port) = (one.address.ip(), one.address.port());
        // Clients of DHCP are let through.
        let dhcp = one.protocol == Protocol::Udp && matches!(port, 68 | 546);
        let heard =
            open.contains(&(one.protocol, None, port)) || open.contains(&(one.protocol, Some(ip), port));
        !ip.is_loopback() && !heard && !dhcp
    };
    let shown = |one: &Listening| match &one.process {
        Some((name, _)) => format!("{}/{} ({name})", one.address.port(), one.protocol),
        None => format!("{}/{}", one.address.port(), one.protocol),
    };
    let all: BTreeSet<String> = listening.iter().filter(hidden).map(shown).collect();
    all.into_iter().collect()
}

/// The whole file for `nft -f`.
pub(in crate::cli) fn words(open: &BTreeSet<Open>) -> String {
    let mut out = "\
# Load: nft -f FILE. Away: nft delete table inet madang. Other tables are not touched.
table inet madang
delete table inet madang
table inet madang {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tiifname \"lo\" accept
\t\tct state { established, related } accept
\t\tct state invalid drop
\t\t# Errors that connections need (the size of packets on the way) and ping.
\t\ticmp type { destination-unreachable, time-exceeded, parameter-problem, echo-request } accept
\t\ticmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request } accept
\t\t# Neighbours and routers of IPv6, from this link only: they are sent with this hop limit and no other.
\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, nd-redirect } ip6 hoplimit 255 accept
\t\ticmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept
\t\t# Answers to this machine's own question for an address.
\t\tudp sport 67 udp dport 68 accept
\t\tip6 saddr fe80::/10 udp sport 547 udp dport 546 accept
"
    .to_owned();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let everywhere: Vec<String> = open
            .iter()
            .filter(|(of, at, _)| *of == protocol && at.is_none())
            .map(|(_, _, port)| port.to_string())
            .collect();
        // Writing to a string cannot fail.
        let _ = match &everywhere[..] {
            [] => Ok(()),
            [one] => writeln!(out, "\t\t{protocol} dport {one} accept"),
            many => writeln!(out, "\t\t{protocol} dport {{ {} }} accept", many.join(", ")),
        };
        for (_, at, port) in open.iter().filter(|(of, _, _)| *of == protocol) {
            let Some(at) = at else { continue };
            let family = if at.is_ipv4() { "ip" } else { "ip6" };
            let _ = writeln!(out, "\t\t{family} daddr {at} {protocol} dport {port} accept");
        }
    }
    out.push_str("\t}\n}\n");
    out
}

/// `madang-firewall.service`: the table at every start of the machine, before the network is there.
pub(in crate::cli) fn unit(rules: &std::path::Path) -> String {
    let rules = rules.display();
    format!(
        "[Unit]\n\
         Description=Packet filter of Madang: its ports and ssh's are open\n\
         DefaultDependencies=no\n\
         Wants=network-pre.target\n\
         Before=network-pre.target shutdown.target\n\
         # That one begins by removing every table there is.\n\
         After=local-fs.target nftables.service\n\
         Conflicts=shutdown.target\n\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=nft -f {rules}\n\
         ExecReload=nft -f {rules}\n\
         ExecStop=-nft delete table inet madang\n\n\
         [Install]\n\
         WantedBy=sysinit.target\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(listen: &[Address]) -> Facts {
        Facts { listen: listen.to_vec(), ..Facts::default() }
    }

    // Goal: every address that others can reach is opened as narrowly as it listens, and nothing else is.
    #[test]
    fn exactly_what_listens_is_open() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        let listen = [
            tcp("0.0.0.0:80"),
            tcp("[::]:80"),
            tcp("127.0.0.1:9000"),
            tcp("[::1]:9001"),
            tcp("10.0.0.5:8443"),
            Address::Udp("[2001:db8::1]:53".parse().unwrap()),
            Address::Unix("/run/site.sock".into()),
        ];
        let facts = Facts { admin: Some("0.0.0.0:9900".parse().unwrap()), ..facts(&listen) };
        let words = words(&open(&facts, &[22]));
        let of_ports: Vec<&str> =
            words.lines().skip_while(|line| !line.contains("udp dport 546")).skip(1).collect();
        assert_eq!(
            of_ports,
            [
                "\t\ttcp dport { 22, 80, 9900 } accept",
                "\t\tip daddr 10.0.0.5 tcp dport 8443 accept",
                "\t\tip6 daddr 2001:db8::1 udp dport 53 accept",
                "\t}",
                "}"
            ]
        );
        // Invariant 1.
        let tables: Vec<&str> =
            words.lines().filter(|line| line.trim_start_matches("delete ").starts_with("table ")).collect();
        assert!(
            tables.iter().all(|line| line.contains("table inet madang")) && tables.len() == 3,
            "{tables:?}"
        );
        assert!(!words.contains("flush ruleset"));
    }

    // Goal: who would be cut off is told; who is local, opened or a client of DHCP is not.
    #[test]
    fn what_will_be_closed_is_known_before() {
        let one = |protocol, address: &str, name: &str| Listening {
            protocol,
            address: address.parse().unwrap(),
            process: Some((name.to_owned(), 7)),
        };
        let listening = [
            one(Protocol::Tcp, "0.0.0.0:22", "sshd"),
            one(Protocol::Tcp, "0.0.0.0:5432", "postgres"),
            one(Protocol::Tcp, "[::]:5432", "postgres"),
            one(Protocol::Tcp, "127.0.0.1:6379", "redis"),
            one(Protocol::Udp, "0.0.0.0:68", "dhclient"),
            one(Protocol::Tcp, "10.0.0.5:8443", "madang"),
            one(Protocol::Tcp, "10.0.0.6:8443", "other"),
        ];
        let open = open(&facts(&[Address::Tcp("10.0.0.5:8443".parse().unwrap())]), &[22]);
        assert_eq!(closed(&open, &listening), ["5432/tcp (postgres)", "8443/tcp (other)"]);
    }
}
