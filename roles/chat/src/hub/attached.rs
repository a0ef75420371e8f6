//! Which uploads messages name: what nobody names any more can be thrown away.
//!
//! **Job.** Note a file before a message with it is written, take the note back when the message is deleted. **Called by** `flows`.
//! **Calls** the store's key-value, where every machine with it sees the notes.
//!
//! Invariants
//! 1. A file that a message names is noted: the note comes before the message, and goes after it. In doubt (a crash in between, the same
//!    message sent twice) there is a note too many, and the file stays as long as history.
//! 2. A note costs a message without files nothing.
//!
//! Not here: the files (`web/files/shelf`), throwing them away (`madang`, by [`AttachedNotes`]).

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::{Put, When};

use super::Hub;
use super::greeting::hex;
use crate::event::{File, What};
use crate::refusal::Refusal;

/// Attempts at one note while others change it.
const ATTEMPTS_MAX: usize = 8;
/// Messages that are told apart in one note; a file in more of them stays as long as history.
const MESSAGES_MAX: usize = 64;
/// Stands in a note for more messages than that.
const MANY: &str = "many";
/// Notes of files that are gone are kept so long, for other machines.
const GONE_KEPT: Duration = Duration::from_secs(2 * 24 * 3600);
/// Beyond the life of history.
const MARGIN: Duration = Duration::from_secs(2 * 24 * 3600);
/// Notes of one page.
const PAGE: usize = 1000;

/// The note of a file: the messages that name it, in eight digits each. None: it was named, and is not any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Note(Vec<String>);

impl Note {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        Self(text.split_whitespace().map(str::to_owned).collect())
    }

    fn write(&self) -> Bytes {
        Bytes::from(self.0.join(" "))
    }

    fn is_many(&self) -> bool {
        self.0.iter().any(|have| have == MANY)
    }

    /// One more message; the same one again is none more.
    fn add(&mut self, message: &str) {
        if self.is_many() || self.0.iter().any(|have| have == message) {
            return;
        }
        if self.0.len() >= MESSAGES_MAX {
            self.0 = vec![MANY.to_owned()];
        } else {
            self.0.push(message.to_owned());
        }
    }

    /// One less. Which of them is not known: they are only counted.
    fn remove(&mut self) {
        if !self.is_many() {
            self.0.pop();
        }
    }
}

/// The namespace of a chat's notes, by the id of the file.
fn space(chat: &str) -> String {
    format!("chat/{chat}/file")
}

/// The id in the address of an upload, below the chat or from the root.
fn id<'f>(file: &'f File, below: &str) -> Option<&'f str> {
    let rest = file.url.strip_prefix(below).or_else(|| file.url.strip_prefix("files/"))?;
    let id = rest.split('/').next()?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

impl Hub {
    /// A message of this person and nonce will name these files.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn name_files(&self, person: &str, nonce: &str, files: &[File]) -> Result<(), Refusal> {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [person, nonce] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let message = hex(&context.finish().as_ref()[..4]);
        for file in files {
            self.note(file, |note| note.add(&message)).await?;
        }
        Ok(())
    }

    /// A message that named files was deleted: what no other names is thrown away. What fails leaves files until the end of history.
    pub(super) async fn unname_files(&self, what: &What) {
        let What::Message { files, .. } = what else { return };
        for file in files {
            match self.note(file, Note::remove).await {
                Ok(Some(gone)) => {
                    if let Some(shelf) = self.shelf.clone() {
                        // On a machine that does not have it, or cannot throw it away now, the next look at all files does.
                        tokio::task::spawn_blocking(move || drop(shelf.remove(&gone)));
                    }
                }
                Ok(None) => {}
                Err(_) => self.counts.refused_by_store(),
            }
        }
    }

    /// The file's id, if no message names it any more.
    async fn note(&self, file: &File, change: impl Fn(&mut Note)) -> Result<Option<String>, Refusal> {
        let (below, history) = {
            let state = self.state.borrow();
            (state.rules.files_below.clone(), state.rules.history_age_max)
        };
        let Some(id) = id(file, &below) else { return Ok(None) };
        let (space, kv) = (space(&self.name), self.store.kv());
        for _ in 0..ATTEMPTS_MAX {
            let held = kv.get(&space, id).await?;
            let when = held.as_ref().map_or(When::Absent, |held| When::Version(held.version));
            let mut note = held.map(|held| Note::read(&held.value)).unwrap_or_default();
            change(&mut note);
            let kept = if note.0.is_empty() { Some(GONE_KEPT) } else { history.map(|age| age + MARGIN) };
            if let Put::Done(_) = kv.put(&space, id, note.write(), when, kept).await? {
                return Ok(note.0.is_empty().then(|| id.to_owned()));
            }
        }
        Err(Refusal::Busy { again_ms: 200 })
    }
}

/// The notes of a chat, read at once.
#[derive(Debug, Default)]
pub struct AttachedNotes(HashMap<String, bool>);

impl AttachedNotes {
    /// Reads all of them.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(store: &Store, chat: &str) -> Result<Self, StoreError> {
        let (mut all, mut after) = (HashMap::new(), None::<String>);
        loop {
            let page = store.kv().scan(&space(chat), "", after.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(id, _)| id.clone());
            all.extend(page.into_iter().map(|(id, held)| (id, !Note::read(&held.value).0.is_empty())));
            if is_last {
                return Ok(Self(all));
            }
        }
    }

    /// The same of one file, now.
    ///
    /// # Errors
    /// The store's.
    pub async fn names_now(store: &Store, chat: &str, id: &str) -> Result<Option<bool>, StoreError> {
        let held = store.kv().get(&space(chat), id).await?;
        Ok(held.map(|held| !Note::read(&held.value).0.is_empty()))
    }

    /// Whether a message names this file. `None`: none ever did, or its note ended with history.
    pub fn names(&self, id: &str) -> Option<bool> {
        self.0.get(id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a file is noted as long as there are as many deletions as messages, the same message counts once, and a file in very many
    // messages stays.
    #[test]
    fn messages_are_counted_once_each() {
        let mut note = Note::default();
        for message in ["a", "b", "a"] {
            note.add(message);
        }
        note.remove();
        assert_eq!(Note::read(&note.write()), note);
        assert_eq!(note.0.len(), 1);
        note.remove();
        note.remove();
        assert!(note.0.is_empty() && Note::read(&note.write()).0.is_empty());
        for number in 0..MESSAGES_MAX + 5 {
            note.add(&number.to_string());
        }
        note.remove();
        assert_eq!(note.0, [MANY]);
    }

    #[test]
    fn the_id_is_read_from_an_address_of_this_chat() {
        let digits = "0123456789abcdef0123456789abcdef";
        check(&format!("files/{digits}/a.png"), Some(digits));
        check(&format!("/chat/files/{digits}/a.png"), Some(digits));
        check(&format!("/other/files/{digits}/a.png"), None);
        check("files/../a.png", None);
        check("https://example.org/a.png", None);

        #[track_caller]
        fn check(url: &str, want: Option<&str>) {
            let file = File { name: "a".into(), url: url.into(), bytes: 1, media_type: "image/png".into() };
            assert_eq!(id(&file, "/chat/files/"), want, "{url}");
        }
    }
}
