//! A conversation as this client knows it.
//!
//! **Job.** Put events in their places: messages, what changed them, what was missed; count what is unread. **Called by** `client`.
//!
//! Invariants
//! 1. An offset is taken once: what comes a second time (resume, history) changes nothing.
//! 2. At most [`ENTRIES_MAX`] entries are held; the oldest go first.
//!
//! Not here: asking for anything (`client`), drawing (`screen`).

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::{Event, File, Joined, What};

/// Entries held of one conversation.
const ENTRIES_MAX: usize = 3000;
/// How long somebody is shown as writing, in milliseconds.
const TYPING_MS: u64 = 5000;

/// Something to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A message.
    Said(Message),
    /// A message that was deleted.
    Removed,
    /// What happened to the room.
    Happened(String),
    /// A word of this program, at the place where it was said.
    Word(String),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who wrote it.
    pub by: String,
    /// What.
    pub text: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What they do, not say.
    pub action: bool,
    /// It asks for no answer, and is shown quieter.
    pub notice: bool,
    /// The offset of the message it answers.
    pub reply: Option<u64>,
    /// Attachments.
    pub files: Vec<File>,
    /// Its text is not the first one.
    pub edited: bool,
    /// It mentions whoever sits here.
    pub to_me: bool,
    /// Whoever sits here wrote it.
    pub mine: bool,
    /// Signs below it, and whose.
    pub reactions: BTreeMap<String, BTreeSet<String>>,
}

/// Somebody who is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    /// `owner`, `moderator`, `member` or nothing.
    pub role: String,
    /// Not at the keyboard, and why.
    pub away: Option<String>,
}

/// A conversation.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// What it is about.
    pub topic: String,
    /// How many are here.
    pub count: u64,
    /// Who is here; not all of them in a large room.
    pub people: BTreeMap<String, Present>,
    /// Messages of others since it was last in front.
    pub unread: u64,
    /// Those that mention whoever sits here.
    pub mentions: u64,
    /// Older ones can be asked for.
    pub has_older: bool,
    /// By place; words of this program stand behind the place where they were said.
    entries: BTreeMap<(u64, u32), Entry>,
    epoch: Option<u64>,
    seen: u64,
    /// What whoever sits here was told to have read.
    pub(super) read_told: u64,
    typing: BTreeMap<String, u64>,
    /// Whether the server tells what happens here.
    pub(super) is_joined: bool,
}

impl Room {
    /// What was seen last, for coming back: epoch and offset.
    pub fn since(&self) -> Option<(u64, u64)> {
        self.epoch.map(|epoch| (epoch, self.seen))
    }

