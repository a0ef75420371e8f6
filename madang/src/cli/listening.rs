//! Who listens on this machine, as far as /proc tells.
//!
//! **Job.** Read the kernel's tables of sockets and find the processes behind them. **Called by** `doctor`, `firewall`.
//! **Reads** /proc (proc_net(5), proc_pid_fd(5)). **Calls** nothing of ours.
//!
//! Invariants
//! 1. Processes of others are seen by root only; what is not seen is `None`, not an error.
//!
//! Not here: what is to be done about them (`doctor`, `firewall`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A port's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Tcp { "tcp" } else { "udp" })
    }
}

/// A socket that takes what comes from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
    /// The name and number of one process that holds it.
    pub(super) process: Option<(String, u32)>,
}

/// Every one of them.
pub(super) fn all() -> Vec<Listening> {
    let owners = owners();
    let mut found = Vec::new();
    for (protocol, file) in
        [(Protocol::Tcp, "tcp"), (Protocol::Tcp, "tcp6"), (Protocol::Udp, "udp"), (Protocol::Udp, "udp6")]
    {
        let table = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        found.extend(parse(protocol, &table).into_iter().map(|(address, inode)| Listening {
            protocol,
            address,
            process: owners.get(&inode).cloned(),
        }));
    }
    found
}

/// Addresses and inodes of a table. TCP: those that listen; UDP: those without a peer.
fn parse(protocol: Protocol, table: &str) -> Vec<(SocketAddr, u64)> {
    let wanted = if protocol == Protocol::Tcp { "0A" } else { "07" };
    let of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let inode = words.get(9)?.parse().ok()?;
        (*words.get(3)? == wanted).then_some((address(words.get(1)?)?, inode))
    };
    table.lines().skip(1).filter_map(of).collect()
}

/// `0100007F:1F90`: words of 32 bits in this machine's order of bytes.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Sockets' inodes, and the process with the lowest number that holds each.
fn owners() -> BTreeMap<u64, (String, u32)> {
    let mut found: BTreeMap<u64, (String, u32)> = BTreeMap::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(number) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(link) = std::fs::read_link(descriptor.path()) else { continue };
            let inode =
                link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            let Some(inode) = inode else { continue };
            if found.get(&inode).is_none_or(|(_, have)| number < *have) {
                let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                found.insert(inode, (name.trim().to_owned(), number));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the kernel's table is read as it is. Method: lines as a kernel of a little-endian machine writes them; then
    // sockets of our own, which must be found with our number.
    #[test]
    fn the_kernels_tables_are_read() {
        if cfg!(target_endian = "little") {
            assert_eq!(address("0100007F:1F90"), Some("127.0.0.1:8080".parse().unwrap()));
            let v6 = "00000000000000000000000001000000:0050";
            assert_eq!(address(v6), Some("[::1]:80".parse().unwrap()));
        }
        for broken in ["", "0100007F", "01:1F90", "0100007F:XX"] {
            assert_eq!(address(broken), None, "{broken}");
        }
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let all = all();
        for (protocol, address) in
            [(Protocol::Tcp, tcp.local_addr().unwrap()), (Protocol::Udp, udp.local_addr().unwrap())]
        {
            let found = all.iter().find(|one| one.protocol == protocol && one.address == address);
            assert_eq!(found.unwrap().process.as_ref().unwrap().1, std::process::id());
        }
    }
}
