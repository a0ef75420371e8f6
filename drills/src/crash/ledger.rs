//! What was promised and what was kept: the judge of a crash drill.
//!
//! **Job.** Take down what was sent, acknowledged and seen, and hold it against the log as it is in the end. Pure.
//! **Called by** the clients while they live, by `crash` in the end.
//!
//! Invariants
//! 1. An entry is what it says: conversation, offset, who, what. Nobody's view is trusted over another's.
//! 2. Every finding names the message or the offset it is about.
//!
//! Not here: how things were said (the clients), when anything was broken (`plan`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A conversation, the same for all who are in it: a room's name, or both names of a talk between two.
pub(super) type Conversation = String;

/// One entry of a log, as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its place.
    pub offset: u64,
    /// What it is: who, and the text or the kind of entry.
    pub print: Print,
    /// Somebody said it; the other entries tell what became of the room.
    pub message: bool,
}

/// What an entry says, as a number: views of a hundred thousand entries are held for every client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Print(u64);

impl Print {
    /// Of an entry's kind, its author and its text (FNV-1a).
    pub(super) fn of(kind: &str, author: &str, text: &str) -> Self {
        let mut value = 0xcbf2_9ce4_8422_2325_u64;
        for part in [kind, author, text] {
            for byte in part.bytes().chain([0]) {
                value = (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self(value)
    }
}

/// A message's number: of which client, and the how manieth of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Number {
    /// The client, from 0.
    pub client: u32,
    /// Its messages, from 0.
    pub message: u32,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of client {}", self.message, self.client)
    }
}

/// Where an acknowledged message is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promise {
    /// In which conversation.
    pub conversation: Conversation,
    /// Which life of it.
    pub epoch: u64,
    /// At which place; `None` on faces that do not tell.
    pub offset: Option<u64>,
    /// What.
    pub print: Print,
}

/// What was lost, doubled or disordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// An acknowledged message is not in the log.
    Lost {
        /// Which.
        number: Number,
        /// What was promised.
        promise: Promise,
    },
    /// It is in the log more than once.
    Doubled {
        /// Which.
        number: Number,
        /// All its offsets.
        offsets: Vec<u64>,
    },
    /// It is in the log, elsewhere than the acknowledgement said.
    Moved {
        /// Which.
        number: Number,
        /// Where it was said to be.
        promised: u64,
        /// Where it is.
        found: u64,
    },
    /// Something is in the log that nobody sent.
    Unknown {
        /// Where.
        conversation: Conversation,
        /// At which place.
        offset: u64,
    },
    /// The log itself jumps.
    LogJumps {
        /// Which.
        conversation: Conversation,
        /// After this offset.
        after: u64,
        /// Came this one.
        came: u64,
    },
    /// A conversation began a new life: what a client had seen of it is worth nothing.
    NewLife {
        /// Who noticed.
        client: u32,
        /// Of which.
        conversation: Conversation,
    },
    /// A client was told an offset that was not the next one: a gap, something twice, or out of order.
    Jumped {
        /// Who.
        client: u32,
        /// Where.
        conversation: Conversation,
        /// What had to come.
        want: u64,
        /// What came.
        came: u64,
    },
    /// A client saw something else at an offset than is in the log.
    Differs {
        /// Who.
        client: u32,
        /// Where.
        conversation: Conversation,
        /// At which place.
        offset: u64,
    },
    /// A client did not see the log to its end.
    Short {
        /// Who.
        client: u32,
        /// Where.
        conversation: Conversation,
        /// What would have come next.
        next: u64,
        /// The offset behind the log's last.
        end: u64,
    },
    /// A client that hears messages only heard another row of them than the log has.
    Heard {
        /// Who.
        client: u32,
        /// Where.
        conversation: Conversation,
        /// From this message on, counted from 0.
        from: usize,
        /// So many it heard.
        heard: usize,
        /// So many there are.
        of: usize,
    },
    /// The server said what it may not say.
    Said {
        /// To whom.
        client: u32,
        /// What.
        what: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { number, promise } => {
                let place = promise.offset.map_or("in".to_owned(), |offset| format!("at offset {offset} of"));
                write!(f, "lost: {number}, acknowledged {place} {}", promise.conversation)
            }
            Self::Doubled { number, offsets } => write!(f, "twice: {number} is at the offsets {offsets:?}"),
            Self::Moved { number, promised, found } => {
                write!(f, "moved: {number} was acknowledged at offset {promised} and is at {found}")
            }
            Self::Unknown { conversation, offset } => {
                write!(f, "unknown: nobody sent what is at offset {offset} of {conversation}")
            }
            Self::LogJumps { conversation, after, came } => {
                write!(f, "gap: the log of {conversation} has {came} after {after}")
            }
            Self::NewLife { client, conversation } => {
                write!(f, "new life: client {client} had to begin {conversation} anew")
            }
            Self::Jumped { client, conversation, want, came } => {
                write!(f, "order: client {client} was told offset {came} of {conversation}, {want} was next")
            }
            Self::Differs { client, conversation, offset } => write!(
                f,
                "differs: client {client} saw something else at offset {offset} of {conversation} than the log has"
            ),
            Self::Short { client, conversation, next, end } => {
                write!(f, "short: client {client} saw {conversation} up to {next}, it ends at {end}")
            }
            Self::Heard { client, conversation, from, heard, of } => write!(
                f,
                "heard: client {client} heard {heard} messages of {of} in {conversation}, others than the log has from {from} on"
            ),
            Self::Said { client, what } => write!(f, "said: client {client} was told {what}"),
        }
    }
}

