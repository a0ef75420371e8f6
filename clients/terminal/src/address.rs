//! Where the other side is.
//!
//! **Job.** Read what stands on the command line: `tcp://HOST:PORT`, `tls://HOST:PORT`, `unix:PATH` for a talk; `https://HOST/PATH/`
//! and its like for a chat. **Called by** the command line, `connect`.
//!
//! Not here: names to addresses (`connect`), what is spoken there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A way to the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// TCP, and TLS over it where `tls` says so.
    Tcp {
        /// A name or an IP address, the latter without brackets.
        host: String,
        /// 1 to 65535; 0 only to listen on any free one.
        port: u16,
        /// Whether TLS is spoken.
        tls: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why something is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnAddress {
    /// As written.
    pub text: String,
    /// What was wrong.
    pub why: &'static str,
}

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.text, self.why)
    }
}
impl std::error::Error for NotAnAddress {}

/// A chat of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatUrl {
    /// How to get there.
    pub way: Way,
    /// What the server is asked for: `example.org` or `example.org:8080`.
    pub host: String,
    /// Where the websocket is: `/chat/ws`.
    pub path: String,
}

impl fmt::Display for ChatUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(self.way, Way::Tcp { tls: true, .. }) { "https" } else { "http" };
        let path = self.path.strip_suffix("ws").unwrap_or(&self.path);
        match &self.way {
            Way::Unix(socket) => write!(f, "http://unix:{}:{path}", socket.display()),
            Way::Tcp { .. } => write!(f, "{scheme}://{}{path}", self.host),
        }
    }
}

const CHAT_FORMS: &str =
    "write https://HOST/PATH/ (the address of the chat's page), or http://unix:SOCKET:/PATH/";
const TALK_FORMS: &str = "write tcp://HOST:PORT, tls://HOST:PORT or unix:PATH";
const LISTEN_FORMS: &str = "write IP:PORT (127.0.0.1:7000), only a PORT, tls://IP:PORT or unix:PATH";

impl Way {
    /// The other side of a one-to-one talk.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn to_talk(text: &str) -> Result<Self, NotAnAddress> {
        let fail = |why| NotAnAddress { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path).ok_or_else(|| fail("the path is missing"));
        }
        let (rest, tls) = match (text.strip_prefix("tcp://"), text.strip_prefix("tls://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err(fail(TALK_FORMS)),
        };
        let (host, port) =
            host_and_port(rest.strip_suffix('/').unwrap_or(rest)).ok_or_else(|| fail(TALK_FORMS))?;
        match port {
            None => Err(fail("the port is missing: tcp://HOST:PORT")),
            Some(0) => Err(fail("there is no port 0 to connect to")),
            Some(port) => Ok(Self::Tcp { host, port, tls }),
        }
    }

    /// Where to wait for the other side: [`Way::Tcp`] has an IP address as its host.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn to_listen(text: &str) -> Result<Self, NotAnAddress> {
        let fail = |why| NotAnAddress { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path).ok_or_else(|| fail("the path is missing"));
        }
        let (text, tls) = match text.strip_prefix("tls://") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("tcp://").unwrap_or(text), false),
        };
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let address = match (text.parse::<SocketAddr>(), text.parse::<u16>()) {
            (Ok(address), _) => address,
            (_, Ok(port)) => SocketAddr::new(loopback, port),
            _ => match text.strip_prefix("localhost:").map(str::parse) {
                Some(Ok(port)) => SocketAddr::new(loopback, port),
                _ => return Err(fail(LISTEN_FORMS)),
            },
        };
        Ok(Self::Tcp { host: address.ip().to_string(), port: address.port(), tls })
    }
}

impl ChatUrl {
    /// Whether this is meant to be a chat's address; what else there is, is a talk's.
    pub fn is_meant(text: &str) -> bool {
        ["http://", "https://", "ws://", "wss://"].iter().any(|scheme| text.starts_with(scheme))
    }

    /// The address of a chat's page, or of its websocket.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, NotAnAddress> {
        let fail = |why| NotAnAddress { text: text.to_owned(), why };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail(CHAT_FORMS))?;
        let tls = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(fail(CHAT_FORMS)),
        };
        let (way, host, path) = if let Some(rest) = rest.strip_prefix("unix:") {
            let (socket, path) = rest.split_once(":/").unwrap_or((rest, ""));
            if socket.is_empty() || tls {
                return Err(fail(CHAT_FORMS));
            }
            (Way::Unix(PathBuf::from(socket)), "localhost".to_owned(), format!("/{path}"))
        } else {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if authority.contains('@') {
                return Err(fail("no name and password here; give a token: --token-file FILE"));
            }
            let (host, port) = host_and_port(authority).ok_or_else(|| fail(CHAT_FORMS))?;
            let port = port.unwrap_or(if tls { 443 } else { 80 });
            (Way::Tcp { host, port, tls }, authority.to_owned(), path.to_owned())
        };
        let visible = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '?' | '#');
        if !path.chars().all(visible) {
            return Err(fail("the path holds a character that must be written %XX, a query or a fragment"));
        }
        let path = match path.strip_suffix("/ws") {
            Some(page) => format!("{page}/ws"),
            None => format!("{}/ws", path.trim_end_matches('/')),
        };
        Ok(Self { way, host, path })
    }
}

