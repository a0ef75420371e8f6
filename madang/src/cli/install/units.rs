//! The words of `madang.service` and `madang.socket`.
//!
//! **Job.** Say to systemd what the settings need and nothing more (systemd.service(5), systemd.socket(5), systemd.exec(5)).
//! Pure. **Called by** `install`, `doctor`. **Calls** nothing.
//!
//! Invariants
//! 1. The same settings give the same words: what has not changed is not written again.
//! 2. What an app may need (namespaces, memory that is written and run) is forbidden only where there are no apps.
//!
//! Why the ports are systemd's: while Madang restarts they stay open, and whoever connects waits instead of being refused
//! (docs/decisions/0018-a-service-of-systemd.md).
//!
//! Not here: writing them (`journal`).

use std::fmt::Write as _;
use std::path::Path;

use madang_host::net::listen::Address;

use super::facts::Facts;

/// Who installs what.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Service<'a> {
    /// The program.
    pub(in crate::cli) program: &'a Path,
    /// The settings.
    pub(in crate::cli) settings: &'a Path,
    /// The file of its environment.
    pub(in crate::cli) environment: &'a Path,
    /// The user it runs as, where it need not be root.
    pub(in crate::cli) user: &'a str,
    /// What the settings ask for.
    pub(in crate::cli) facts: &'a Facts,
}

/// `madang.service`.
pub(in crate::cli) fn service(of: &Service<'_>) -> String {
    let facts = of.facts;
    let (program, settings) = (argument(of.program), argument(of.settings));
    let socket = if facts.listen.is_empty() { "" } else { " madang.socket" };
    let mut out = format!(
        "[Unit]\n\
         Description=Madang, the server of {shown}\n\
         Wants=network-online.target\n\
         After=network-online.target nss-user-lookup.target{socket}\n",
        shown = escaped(&of.settings.to_string_lossy()),
    );
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    if !facts.listen.is_empty() {
        line("Requires=madang.socket");
    }
    line("\n[Service]\nType=notify");
    line(&format!("ExecStart={program} run -c {settings}"));
    line(
        "# Waits for the answer: `systemctl reload` fails when the settings have errors, and nothing has changed then.",
    );
    line(&format!("ExecReload={program} reload -c {settings}"));
    line(&format!(
        "WorkingDirectory={}",
        escaped(&of.settings.parent().unwrap_or(Path::new("/")).to_string_lossy())
    ));
    line(&format!("EnvironmentFile=-{}", escaped(&of.environment.to_string_lossy())));
    line("Restart=always\nRestartSec=5s");
    line("# Every worker has to take its turn within this time, or the server is ended and started again.");
    line("WatchdogSec=30s\nTimeoutStartSec=90s");
    line(&format!("TimeoutStopSec={}s", facts.stop_within.as_secs()));
    line(
        "# Told to stop, Madang ends its apps in order; what is left after that, or after a crash, is killed.",
    );
    line("KillMode=mixed");
    line(&format!("LimitNOFILE={}", facts.open_files.max(65_536)));
    line("# The control groups below the service are Madang's: it limits apps with them.\nDelegate=yes");
    rights(of, &mut line);
    sandbox(facts, &mut line);
    line("\n[Install]\nWantedBy=multi-user.target");
    if !facts.listen.is_empty() {
        line("Also=madang.socket");
    }
    out
}

/// Who it is and what it may.
fn rights(of: &Service<'_>, line: &mut impl FnMut(&str)) {
    let facts = of.facts;
    line("");
    if facts.needs_root(of.user) {
        line(
            "# root, because apps run as other users or see folders read-only. No more of it than that takes.",
        );
        let mount = if facts.read_only { " CAP_SYS_ADMIN" } else { "" };
        line(&format!(
            "CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_FOWNER \
             CAP_DAC_OVERRIDE CAP_SYS_RESOURCE{mount}"
        ));
    } else {
        line(&format!("User={}", of.user));
        if facts.low_ports() {
            line("AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE");
        } else {
            line("CapabilityBoundingSet=");
        }
    }
    if facts.gains_rights {
        line("# NoNewPrivileges=yes is left out: an app has no_new_privs = false.");
    } else {
        line("NoNewPrivileges=yes");
    }
    line("UMask=0027");
}

