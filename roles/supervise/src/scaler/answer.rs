//! What the program said: from its bytes to servers, or to what is wrong with them.
//!
//! **Job.** Read the answer strictly. Pure. **Called by** `scaler`.
//!
//! Invariants
//! 1. An answer is taken whole or not at all.
//! 2. At most `max` servers, no two with one address, none that the settings have already.
//!
//! Not here: what follows from an answer (`scaler`), what a pool takes for an address (handed in).

use std::fmt;
use std::time::Duration;

use madang_host::process::exit::Exit;
use madang_settings::unit::show_duration;
use serde_json::{Map, Value};

/// Bytes of an answer that are read.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest note, in characters; the rest is cut off.
const NOTE_CHARS_MAX: usize = 400;
/// What of a wrong text is shown, in characters.
const SHOWN_CHARS_MAX: usize = 80;
/// What of its stderr is told with a failure, in characters.
const WORDS_CHARS_MAX: usize = 400;

/// A server that the program gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// As a pool writes it.
    pub address: String,
    /// 1 to 256.
    pub weight: u16,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Everybody who is there.
    pub servers: Vec<Given>,
    /// For people.
    pub note: Option<String>,
}

/// Why there is no answer, or none that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It could not be run.
    NotStarted {
        /// As the kernel says.
        why: String,
    },
    /// It took too long and was killed.
    Late {
        /// What it may take.
        timeout: Duration,
    },
    /// It ended badly.
    Failed {
        /// How.
        exit: Exit,
        /// The end of what it wrote to stderr.
        words: String,
    },
    /// More than [`ANSWER_BYTES_MAX`].
    TooLong,
    /// Not one JSON value.
    NotJson {
        /// What is wrong, where.
        why: String,
    },
    /// A key that means nothing here.
    UnknownKey {
        /// Which.
        key: String,
        /// In what.
        within: String,
    },
    /// Something of another kind than it must be, or not there.
    Wrong {
        /// Where.
        at: String,
        /// What must be there.
        wants: &'static str,
    },
    /// No address of a server.
    BadAddress {
        /// Where.
        at: String,
        /// As it was written.
        text: String,
    },
    /// One that is there already.
    Twice {
        /// Which.
        address: String,
        /// By the settings, not by this answer.
        written: bool,
    },
    /// More than may be.
    TooMany {
        /// So many.
        count: usize,
        /// Of these.
        max: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { why } => write!(f, "it could not be started: {why}"),
            Self::Late { timeout } => {
                write!(f, "it took longer than {} and was killed", show_duration(*timeout))
            }
            Self::Failed { exit, words } if words.is_empty() => {
                write!(f, "it {exit}, saying nothing on stderr")
            }
            Self::Failed { exit, words } => write!(f, "it {exit}, saying: {words}"),
            Self::TooLong => write!(f, "it wrote more than {} KiB", ANSWER_BYTES_MAX / 1024),
            Self::NotJson { why } => write!(f, "what it wrote is not one JSON object: {why}"),
            Self::UnknownKey { key, within } => write!(f, "{within} has an unknown key {key:?}"),
            Self::Wrong { at, wants } => write!(f, "{at} is not {wants}"),
            Self::BadAddress { at, text } => {
                write!(f, "{at}: {text:?} is not the address of a server (for example \"10.0.0.5:3000\")")
            }
            Self::Twice { address, written: false } => write!(f, "{address} is there twice"),
            Self::Twice { address, written: true } => write!(f, "{address} is in the settings already"),
            Self::TooMany { count, max } => write!(f, "{count} servers, at most {max} are taken (max)"),
        }
    }
}

/// What an address is, to whoever will connect to it: the address in its one spelling, `None`: none at all.
pub type Address<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads what was written to stdout. `written`: addresses of the settings.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(stdout: &[u8], max: u32, address: Address<'_>, written: &[String]) -> Result<Answer, Fault> {
    if stdout.len() >= ANSWER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let value = serde_json::from_slice(stdout).map_err(|error| Fault::NotJson { why: error.to_string() })?;
    let Value::Object(answer) = value else { return wrong("the answer", "an object") };
    known(&answer, "the answer", &["servers", "note"])?;
    let Some(Value::Array(list)) = answer.get("servers") else { return wrong("servers", "a list") };
    if list.len() > max as usize {
        return Err(Fault::TooMany { count: list.len(), max });
    }
    let mut servers: Vec<Given> = Vec::with_capacity(list.len());
    for (index, one) in list.iter().enumerate() {
        let given = server(one, &format!("servers[{index}]"), address)?;
        let in_settings = written.contains(&given.address);
        if in_settings || servers.iter().any(|other| other.address == given.address) {
            return Err(Fault::Twice { address: given.address, written: in_settings });
        }
        servers.push(given);
    }
    let note = match answer.get("note") {
        None | Some(Value::Null) => None,
        Some(Value::String(note)) => Some(line(note, NOTE_CHARS_MAX)).filter(|note| !note.is_empty()),
        Some(_) => return wrong("note", "text"),
    };
    Ok(Answer { servers, note })
}

/// What it said on stderr, for people: the last of it, on one line.
pub fn words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let all: Vec<char> = line(text.trim_end(), usize::MAX).chars().collect();
    all[all.len().saturating_sub(WORDS_CHARS_MAX)..].iter().collect()
}