/// One conversation as one client saw it, offset by offset.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// The life of the conversation it belongs to.
    pub epoch: Option<u64>,
    /// The first offset it was told.
    first: u64,
    prints: Vec<Print>,
}

impl View {
    /// The offset that has to come next; `None`: nothing was joined yet.
    pub(super) fn next(&self) -> Option<u64> {
        self.epoch.map(|_| self.first + self.prints.len() as u64)
    }

    /// The server says that `next` comes next, of this life.
    ///
    /// # Errors
    /// What it may not say.
    pub(super) fn joined(
        &mut self,
        client: u32,
        conversation: &str,
        epoch: u64,
        next: u64,
    ) -> Result<(), Finding> {
        match (self.epoch, self.next()) {
            (None, _) => {
                self.epoch = Some(epoch);
                self.first = next;
                Ok(())
            }
            (Some(had), _) if had != epoch => {
                *self = Self { epoch: Some(epoch), first: next, prints: Vec::new() };
                Err(Finding::NewLife { client, conversation: conversation.to_owned() })
            }
            (Some(_), want) if want != Some(next) => Err(Finding::Jumped {
                client,
                conversation: conversation.to_owned(),
                want: want.unwrap_or_default(),
                came: next,
            }),
            _ => Ok(()),
        }
    }

    /// Something came.
    ///
    /// # Errors
    /// It is not what comes next.
    pub(super) fn saw(&mut self, client: u32, conversation: &str, seen: &Seen) -> Result<(), Finding> {
        let want = self.first + self.prints.len() as u64;
        if self.epoch.is_none() || seen.offset != want {
            return Err(Finding::Jumped {
                client,
                conversation: conversation.to_owned(),
                want,
                came: seen.offset,
            });
        }
        self.prints.push(seen.print);
        Ok(())
    }
}

/// The logs as they are in the end.
#[derive(Debug, Default)]
pub(super) struct Logs {
    logs: BTreeMap<Conversation, BTreeMap<u64, Seen>>,
}

impl Logs {
    /// Takes down one conversation, in the order it was read in, and tells where it jumps.
    pub(super) fn put(&mut self, conversation: &str, entries: &[Seen]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for pair in entries.windows(2) {
            if let [before, after] = pair
                && after.offset != before.offset + 1
            {
                findings.push(Finding::LogJumps {
                    conversation: conversation.to_owned(),
                    after: before.offset,
                    came: after.offset,
                });
            }
        }
        let log = entries.iter().map(|seen| (seen.offset, seen.clone())).collect();
        self.logs.insert(conversation.to_owned(), log);
        findings
    }