/// What it does not see and cannot do.
fn sandbox(facts: &Facts, line: &mut impl FnMut(&str)) {
    line("\nProtectSystem=strict");
    // `-`: a folder that went away is not the reason why nothing starts; the settings' check says it better.
    let writable: Vec<String> = facts.writable.iter().map(|path| format!("-{}", argument(path))).collect();
    line(&format!("ReadWritePaths={}", writable.join(" ")));
    line(if facts.homes { "ProtectHome=read-only" } else { "ProtectHome=yes" });
    if facts.temporary {
        line("# PrivateTmp=yes is left out: the settings name something below /tmp or /var/tmp.");
    } else {
        line("PrivateTmp=yes");
    }
    line("PrivateDevices=yes\nProtectClock=yes\nProtectHostname=yes\nProtectKernelLogs=yes");
    line("ProtectKernelModules=yes\nProtectKernelTunables=yes\nLockPersonality=yes\nRestrictRealtime=yes");
    line("RestrictSUIDSGID=yes\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK");
    line("SystemCallArchitectures=native");
    if facts.apps {
        line(
            "# Apps may be anything: what follows elsewhere (no new namespaces, no memory written and run) is not for them.",
        );
    } else {
        line(
            "ProtectControlGroups=yes\nProtectProc=invisible\nMemoryDenyWriteExecute=yes\nRestrictNamespaces=yes",
        );
        line("RemoveIPC=yes\nSystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM");
    }
}

/// `madang.socket`; `None` when the settings have no address that could be kept.
pub(in crate::cli) fn socket(facts: &Facts, user: &str) -> Option<String> {
    if facts.listen.is_empty() {
        return None;
    }
    let mut out = "[Unit]\nDescription=The ports of Madang, open while it restarts\n\n[Socket]\n".to_owned();
    let (mut unix, mut special) = (false, false);
    for address in &facts.listen {
        // Writing to a string cannot fail.
        let _ = match address {
            Address::Tcp(ip) => writeln!(out, "ListenStream={ip}"),
            Address::Udp(ip) => writeln!(out, "ListenDatagram={ip}"),
            Address::Unix(path) => writeln!(out, "ListenStream={}", escaped(&path.to_string_lossy())),
        };
        unix |= matches!(address, Address::Unix(_));
        special |= matches!(address, Address::Tcp(ip) | Address::Udp(ip)
            if !ip.ip().is_unspecified() && !ip.ip().is_loopback());
    }
    out.push_str(
        "# [::] is IPv6 only, as in Madang's settings.\nBindIPv6Only=ipv6-only\nBacklog=4096\nNoDelay=yes\n",
    );
    if special {
        out.push_str("# An address may come to the machine later than the ports are opened.\nFreeBind=yes\n");
    }
    if unix {
        let _ = write!(out, "SocketUser={user}\nSocketMode=0666\nRemoveOnStop=yes\n");
    }
    out.push_str("Service=madang.service\n\n[Install]\nWantedBy=sockets.target\n");
    Some(out)
}

/// The addresses that a socket unit keeps, in its order.
pub(in crate::cli) fn kept(unit: &str) -> Vec<String> {
    let of = |line: &str| {
        let tcp = line.strip_prefix("ListenStream=").map(str::to_owned);
        tcp.or_else(|| Some(format!("udp:{}", line.strip_prefix("ListenDatagram=")?)))
    };
    unit.lines().filter_map(of).collect()
}

