//! What is done to a message that was said: edits, deletion, reactions.
//!
//! **Job.** Find the message, see whether one may, change it in the log, write the word of it. **Called by** `flows`. **Calls** the store,
//! `attached` (files that go with a message).
//!
//! Invariants
//! 1. First the message is changed, then it is told: whoever reads between the two reads what holds.
//!
//! Not here: saying something (`flows`), the law (`law`).

use std::rc::Rc;

use madang_host::clock;
use madang_store::log::{Change, Entry, From, History as Piece, Read};

use super::checks::{check_nonce, check_text};
use super::greeting::now_ms;
use super::limits::EMOJI_BYTES_MAX;
use super::state::{Asker, Key, Kind, Side};
use super::{Back, Hub};
use crate::ask::{Delete, Edit, React, mentions};
use crate::event::{self, What, from_entry};
use crate::refusal::Refusal;

impl Hub {
    pub(super) async fn edit(self: &Rc<Self>, asker: &Asker, edit: Edit, back: Back) {
        let Edit { room, offset, text, nonce, .. } = edit;
        let bytes_max = self.state.borrow().rules.message_bytes_max;
        let checked = check_nonce(&nonce).and_then(|()| check_text("a message", &text, bytes_max));
        let target = match checked {
            Ok(()) => self.target(asker, &room, offset, true).await,
            Err(refusal) => Err(refusal),
        };
        let (key, mut what) = match target {
            Ok((key, _, by, what)) if by.id == asker.person.id => (key, what),
            Ok(_) => return self.answer(back, Err(Refusal::NotYours)),
            Err(refusal) => return self.answer(back, Err(refusal)),
        };
        let mut is_notice = false;
        if let What::Message { text: said, mentions: named, notice, .. } = &mut what {
            (*said, *named) = (text.clone(), mentions(&text));
            is_notice = *notice;
        }
        let changed = Change::Edit(event::to_entry(&asker.person, what));
        let told = What::Edited { of: offset, text, notice: is_notice };
        self.change(asker, (key, &room), offset, changed, told, &nonce, back).await;
    }

    pub(super) async fn delete(self: &Rc<Self>, asker: &Asker, delete: Delete, back: Back) {
        let Delete { room, offset, nonce, .. } = delete;
        let target = match check_nonce(&nonce) {
            Ok(()) => self.target(asker, &room, offset, true).await,
            Err(refusal) => Err(refusal),
        };
        let (key, by, what) = match target {
            Ok((key, _, by, what)) => (key, by, what),
            Err(refusal) => return self.answer(back, Err(refusal)),
        };
        let allowed = {
            let state = self.state.borrow();
            let room = state.rooms.get(key);
            let moderates = room.is_some_and(|room| {
                matches!(room.kind, Kind::Room | Kind::Everyone) && room.law.may_moderate(asker.who()).is_ok()
            });
            by.id == asker.person.id || moderates
        };
        if !allowed {
            return self.answer(back, Err(Refusal::NotYours));
        }
        let told = What::Deleted { of: offset };
        if self.change(asker, (key, &room), offset, Change::Remove, told, &nonce, back).await {
            self.unname_files(&what).await;
        }
    }

    /// Whether it was changed.
    #[allow(clippy::too_many_arguments)] // one step of two requests
    async fn change(
        self: &Rc<Self>,
        asker: &Asker,
        (key, room): (Key, &str),
        offset: u64,
        change: Change,
        told: What,
        nonce: &str,
        back: Back,
    ) -> bool {
        let stream = self.state.borrow().rooms.get(key).map(|room| room.stream.clone());
        let Some(stream) = stream else {
            self.answer(back, Err(Refusal::Busy { again_ms: 100 }));
            return false;
        };
        // First the message, then the word of it: whoever reads between the two reads what holds.
        match self.store.log().change(&stream, offset, change).await {
            // Nobody may be there, and it may have been forgotten since.
            Ok(_) => {
                match self.find(asker, room).await {
                    Ok((key, side)) => self.write(asker, key, side, told, Some(nonce), Some(back)),
                    Err(refusal) => self.answer(back, Err(refusal)),
                }
                true
            }
            Err(error) => {
                self.answer(back, Err(Refusal::Store(error)));
                false
            }
        }
    }

    pub(super) async fn react(self: &Rc<Self>, asker: &Asker, react: React, back: Back) {
        let React { room, offset, emoji, add, nonce, .. } = react;
        let emoji_is_fine = !emoji.is_empty()
            && emoji.len() <= EMOJI_BYTES_MAX
            && !emoji.chars().any(|c| c.is_control() || c.is_whitespace());
        let checked = check_nonce(&nonce).and(if emoji_is_fine {
            Ok(())
        } else {
            Err(Refusal::BadText { must: "a sign of 1 to 32 bytes without blanks" })
        });
        let target = match checked {
            Ok(()) => self.target(asker, &room, offset, true).await,
            Err(refusal) => Err(refusal),
        };
        match target {
            Ok((key, side, ..)) => {
                self.write(
                    asker,
                    key,
                    side,
                    What::Reaction { of: offset, emoji, add },
                    Some(&nonce),
                    Some(back),
                );
            }
            Err(refusal) => self.answer(back, Err(refusal)),
        }
    }

    /// A message somebody means to do something to, with its author. `speak`: it is as if they spoke.
    async fn target(
        self: &Rc<Self>,
        asker: &Asker,
        room: &str,
        offset: u64,
        speak: bool,
    ) -> Result<(Key, Side, crate::event::Person, What), Refusal> {
        let (key, side) = self.find(asker, room).await?;
        let (stream, name) = {
            let mut state = self.state.borrow_mut();
            let Some(room) = state.rooms.get(key) else { return Err(Refusal::Busy { again_ms: 100 }) };
            if matches!(room.kind, Kind::Room) {
                room.law.may_enter(asker.who(), now_ms())?;
                if speak {
                    room.law.may_speak(asker.who(), now_ms())?;
                }
            }
            let found = (room.stream.clone(), room.called(side));
            if speak {
                state.pace(asker, key, clock::now())?;
            }
            found
        };
        let entry = self.entry(&stream, offset).await?.ok_or(Refusal::NoSuchMessage { offset })?;
        let event = from_entry(&name, 0, entry);
        match event.what {
            what @ What::Message { .. } => Ok((key, side, event.by, what)),
            _ => Err(Refusal::NoSuchMessage { offset }),
        }
    }

    /// One entry of a log.
    pub(super) async fn entry(
        &self,
        stream: &madang_store::log::StreamId,
        offset: u64,
    ) -> Result<Option<Entry>, Refusal> {
        let read = Read { from: From::Offset(offset), ..Read::newest(1) };
        match self.store.log().read(stream, read).await? {
            Piece::Page(page) => Ok(page.entries.into_iter().next().filter(|entry| entry.offset == offset)),
            _ => Ok(None),
        }
    }
}