    /// The offset behind a conversation's last.
    pub(super) fn end(&self, conversation: &str) -> u64 {
        let last = self.logs.get(conversation).and_then(|log| log.last_key_value());
        last.map_or(1, |(offset, _)| offset + 1)
    }

    /// Holds the acknowledged messages against the logs; `sent` knows every message's print, acknowledged or not.
    pub(super) fn judge_promises(
        &self,
        sent: &HashMap<Print, Number>,
        acked: &BTreeMap<Number, Promise>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut places: HashMap<Print, Vec<(&str, u64)>> = HashMap::new();
        for (conversation, log) in &self.logs {
            for (offset, seen) in log {
                if sent.contains_key(&seen.print) {
                    places.entry(seen.print).or_default().push((conversation, *offset));
                } else if seen.message {
                    findings.push(Finding::Unknown { conversation: conversation.clone(), offset: *offset });
                }
            }
        }
        for (print, places) in &places {
            if places.len() > 1
                && let Some(number) = sent.get(print)
            {
                let offsets = places.iter().map(|(_, offset)| *offset).collect();
                findings.push(Finding::Doubled { number: *number, offsets });
            }
        }
        for (number, promise) in acked {
            let found = places.get(&promise.print).map_or(&[][..], Vec::as_slice);
            let here = found.iter().find(|(conversation, _)| *conversation == promise.conversation);
            match (here, promise.offset) {
                (None, _) => findings.push(Finding::Lost { number: *number, promise: promise.clone() }),
                (Some((_, at)), Some(promised)) if *at != promised => {
                    findings.push(Finding::Moved { number: *number, promised, found: *at });
                }
                _ => {}
            }
        }
        findings
    }

    /// How many messages a conversation has.
    pub(super) fn messages(&self, conversation: &str) -> usize {
        self.messages_of(conversation).count()
    }

    fn messages_of(&self, conversation: &str) -> impl Iterator<Item = Print> {
        let log = self.logs.get(conversation).into_iter().flat_map(BTreeMap::values);
        log.filter(|seen| seen.message).map(|seen| seen.print)
    }

    /// Holds all messages that a client heard of a conversation against its log.
    pub(super) fn judge_heard(&self, client: u32, conversation: &str, heard: &[Print]) -> Option<Finding> {
        let log: Vec<Print> = self.messages_of(conversation).collect();
        let same = log.iter().zip(heard).take_while(|(log, heard)| log == heard).count();
        (same < log.len().max(heard.len())).then(|| Finding::Heard {
            client,
            conversation: conversation.to_owned(),
            from: same,
            heard: heard.len(),
            of: log.len(),
        })
    }

    /// Holds what a client heard over one connection against the log: a piece of it, without what the client said itself.
    pub(super) fn judge_piece(
        &self,
        client: u32,
        conversation: &str,
        heard: &[Print],
        sent: &HashMap<Print, Number>,
    ) -> Option<Finding> {
        let own = |print: &Print| sent.get(print).is_some_and(|number| number.client == client);
        let log: Vec<Print> = self.messages_of(conversation).filter(|print| !own(print)).collect();
        let first = heard.first()?;
        let begin = log.iter().position(|print| print == first).unwrap_or(log.len());
        let same = log[begin..].iter().zip(heard).take_while(|(log, heard)| log == heard).count();
        (same < heard.len()).then(|| Finding::Heard {
            client,
            conversation: conversation.to_owned(),
            from: begin + same,
            heard: heard.len(),
            of: log.len(),
        })
    }

    /// Holds what one client saw of a conversation against its log.
    pub(super) fn judge_view(&self, client: u32, conversation: &str, view: &View) -> Option<Finding> {
        let log = self.logs.get(conversation)?;
        for (offset, print) in (view.first..).zip(&view.prints) {
            if log.get(&offset).map(|seen| &seen.print) != Some(print) {
                return Some(Finding::Differs { client, conversation: conversation.to_owned(), offset });
            }
        }
        let (next, end) = (view.next().unwrap_or(0), self.end(conversation));
        (next != end).then(|| Finding::Short { client, conversation: conversation.to_owned(), next, end })
    }
}