fn unix(path: &str) -> Option<Way> {
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then(|| Way::Unix(PathBuf::from(path)))
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
pub(crate) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(behind) => behind.split_once(']').filter(|(host, _)| host.contains(':'))?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
    (!host.is_empty() && host.chars().all(sound)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_is_read_from_one_word() {
        check("tcp://127.0.0.1:7000", Ok("127.0.0.1:7000"));
        check("tcp://example.org:7000/", Ok("example.org:7000"));
        check("tls://[::1]:7000", Ok("[::1]:7000"));
        check("unix:/run/talk.sock", Ok("unix:/run/talk.sock"));
        check("unix:///run/talk.sock", Ok("unix:/run/talk.sock"));
        check("tcp://127.0.0.1", Err("the port is missing: tcp://HOST:PORT"));
        check("tcp://127.0.0.1:0", Err("there is no port 0 to connect to"));
        check("tcp://127.0.0.1:70000", Err(TALK_FORMS));
        check("tcp://::1:7000", Err(TALK_FORMS));
        check("tcp://a b:7000", Err(TALK_FORMS));
        check("tcp://:7000", Err(TALK_FORMS));
        check("127.0.0.1:7000", Err(TALK_FORMS));
        check("unix:", Err("the path is missing"));

        #[track_caller]
        fn check(text: &str, want: Result<&str, &str>) {
            let read = Way::to_talk(text);
            assert_eq!(
                read.as_ref().map(ToString::to_string).map_err(|error| error.why),
                want.map(str::to_owned)
            );
        }
    }

    #[test]
    fn a_chat_is_read_from_the_address_of_its_page() {
        check("https://example.org/chat/", Ok("example.org:443 example.org /chat/ws"));
        check("http://example.org:8080/chat", Ok("example.org:8080 example.org:8080 /chat/ws"));
        check("wss://[::1]:8443/chat/ws", Ok("[::1]:8443 [::1]:8443 /chat/ws"));
        check("ws://localhost", Ok("localhost:80 localhost /ws"));
        check("http://unix:/run/site.sock:/chat/", Ok("unix:/run/site.sock localhost /chat/ws"));
        check("http://unix:/run/site.sock", Ok("unix:/run/site.sock localhost /ws"));
        check("https://unix:/run/site.sock:/chat/", Err(CHAT_FORMS));
        check("http:///chat/", Err(CHAT_FORMS));
        check("http://exa mple/", Err(CHAT_FORMS));
        check(
            "http://a/b c",
            Err("the path holds a character that must be written %XX, a query or a fragment"),
        );
        check("http://mina:secret@a/", Err("no name and password here; give a token: --token-file FILE"));
        check("ftp://a/", Err(CHAT_FORMS));

        #[track_caller]
        fn check(text: &str, want: Result<&str, &str>) {
            let read = ChatUrl::read(text);
            let read = read.as_ref().map(|url| format!("{} {} {}", url.way, url.host, url.path));
            assert_eq!(read.map_err(|error| error.why), want.map(str::to_owned));
        }
    }

    #[test]
    fn where_to_listen_is_this_machine_unless_said_otherwise() {
        check("127.0.0.1:7000", Ok("127.0.0.1:7000"));
        check("tcp://0.0.0.0:0", Ok("0.0.0.0:0"));
        check("[::1]:7000", Ok("[::1]:7000"));
        check("7000", Ok("127.0.0.1:7000"));
        check("localhost:7000", Ok("127.0.0.1:7000"));
        check("unix:talk.sock", Ok("unix:talk.sock"));
        check("example.org:7000", Err(LISTEN_FORMS));
        check("tls://127.0.0.1:7000", Ok("tls 127.0.0.1:7000"));
        check("tls://7000", Ok("tls 127.0.0.1:7000"));
        check("tls://tcp://127.0.0.1:7000", Err(LISTEN_FORMS));
        check("tls://unix:talk.sock", Err(LISTEN_FORMS));
        check("", Err(LISTEN_FORMS));

        #[track_caller]
        fn check(text: &str, want: Result<&str, &str>) {
            let read = Way::to_listen(text);
            let told = |way: &Way| match way {
                Way::Tcp { tls: true, .. } => format!("tls {way}"),
                _ => way.to_string(),
            };
            assert_eq!(read.as_ref().map(told).map_err(|error| error.why), want.map(str::to_owned));
        }
    }
}
