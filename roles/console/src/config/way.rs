//! `send`: where an alert is told.
//!
//! **Job.** Read the ways and the secret that signs webhooks. **Called by** `config`. **Calls** `settings`, `host::file`.
//!
//! Invariants
//! 1. A webhook's path and query are shown nowhere: with many services they are the password. Nor is the secret.
//!
//! Not here: sending (`alert::send`).

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use madang_host::file;
use madang_http::upstream::webhook::SECRET_BYTES_MIN;
pub use madang_http::upstream::webhook::Secret;
use madang_http::url::Url;
use madang_settings::reader::Reader;
use madang_settings::tree::{Node, Value};

/// The largest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;
/// Ways of one alert.
const WAYS_MAX: usize = 16;

/// Where it is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Way {
    /// The server's own log.
    Log,
    /// A POST of JSON.
    Webhook(Webhook),
    /// A program that reads the same JSON.
    Program(Vec<String>),
}

/// A webhook.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Webhook {
    /// Where it is.
    pub url: Url,
    /// What signs it.
    pub secret: Option<Secret>,
}

pub(super) fn read_secret(r: &mut Reader<'_>, path: &Path) -> Option<Secret> {
    let text = match file::read_text(path, SECRET_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => {
            r.error("secret_file", format!("cannot read {}: {error}", path.display()), None);
            return None;
        }
    };
    if std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
        let help = Some(format!("chmod 600 {}", path.display()));
        r.error("secret_file", format!("{} can be read by others than its owner", path.display()), help);
    }
    let secret = Secret::parse(text.trim());
    if secret.is_none() {
        let help = Some("for example: openssl rand -hex 32".to_owned());
        let message = format!(
            "{} holds no secret of {SECRET_BYTES_MIN} bytes or more (behind whsec_ it is base64)",
            path.display()
        );
        r.error("secret_file", message, help);
    }
    secret
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("authority", &self.url.authority).finish_non_exhaustive()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str("log"),
            Self::Webhook(hook) => write!(f, "webhook {}", hook.url.authority),
            // Its arguments may hold a key.
            Self::Program(run) => write!(f, "program {}", run.first().map_or("", String::as_str)),
        }
    }
}

impl Webhook {
    /// `https://host[:port]/path?query`; the error says what is wrong, without the URL.
    fn parse(url: &str, secret: Option<&Secret>) -> Result<Self, &'static str> {
        Ok(Self { url: Url::parse(url)?, secret: secret.cloned() })
    }
}

/// Reads `send`.
pub(super) fn read(r: &mut Reader<'_>, secret: Option<&Secret>) -> Vec<Way> {
    const EXAMPLE: &str = "for example send = \"webhook https://…\", send = \"log\", send = [\"notify\", \"admin\"], or a list of such";
    let Some(node) = r.node("send") else {
        r.error("send", "`send` is missing: where it is told", Some(EXAMPLE.to_owned()));
        return Vec::new();
    };
    let mut ways = Vec::new();
    let mut each = |r: &mut Reader<'_>, node: &Node| match one(node, secret) {
        Ok(way) => {
            if let Way::Webhook(hook) = &way
                && !hook.url.secure
                && !hook.url.is_near()
            {
                let key = r.key_path("send");
                let help = Some("use https://".to_owned());
                let message = format!("alerts go to {} in the clear", hook.url.authority);
                r.report.warn(node.mark, &key, message, help);
            }
            ways.push(way);
        }
        Err(message) => {
            let key = r.key_path("send");
            r.report.error(node.mark, &key, message, Some(EXAMPLE.to_owned()));
        }
    };
    match &node.value {
        Value::List(list) if is_program(list) => each(r, node),
        Value::List(list) => list.iter().for_each(|node| each(r, node)),
        _ => each(r, node),
    }
    if let Value::List(list) = &node.value
        && (list.is_empty() || list.len() > WAYS_MAX)
    {
        r.error("send", format!("1 to {WAYS_MAX} ways, not {}", list.len()), Some(EXAMPLE.to_owned()));
    }
    ways
}

fn is_way(text: &str) -> bool {
    text == "log" || text.split_whitespace().next() == Some("webhook")
}

/// A list of words that begins with none of ours is a program and its arguments.
fn is_program(list: &[Node]) -> bool {
    let text = |node: &Node| match &node.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    let all: Option<Vec<String>> = list.iter().map(text).collect();
    all.is_some_and(|all| all.first().is_some_and(|first| !is_way(first)))
}

fn one(node: &Node, secret: Option<&Secret>) -> Result<Way, String> {
    match &node.value {
        Value::Text(text) if text == "log" => Ok(Way::Log),
        Value::Text(text) if is_way(text) => {
            let mut words = text.split_whitespace().skip(1);
            let (Some(url), None) = (words.next(), words.next()) else {
                return Err("behind `webhook` stands one URL".to_owned());
            };
            // The URL itself is not shown.
            Webhook::parse(url, secret).map(Way::Webhook).map_err(|why| format!("the webhook's URL: {why}"))
        }
        Value::List(list) if is_program(list) => {
            let words: Vec<String> = list
                .iter()
                .filter_map(|node| match &node.value {
                    Value::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect();
            match words.iter().any(|word| word.contains('\0')) || words[0].is_empty() {
                true => Err("an argument cannot hold a NUL character, and a program has a name".to_owned()),
                false => Ok(Way::Program(words)),
            }
        }
        _ => Err(format!("{} is no way to tell somebody", node.shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what a webhook is shown as holds nothing that lets others post. How its URL is read: `madang_http::url`.
    #[test]
    fn a_webhook_shows_no_secret() {
        let hook = Way::Webhook(Webhook::parse("https://h/very-secret", None).unwrap());
        assert!(!format!("{hook} {hook:?}").contains("very-secret"));
    }
}