    /// Everything to be shown, in order, with its offset (of words: the one before).
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|((offset, _), entry)| (*offset, entry))
    }

    /// The offset of the oldest thing that is held.
    pub fn oldest(&self) -> Option<u64> {
        self.entries.keys().find(|(_, word)| *word == 0).map(|(offset, _)| *offset)
    }

    /// The message at an offset.
    pub fn message(&self, offset: u64) -> Option<&Message> {
        match self.entries.get(&(offset, 0)) {
            Some(Entry::Said(message)) => Some(message),
            _ => None,
        }
    }

    /// The newest message that is one's own, or that is not.
    pub(super) fn last(&self, mine: bool) -> Option<u64> {
        let fits = |entry: &Entry| matches!(entry, Entry::Said(message) if message.mine == mine);
        self.entries().rev().find(|(_, entry)| fits(entry)).map(|(offset, _)| offset)
    }

    /// Who is writing just now.
    pub fn typing(&self, now: u64) -> impl Iterator<Item = &str> {
        self.typing.iter().filter(move |(_, until)| **until > now).map(|(name, _)| name.as_str())
    }

    pub(super) fn types(&mut self, name: &str, now: u64) {
        self.typing.retain(|_, until| *until > now);
        // More than fit on a line are not named anyway.
        if self.typing.len() < 20 {
            self.typing.insert(name.to_owned(), now + TYPING_MS);
        }
    }

    /// When the next writer is to be forgotten.
    pub(super) fn typing_ends(&self, now: u64) -> Option<u64> {
        self.typing.values().copied().filter(|until| *until > now).min()
    }

    /// One is in it: a life of it that is not the one known takes everything known away.
    pub(super) fn joined(&mut self, joined: &Joined) {
        if joined.reset || self.epoch.is_some_and(|epoch| epoch != joined.epoch) {
            self.entries.retain(|_, entry| matches!(entry, Entry::Word(_)));
            self.seen = 0;
        }
        self.epoch = Some(joined.epoch);
        self.seen = self.seen.max(joined.next.saturating_sub(1));
        self.has_older = joined.next > 1;
        self.topic.clone_from(&joined.topic);
        self.count = joined.people;
        self.is_joined = true;
    }

    /// What is told as it happens. Whether it is new.
    pub(super) fn follows(&mut self, event: &Event, me: &str) -> bool {
        if self.epoch != Some(event.epoch) || event.offset <= self.seen {
            return false;
        }
        self.seen = event.offset;
        self.typing.remove(&event.by.name);
        self.place(event, me);
        true
    }

    /// What was asked for: older than what is told, or a page of it.
    pub(super) fn was(&mut self, events: &[Event], me: &str) {
        for event in events {
            self.place(event, me);
        }
    }

    /// Offsets that nobody can tell any more.
    pub(super) fn gap(&mut self, from: u64, to: u64) {
        self.seen = self.seen.max(to.saturating_sub(1));
        let what = format!("{} older entries are not kept any more", to.saturating_sub(from));
        self.entries.insert((from, 0), Entry::Happened(what));
    }

    /// A word of this program, behind what is shown now.
    pub(super) fn word(&mut self, text: String) {
        let last =
            self.entries.last_key_value().map_or((self.seen, 0), |(key, _)| (key.0.max(self.seen), key.1));
        let key = if self.entries.contains_key(&last) || last.1 == 0 { (last.0, last.1 + 1) } else { last };
        self.entries.insert(key, Entry::Word(text));
        self.bound();
    }

    fn place(&mut self, event: &Event, me: &str) {
        let key = (event.offset, 0);
        if self.entries.contains_key(&key) {
            return;
        }
        let by = &event.by.name;
        let why = |why: &Option<String>| why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let happened = match &event.what {
            What::Message { text, reply, files, action, notice, mentions, edits } => {
                let message = Message {
                    by: by.clone(),
                    text: text.clone(),
                    at_ms: event.at_ms,
                    action: *action,
                    notice: *notice,
                    reply: *reply,
                    files: files.clone(),
                    edited: *edits > 0,
                    to_me: mentions.iter().any(|name| name.to_lowercase() == me.to_lowercase()),
                    mine: by == me,
                    reactions: BTreeMap::new(),
                };
                self.entries.insert(key, Entry::Said(message));
                return self.bound();
            }
            What::Removed => {
                self.entries.insert(key, Entry::Removed);
                return self.bound();
            }
            What::Edited { of, text } => {
                if let (Some(Entry::Said(message)), false) =
                    (self.entries.get_mut(&(*of, 0)), text.is_empty())
                {
                    message.text.clone_from(text);
                    message.edited = true;
                }
                return;
            }
            What::Deleted { of } => {
                if let Some(entry) = self.entries.get_mut(&(*of, 0)) {
                    *entry = Entry::Removed;
                }
                return;
            }
            What::Reaction { of, emoji, add } => return self.reaction(*of, emoji, by, *add),
            What::Created => format!("{by} made this room"),
            What::Topic { text } => {
                self.topic.clone_from(text);
                if text.is_empty() {
                    format!("{by} took the topic away")
                } else {
                    format!("{by} changed the topic: {text}")
                }
            }
            What::Settings { private, invite_only, slow_ms } => {
                let mut now = vec![if *private { "private" } else { "open" }.to_owned()];
                if *invite_only {
                    now.push("by invitation only".to_owned());
                }
                if *slow_ms > 0 {
                    now.push(format!("one message every {} s", slow_ms.div_ceil(1000)));
                }
                format!("{by} made this room {}", now.join(", "))
            }
            What::Role { who, role } => {
                self.people.entry(who.name.clone()).or_default().role.clone_from(role);
                format!(
                    "{by} made {} {}",
                    who.name,
                    if role == "none" { "an ordinary visitor" } else { role }
                )
            }
            What::Invited { who } => format!("{by} invited {}", who.name),
            What::Kicked { who, why: reason } => format!("{by} showed {} the door{}", who.name, why(reason)),
            What::Banned { who, why: reason } => format!("{by} banned {}{}", who.name, why(reason)),
            What::Unbanned { who } => format!("{by} lets {} in again", who.name),
            What::Muted { who, why: reason } => format!("{by} muted {}{}", who.name, why(reason)),
            What::Unmuted { who } => format!("{by} lets {} speak again", who.name),
            What::Other => return,
        };
        self.entries.insert(key, Entry::Happened(happened));
        self.bound();
    }

    fn reaction(&mut self, of: u64, emoji: &str, by: &str, add: bool) {
        let Some(Entry::Said(message)) = self.entries.get_mut(&(of, 0)) else { return };
        if add {
            message.reactions.entry(emoji.to_owned()).or_default().insert(by.to_owned());
        } else if let Some(whose) = message.reactions.get_mut(emoji) {
            whose.remove(by);
            if whose.is_empty() {
                message.reactions.remove(emoji);
            }
        }
    }

    fn bound(&mut self) {
        while self.entries.len() > ENTRIES_MAX {
            self.entries.pop_first();
            self.has_older = true;
        }
    }
}
