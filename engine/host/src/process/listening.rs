//! Where a process listens.
//!
//! **Job.** Say at which TCP addresses a process group accepts connections: what an operator wants to know when a program was
//! told one port and opened another. **Reads** /proc (proc_pid_fd(5), proc_net(5)). **Called by** `roles/supervise`.
//!
//! It looks through all processes of the machine, so it is for failures, not for every second.
//!
//! Not here: unix sockets, network namespaces other than ours.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses told at most; more help nobody.
const ADDRESSES_MAX: usize = 4;
/// The state of a socket that listens, as the kernel writes it.
const LISTENS: &str = "0A";

/// The addresses at which the group of this process listens; empty: nowhere, or it is not ours to look.
pub fn addresses(group: u32) -> Vec<SocketAddr> {
    let inodes = sockets_of_group(group);
    let mut found = BTreeSet::new();
    if !inodes.is_empty() {
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = fs::read_to_string(table).unwrap_or_default();
            found.extend(
                text.lines()
                    .filter_map(listener)
                    .filter_map(|(address, inode)| inodes.contains(inode).then_some(address)),
            );
        }
    }
    found.into_iter().take(ADDRESSES_MAX).collect()
}

/// The inodes of all sockets that members of a process group have open.
fn sockets_of_group(group: u32) -> BTreeSet<String> {
    let mut inodes = BTreeSet::new();
    // Processes come and go while we look: what cannot be read is passed over.
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        if group_of(&stat) != Some(group) {
            continue;
        }
        for open in fs::read_dir(path.join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(open.path()) else { continue };
            let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            inodes.extend(inode.map(str::to_owned));
        }
    }
    inodes
}

/// The process group in a line of /proc/N/stat. The name, which may hold anything, ends at the last bracket.
fn group_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(2)?.parse().ok()
}

/// Address and inode of a line of /proc/net/tcp or tcp6, if it listens.
fn listener(line: &str) -> Option<(SocketAddr, &str)> {
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    if state != LISTENS {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, piece) in bytes.chunks_exact_mut(4).enumerate() {
                let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
                // Four bytes each in the machine's order.
                piece.copy_from_slice(&word.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some((SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?), words.nth(5)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        check(
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1488 1 0",
            Some(("127.0.0.1:8080", "1488")),
        );
        check(
            "   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 9 1",
            Some(("[::1]:8080", "9")),
        );
        check(
            "   1: 0100007F:D6EB 0100007F:B47C 06 00000000:00000000 03:000000CF 00000000     0        0 0 3",
            None,
        );
        check(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            None,
        );
        check("   1: 0100007F", None);
        check("", None);

        #[track_caller]
        fn check(line: &str, want: Option<(&str, &str)>) {
            let want = want.map(|(address, inode)| (address.parse().unwrap(), inode));
            assert_eq!(listener(line), want);
        }
    }

    #[test]
    fn the_group_is_found_behind_any_name() {
        assert_eq!(group_of("12 (a) R (b) S 1 34 5"), Some(34));
        assert_eq!(group_of("12 (a"), None);
    }

    // Goal: what we open ourselves is found, and only while it is open.
    #[test]
    fn our_own_listener_is_found() {
        let group = group_of(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        assert!(!sockets_of_group(group).is_empty());
        let text = fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(text.lines().filter_map(listener).any(|(found, _)| found == address));
        assert!(addresses(u32::MAX).is_empty());
    }
}