/// `%` begins a specifier nearly everywhere (systemd.unit(5)).
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a command line or of a list of paths.
fn argument(path: &Path) -> String {
    let text = escaped(&path.to_string_lossy());
    if text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b'%' | b'@' | b'+'))
    {
        return text;
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(listen: &[&str]) -> Facts {
        let tcp = |text: &&str| match text.strip_prefix("udp:") {
            Some(udp) => Address::Udp(udp.parse().unwrap()),
            None if text.starts_with('/') => Address::Unix(text.into()),
            None => Address::Tcp(text.parse().unwrap()),
        };
        Facts {
            listen: listen.iter().map(tcp).collect(),
            data: "/var/lib/madang".into(),
            writable: vec!["/var/lib/madang".into()],
            ..Facts::default()
        }
    }

    fn written(facts: &Facts) -> String {
        service(&Service {
            program: Path::new("/usr/local/bin/madang"),
            settings: Path::new("/srv/my site/100%/madang.toml"),
            environment: Path::new("/etc/madang/environment"),
            user: "madang",
            facts,
        })
    }

    // Goal: each thing of the settings that systemd must know turns into its line, and only then.
    #[test]
    fn a_unit_asks_for_no_more_than_the_settings_need() {
        check(
            &facts(&["0.0.0.0:8080"]),
            &["CapabilityBoundingSet=\n", "User=madang\n", "NoNewPrivileges=yes"],
            &["Ambient"],
        );
        check(
            &facts(&["0.0.0.0:80"]),
            &["AmbientCapabilities=CAP_NET_BIND_SERVICE\n", "Requires=madang.socket"],
            &[],
        );
        check(&facts(&["udp:[::]:53"]), &["AmbientCapabilities="], &[]);
        check(&facts(&[]), &["ProtectHome=yes", "MemoryDenyWriteExecute=yes"], &["madang.socket"]);
        check(&facts(&[]), &["\nPrivateTmp=yes"], &[]);
        check(&Facts { temporary: true, ..facts(&[]) }, &["below /tmp"], &["\nPrivateTmp=yes"]);
        check(&Facts { homes: true, ..facts(&[]) }, &["ProtectHome=read-only"], &["ProtectHome=yes"]);
        check(
            &Facts { apps: true, ..facts(&[]) },
            &["Delegate=yes"],
            &["MemoryDenyWriteExecute", "ProtectControlGroups"],
        );
        check(&Facts { gains_rights: true, ..facts(&[]) }, &["no_new_privs = false"], &["\nNoNewPrivileges"]);
        let others = Facts { app_users: vec!["www".to_owned()], ..facts(&[]) };
        check(&others, &["CAP_SETUID"], &["User=", "CAP_SYS_ADMIN", "Ambient"]);
        check(
            &Facts { app_users: vec!["madang".to_owned()], ..facts(&[]) },
            &["User=madang"],
            &["CAP_SETUID"],
        );
        check(&Facts { read_only: true, ..facts(&[]) }, &["CAP_SYS_ADMIN"], &["User="]);

        #[track_caller]
        fn check(facts: &Facts, there: &[&str], not: &[&str]) {
            let unit = written(facts);
            assert!(there.iter().all(|text| unit.contains(text)), "{there:?} in {unit}");
            assert!(!not.iter().any(|text| unit.contains(text)), "{not:?} in {unit}");
        }
    }

    // Goal: a path with a space or a per cent sign stays one path.
    #[test]
    fn paths_are_written_as_systemd_reads_them() {
        let unit = written(&facts(&[]));
        assert!(
            unit.contains("ExecStart=/usr/local/bin/madang run -c \"/srv/my site/100%%/madang.toml\"\n"),
            "{unit}"
        );
        assert!(unit.contains("WorkingDirectory=/srv/my site/100%%\n"), "{unit}");
        assert_eq!(argument(Path::new("/a\"$b")), "\"/a\\\"$$b\"");
    }

    // Goal: the socket unit keeps exactly the addresses, and they can be read back.
    #[test]
    fn the_socket_unit_keeps_every_address() {
        let all = facts(&["0.0.0.0:80", "[::]:443", "udp:10.0.0.5:53", "/run/site.sock"]);
        let unit = socket(&all, "www").unwrap();
        assert_eq!(kept(&unit), ["0.0.0.0:80", "[::]:443", "udp:10.0.0.5:53", "/run/site.sock"]);
        assert!(unit.contains("FreeBind=yes") && unit.contains("SocketUser=www"), "{unit}");
        assert!(!socket(&facts(&["0.0.0.0:80"]), "www").unwrap().contains("FreeBind"));
        assert_eq!(socket(&facts(&[]), "www"), None);
    }
}
