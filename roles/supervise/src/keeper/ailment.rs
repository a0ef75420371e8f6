//! What is the matter with an instance that is not well.
//!
//! **Job.** Put into words what its checks said and what can be seen of its process. **Called by** `keeper`. **Calls**
//! `host::process::listening`.
//!
//! Not here: what follows from it (`app`).

use std::net::SocketAddr;

use madang_host::process::listening;
use madang_http::check::Check;

use crate::config::{AppSettings, Give, Ready};

/// What is seen of the instance.
pub(super) struct Seen<'a> {
    /// As a pool writes it.
    pub(super) address: &'a str,
    /// The process.
    pub(super) process: u32,
    /// It said READY=1.
    pub(super) notified: bool,
    /// What its last check said, if it was no good.
    pub(super) check: Option<&'a str>,
    /// It is worth looking at its sockets.
    pub(super) closely: bool,
}

/// In words, as far as anything is known.
pub(super) fn of(settings: &AppSettings, seen: &Seen<'_>) -> Option<String> {
    let Some(check) = seen.check else {
        let silent = settings.ready == Ready::Notify && !seen.notified;
        return silent.then(|| "it has not said READY=1 to NOTIFY_SOCKET".to_owned());
    };
    if check == NO_CONNECTION && seen.closely && settings.health.port.is_none() {
        return Some(elsewhere(settings.program.give, seen.address, &listening::addresses(seen.process)));
    }
    Some(match &settings.health.check {
        Check::Http { path, .. } => format!("its health check GET {path} says: {check}"),
        _ => format!("its health check says: {check}"),
    })
}

/// How the pools say that nobody answered a call.
const NO_CONNECTION: &str = "no connection";

/// Why nobody can connect, from where the process listens.
fn elsewhere(give: Give, address: &str, listens: &[SocketAddr]) -> String {
    let told = match give {
        Give::Port => format!("PORT={}", address.rsplit(':').next().unwrap_or(address)),
        Give::Socket => format!("SOCKET={}", address.strip_prefix("unix:").unwrap_or(address)),
        Give::Listener => {
            return format!("it takes no connections at {address}, which it was given as descriptor 3");
        }
    };
    if listens.is_empty() {
        return format!("it listens nowhere; it was given {told}");
    }
    let listens: Vec<String> = listens.iter().map(SocketAddr::to_string).collect();
    format!("it listens on {}; it was given {told}", listens.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_elsewhere_is_told_where() {
        let (port, other) = ("127.0.0.1:40001", "127.0.0.1:3000".parse().unwrap());
        check(Give::Port, port, &[other], "it listens on 127.0.0.1:3000; it was given PORT=40001");
        check(Give::Port, port, &[], "it listens nowhere; it was given PORT=40001");
        check(Give::Socket, "unix:/a/b", &[other], "it listens on 127.0.0.1:3000; it was given SOCKET=/a/b");
        check(
            Give::Listener,
            port,
            &[],
            "it takes no connections at 127.0.0.1:40001, which it was given as descriptor 3",
        );

        #[track_caller]
        fn check(give: Give, address: &str, listens: &[SocketAddr], want: &str) {
            assert_eq!(elsewhere(give, address, listens), want);
        }
    }
}