fn server(value: &Value, at: &str, address: Address<'_>) -> Result<Given, Fault> {
    let (text, weight) = match value {
        Value::String(text) => (text, 1),
        Value::Object(server) => {
            known(server, at, &["address", "weight"])?;
            let Some(Value::String(text)) = server.get("address") else {
                return wrong(&format!("{at}.address"), "text");
            };
            let weight = match server.get("weight") {
                None => Some(1),
                Some(weight) => weight.as_u64().and_then(|weight| u16::try_from(weight).ok()),
            };
            let Some(weight) = weight.filter(|weight| (1..=256).contains(weight)) else {
                return wrong(&format!("{at}.weight"), "a whole number from 1 to 256");
            };
            (text, weight)
        }
        _ => return wrong(at, "an address or an object"),
    };
    match address(text) {
        Some(address) => Ok(Given { address, weight }),
        None => Err(Fault::BadAddress { at: at.to_owned(), text: line(text, SHOWN_CHARS_MAX) }),
    }
}

fn known(object: &Map<String, Value>, within: &str, keys: &[&str]) -> Result<(), Fault> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(Fault::UnknownKey { key: line(key, SHOWN_CHARS_MAX), within: within.to_owned() }),
    }
}

fn wrong<T>(at: &str, wants: &'static str) -> Result<T, Fault> {
    Err(Fault::Wrong { at: at.to_owned(), wants })
}

/// Fit for one line of a log.
fn line(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> Option<String> {
        let (host, port) = text.rsplit_once(':')?;
        (port.parse::<u16>().is_ok() && !host.is_empty()).then(|| text.to_ascii_lowercase())
    }

    fn answer(text: &str) -> Result<Answer, Fault> {
        read(text.as_bytes(), 3, &address, &["10.0.0.1:3000".to_owned()])
    }

    #[test]
    fn servers_come_as_texts_or_with_a_weight() {
        let given = |address: &str, weight| Given { address: address.to_owned(), weight };
        let note = |text: &str| Some(text.to_owned());
        check(r#"{"servers": []}"#, &[], None);
        check("\n {\"servers\": [\"a:1\"], \"note\": null}\n", &[given("a:1", 1)], None);
        let both = r#"{"note": "2 are\tbooting", "servers": ["a:1", {"weight": 256, "address": "B:2"}]}"#;
        check(both, &[given("a:1", 1), given("b:2", 256)], note("2 are booting"));

        #[track_caller]
        fn check(text: &str, servers: &[Given], note: Option<String>) {
            assert_eq!(answer(text), Ok(Answer { servers: servers.to_vec(), note }), "{text}");
        }
    }

    // Goal: whatever is wrong is told as what it is, with its place; nothing of such an answer is taken.
    #[test]
    fn wrong_answers_are_told_by_their_kind() {
        check("", "what it wrote is not one JSON object: EOF while parsing a value at line 1 column 0");
        check("{} {}", "what it wrote is not one JSON object: trailing characters at line 1 column 4");
        check("[]", "the answer is not an object");
        check("{}", "servers is not a list");
        check(r#"{"servers": "a:1"}"#, "servers is not a list");
        check(r#"{"servers": [], "server": 1}"#, "the answer has an unknown key \"server\"");
        check(r#"{"servers": [], "note": 7}"#, "note is not text");
        check(r#"{"servers": [7]}"#, "servers[0] is not an address or an object");
        check(
            r#"{"servers": ["a:1", "nowhere"]}"#,
            "servers[1]: \"nowhere\" is not the address of a server (for example \"10.0.0.5:3000\")",
        );
        check(r#"{"servers": [{"address": "a:1", "size": 2}]}"#, "servers[0] has an unknown key \"size\"");
        check(r#"{"servers": [{"weight": 2}]}"#, "servers[0].address is not text");
        for weight in ["0", "257", "-1", "1.5", "\"2\"", "null"] {
            let text = format!(r#"{{"servers": [{{"address": "a:1", "weight": {weight}}}]}}"#);
            check(&text, "servers[0].weight is not a whole number from 1 to 256");
        }
        check(r#"{"servers": ["a:1", "A:1"]}"#, "a:1 is there twice");
        check(r#"{"servers": ["10.0.0.1:3000"]}"#, "10.0.0.1:3000 is in the settings already");
        check(r#"{"servers": ["a:1", "a:2", "a:3", "a:4"]}"#, "4 servers, at most 3 are taken (max)");
        check(&" ".repeat(ANSWER_BYTES_MAX), "it wrote more than 64 KiB");

        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(answer(text).unwrap_err().to_string(), want, "{text}");
        }
    }

    proptest! {
        // Goal: no bytes break it, and what it takes keeps the bounds.
        #[test]
        fn anything_is_an_answer_within_bounds_or_a_fault(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "\\{\"servers\": ?\\[(\"[ab]:[0-9]\",?){0,5}\\]\\}".prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(answer) = read(&bytes, 3, &address, &[]) {
                prop_assert!(answer.servers.len() <= 3);
                for (at, one) in answer.servers.iter().enumerate() {
                    prop_assert!(answer.servers[..at].iter().all(|other| other.address != one.address));
                }
            }
            prop_assert!(words(&bytes).chars().count() <= WORDS_CHARS_MAX);
        }
    }
}
