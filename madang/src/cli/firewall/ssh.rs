//! Which ports lead to ssh on this machine: whoever closes them is locked out.
//!
//! **Job.** Take every sign there is; one too many is better than one too few. **Called by** `firewall`, `doctor`.
//! **Reads** who listens, the settings of sshd(8), SSH_CONNECTION. **Calls** `listening`.
//!
//! Not here: opening them (`rules`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::install::Place;
use crate::cli::listening::{self, Protocol};

/// Where ssh listens unless it is told otherwise.
const USUAL: u16 = 22;
/// Programs that are one.
const NAMES: [&str; 2] = ["sshd", "dropbear"];

/// Every port that leads there, 22 when nothing tells.
pub(in crate::cli) fn ports(place: &Place) -> Vec<u16> {
    let mut found = BTreeSet::new();
    let mut files = vec![PathBuf::from("/etc/ssh/sshd_config")];
    for folder in
        ["/etc/ssh/sshd_config.d", "/etc/systemd/system/ssh.socket.d", "/etc/systemd/system/sshd.socket.d"]
    {
        let entries = std::fs::read_dir(place.here(Path::new(folder)));
        files.extend(
            entries.into_iter().flatten().flatten().map(|entry| Path::new(folder).join(entry.file_name())),
        );
    }
    for file in files {
        found.extend(written(&std::fs::read_to_string(place.here(&file)).unwrap_or_default()));
    }
    if place.is_here() {
        let listens = listening::all().into_iter().filter(|one| one.protocol == Protocol::Tcp);
        found.extend(listens.filter_map(|one| {
            let (name, _) = one.process?;
            NAMES.contains(&name.as_str()).then_some(one.address.port())
        }));
        // Client's address and port, ours: whoever types this came in by it.
        let session = std::env::var("SSH_CONNECTION").unwrap_or_default();
        found.extend(session.split(' ').nth(3).and_then(|port| port.parse::<u16>().ok()));
    }
    if found.is_empty() {
        found.insert(USUAL);
    }
    found.into_iter().collect()
}

/// Ports in settings of sshd (`Port 2222`, `ListenAddress host:2222`) or of a socket unit (`ListenStream=2222`).
fn written(text: &str) -> Vec<u16> {
    let of = |line: &str| {
        let (key, value) = line.trim().split_once(|c: char| c.is_whitespace() || c == '=')?;
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "port" => value.parse().ok(),
            "listenstream" | "listenaddress" => {
                // An address of IPv6 without brackets has no port.
                let bare = value.matches(':').count() > 1 && !value.starts_with('[');
                let port = if bare { value } else { value.rsplit(':').next()? };
                port.trim().parse().ok()
            }
            _ => None,
        }
    };
    text.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every way to write a port is found, comments and addresses without one are none.
    #[test]
    fn the_port_of_ssh_is_found_as_written() {
        check("Port 2222\n#Port 22\nport\t2022", &[2222, 2022]);
        check(
            "ListenAddress 0.0.0.0:2200\nListenAddress [::]:2201\nListenAddress ::1\nListenAddress 10.0.0.1",
            &[2200, 2201],
        );
        check("[Socket]\nListenStream=\nListenStream=0.0.0.0:8022\nListenStream=24", &[8022, 24]);
        check("PermitRootLogin no\nPort 99999", &[]);

        #[track_caller]
        fn check(text: &str, want: &[u16]) {
            assert_eq!(written(text), want);
        }
        let tree = tempfile::TempDir::new().unwrap();
        let place = Place::new(Some(tree.path()), Path::new("/usr/local"));
        assert_eq!(ports(&place), [22]);
        std::fs::create_dir_all(tree.path().join("etc/ssh/sshd_config.d")).unwrap();
        std::fs::write(tree.path().join("etc/ssh/sshd_config.d/port.conf"), "Port 2222\n").unwrap();
        assert_eq!(ports(&place), [2222]);
    }
}
