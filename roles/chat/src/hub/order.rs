//! Keeping order in a room: settings, ranks, invitations, kicks, bans, mutes.
//!
//! **Job.** Judge such a request by the room's law and have it written as an event. **Called by** `flows`.
//!
//! Invariants
//! 1. Nobody does anything to somebody of their own rank or above, or to the last owner.
//!
//! Not here: the law itself (`law`), what an event does to those who are there (`writing`).

use std::rc::Rc;
use std::sync::Arc;

use super::checks::check_topic;
use super::greeting::now_ms;
use super::limits::WHY_BYTES_MAX;
use super::state::{Asker, Key, Kind, Side};
use super::{Back, Hub};
use crate::ask::{Ask, MINUTES_MAX, SLOW_MS_MAX, Set};
use crate::event::{Person, What};
use crate::law::Law;
use crate::refusal::Refusal;
use crate::reply::{Done, Reply};

/// Something one person does to another in a room.
struct Deed {
    room: String,
    who: String,
    why: Option<String>,
    minutes: Option<u64>,
}

/// What becomes of a deed, by the law.
type Judge<'a> = Box<dyn FnOnce(&Law, Person, Deed) -> Result<What, Refusal> + 'a>;

impl Hub {
    /// Does a request that keeps order.
    pub(super) async fn order(self: &Rc<Self>, asker: &Asker, ask: Ask, back: Back) {
        let judged = match ask {
            Ask::Set(set) => self.judge_set(asker, set).await,
            other => self.judge_deed(asker, other).await,
        };
        match judged {
            Ok((key, side, events)) => {
                let last = events.len().saturating_sub(1);
                let mut back = Some(back);
                for (at, what) in events.into_iter().enumerate() {
                    let back = if at == last { back.take() } else { None };
                    self.write(asker, key, side, what, None, back);
                }
                // Nothing was to be changed.
                if let Some(back) = back {
                    self.answer(back, Ok(Reply::Done(Done {})));
                }
            }
            Err(refusal) => self.answer(back, Err(refusal)),
        }
    }

    async fn place(self: &Rc<Self>, asker: &Asker, room: &str) -> Result<(Key, Side), Refusal> {
        let (key, side) = self.find(asker, room).await?;
        let state = self.state.borrow();
        let room = state.rooms.get(key).ok_or(Refusal::Busy { again_ms: 100 })?;
        if !matches!(room.kind, Kind::Room) {
            return Err(Refusal::BadRoom { must: "a room, for this" });
        }
        if !room.law.exists {
            return Err(Refusal::NoSuchRoom { room: Arc::clone(&room.name) });
        }
        Ok((key, side))
    }

    fn with_law<T>(&self, key: Key, judge: impl FnOnce(&Law) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let state = self.state.borrow();
        judge(&state.rooms.get(key).ok_or(Refusal::Busy { again_ms: 100 })?.law)
    }

    async fn judge_set(self: &Rc<Self>, asker: &Asker, set: Set) -> Result<(Key, Side, Vec<What>), Refusal> {
        let Set { room, topic, private, invite_only, slow_ms, .. } = set;
        let (key, side) = self.place(asker, &room).await?;
        if let Some(topic) = &topic {
            check_topic(topic)?;
        }
        if slow_ms.is_some_and(|ms| ms > SLOW_MS_MAX) {
            return Err(Refusal::Malformed { why: format!("slow_ms: 0 to {SLOW_MS_MAX}") });
        }
        let events = self.with_law(key, |law| {
            law.may_name(asker.who(), now_ms())?;
            let mut events = Vec::new();
            if let Some(text) = topic.filter(|topic| **topic != *law.topic) {
                events.push(What::Topic { text });
            }
            let settings = (
                private.unwrap_or(law.private),
                invite_only.unwrap_or(law.invite_only),
                slow_ms.unwrap_or(law.slow_ms),
            );
            if settings != (law.private, law.invite_only, law.slow_ms) {
                law.may_moderate(asker.who())?;
                if (settings.0, settings.1) != (law.private, law.invite_only) {
                    law.may_own(asker.who())?;
                }
                let (private, invite_only, slow_ms) = settings;
                events.push(What::Settings { private, invite_only, slow_ms });
            }
            Ok(events)
        })?;
        Ok((key, side, events))
    }

    async fn judge_deed(self: &Rc<Self>, asker: &Asker, ask: Ask) -> Result<(Key, Side, Vec<What>), Refusal> {
        let (deed, make): (Deed, Judge<'_>) = match ask {
            Ask::Role(ask) => {
                let role = ask.role;
                let deed = Deed { room: ask.room, who: ask.who, why: None, minutes: None };
                (
                    deed,
                    Box::new(move |law, who, _| {
                        law.may_rank(asker.who(), &who.id, role)?;
                        Ok(What::Role { who, role })
                    }),
                )
            }
            Ask::Invite(ask) => {
                let deed = Deed { room: ask.room, who: ask.who, why: None, minutes: None };
                (
                    deed,
                    Box::new(|law, who, _| {
                        // Into an open room everybody may be called who may come in anyway.
                        if law.private || law.invite_only || law.bans.contains_key(&who.id) {
                            law.may_moderate(asker.who())?;
                        } else {
                            law.may_speak(asker.who(), now_ms())?;
                        }
                        Ok(What::Invited { who })
                    }),
                )
            }
            Ask::Kick(ask) => {
                let deed = Deed { room: ask.room, who: ask.who, why: ask.why, minutes: None };
                (
                    deed,
                    Box::new(|law, who, deed| {
                        law.may_over(asker.who(), &who.id)?;
                        Ok(What::Kicked { who, why: deed.why })
                    }),
                )
            }
            Ask::Ban(ask) => {
                let deed = Deed { room: ask.room, who: ask.who, why: ask.why, minutes: ask.minutes };
                (
                    deed,
                    Box::new(|law, who, deed| {
                        law.may_over(asker.who(), &who.id)?;
                        Ok(What::Banned { who, until_ms: until(&deed), why: deed.why })
                    }),
                )
            }
            Ask::Unban(ask) => {
                let deed = Deed { room: ask.room, who: ask.who, why: None, minutes: None };
                (
                    deed,
                    Box::new(|law, who, _| {
                        law.may_moderate(asker.who())?;
                        Ok(What::Unbanned { who })
                    }),
                )
            }
            Ask::Mute(ask) => {
                let deed = Deed { room: ask.room, who: ask.who, why: ask.why, minutes: ask.minutes };
                (
                    deed,
                    Box::new(|law, who, deed| {
                        law.may_over(asker.who(), &who.id)?;
                        Ok(What::Muted { who, until_ms: until(&deed), why: deed.why })
                    }),
                )
            }
            Ask::Unmute(ask) => {
                let deed = Deed { room: ask.room, who: ask.who, why: None, minutes: None };
                (
                    deed,
                    Box::new(|law, who, _| {
                        law.may_moderate(asker.who())?;
                        Ok(What::Unmuted { who })
                    }),
                )
            }
            _ => return Err(Refusal::Malformed { why: "no such request".into() }),
        };
        check(&deed)?;
        let (key, side) = self.place(asker, &deed.room).await?;
        let who = self.someone(key, &deed.who).await?;
        let what = self.with_law(key, |law| {
            let what = make(law, who, deed)?;
            law.has_room(&what)?;
            Ok(what)
        })?;
        Ok((key, side, vec![what]))
    }

    /// Somebody by name: also one whom only this room's law remembers.
    async fn someone(&self, key: Key, name: &str) -> Result<Person, Refusal> {
        let refusal = match self.person_named(name).await {
            Ok(person) => return Ok(person),
            Err(refusal) => refusal,
        };
        let folded = crate::names::fold(name);
        let state = self.state.borrow();
        let Some(room) = state.rooms.get(key) else { return Err(refusal) };
        let barred = room.law.bans.iter().chain(&room.law.mutes).map(|(id, barred)| (id, &barred.name));
        let ranked = room.law.ranks.iter().map(|(id, ranked)| (id, &ranked.name));
        let mut known = barred.chain(ranked).chain(&room.law.invited);
        let found = known.find(|(_, have)| crate::names::fold(have) == folded);
        found.map(|(id, name)| Person { id: id.clone(), name: Arc::clone(name) }).ok_or(refusal)
    }
}

fn until(deed: &Deed) -> Option<u64> {
    deed.minutes.map(|minutes| now_ms().saturating_add(minutes * 60_000))
}

fn check(deed: &Deed) -> Result<(), Refusal> {
    if deed.minutes.is_some_and(|minutes| minutes == 0 || minutes > MINUTES_MAX) {
        return Err(Refusal::Malformed { why: format!("minutes: 1 to {MINUTES_MAX}") });
    }
    match &deed.why {
        Some(why) if why.len() > WHY_BYTES_MAX => {
            Err(Refusal::TooLong { what: "a reason", bytes: why.len(), max: WHY_BYTES_MAX })
        }
        Some(why) if why.chars().any(char::is_control) => {
            Err(Refusal::BadText { must: "one line without control characters" })
        }
        _ => Ok(()),
    }
}
