//! The law of one room: what is allowed to whom, as its log says it.
//!
//! **Job.** Fold the events of a log into topic, settings, ranks, bans; say who may do what. **Called by** `hub`.
//! **Calls** nothing.
//!
//! Invariants
//! 1. The same events in the same order make the same law, on every machine.
//! 2. Time is handed in.
//!
//! Not here: who is connected (`hub`), limits of rate and size (`pace`, `rules`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Person, PersonId, Rank, What};
use crate::refusal::Refusal;

/// People with a rank, a ban, a mute or an invitation in one room, of each at most.
pub const PLACES_MAX: usize = 10_000;

const MODERATORS: &str = "the room's moderators";
const OWNERS: &str = "the room's owners";

/// A ban or a mute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barred {
    /// As they were called.
    pub name: Arc<str>,
    /// Until then, in milliseconds since 1970; none: for good.
    pub until_ms: Option<u64>,
}

impl Barred {
    /// Whether it has not ended by itself.
    pub fn holds(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| now_ms < until)
    }
}

/// Somebody with a rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked {
    /// As they were called.
    pub name: Arc<str>,
    /// Which.
    pub rank: Rank,
}

/// What holds in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Law {
    /// Something was made or said here.
    pub exists: bool,
    /// What it is about.
    pub topic: Arc<str>,
    /// Only members see and hear it.
    pub private: bool,
    /// Only who was invited comes in.
    pub invite_only: bool,
    /// One message of everybody in so many milliseconds; 0: off.
    pub slow_ms: u64,
    /// Who has a rank.
    pub ranks: BTreeMap<PersonId, Ranked>,
    /// Who may not come in.
    pub bans: BTreeMap<PersonId, Barred>,
    /// Who may not speak.
    pub mutes: BTreeMap<PersonId, Barred>,
    /// Who may come in although not everybody may.
    pub invited: BTreeMap<PersonId, Arc<str>>,
}

/// Whoever asks, as the law sees them.
#[derive(Debug, Clone, Copy)]
pub struct Who<'w> {
    /// Who.
    pub id: &'w PersonId,
    /// May do everything.
    pub admin: bool,
}

impl Law {
    /// What one more event changes. Whether it changed anything.
    pub fn apply(&mut self, by: &Person, what: &What) -> bool {
        self.exists = true;
        match what {
            What::Created { private, invite_only } => {
                (self.private, self.invite_only) = (*private, *invite_only);
                if self.ranks.is_empty() && !by.id.0.is_empty() {
                    self.rank_as(by, Rank::Owner);
                }
            }
            What::Topic { text } => self.topic = text.as_str().into(),
            What::Settings { private, invite_only, slow_ms } => {
                (self.private, self.invite_only, self.slow_ms) = (*private, *invite_only, *slow_ms);
            }
            What::Role { who, role } => self.rank_as(who, *role),
            What::Invited { who } => {
                self.bans.remove(&who.id);
                self.invited.insert(who.id.clone(), Arc::clone(&who.name));
            }
            What::Kicked { who, .. } => {
                self.invited.remove(&who.id);
                if self.rank(&who.id) == Rank::Member {
                    self.ranks.remove(&who.id);
                }
            }
            What::Banned { who, until_ms, .. } => {
                self.invited.remove(&who.id);
                self.ranks.remove(&who.id);
                self.bans.insert(who.id.clone(), Barred { name: Arc::clone(&who.name), until_ms: *until_ms });
            }
            What::Unbanned { who } => drop(self.bans.remove(&who.id)),
            What::Muted { who, until_ms, .. } => {
                self.mutes
                    .insert(who.id.clone(), Barred { name: Arc::clone(&who.name), until_ms: *until_ms });
            }
            What::Unmuted { who } => drop(self.mutes.remove(&who.id)),
            What::Message { .. }
            | What::Removed
            | What::Edited { .. }
            | What::Deleted { .. }
            | What::Reaction { .. } => {
                return false;
            }
        }
        true
    }

    fn rank_as(&mut self, who: &Person, rank: Rank) {
        if rank == Rank::None {
            self.ranks.remove(&who.id);
        } else {
            self.ranks.insert(who.id.clone(), Ranked { name: Arc::clone(&who.name), rank });
        }
    }

    /// Somebody's rank.
    pub fn rank(&self, id: &PersonId) -> Rank {
        self.ranks.get(id).map_or(Rank::None, |ranked| ranked.rank)
    }

    /// Whether somebody may come in, and read what was written.
    ///
    /// # Errors
    /// [`Refusal::Banned`], [`Refusal::Private`], [`Refusal::InviteOnly`].
    pub fn may_enter(&self, who: Who<'_>, now_ms: u64) -> Result<(), Refusal> {
        if who.admin {
            return Ok(());
        }
        if let Some(ban) = self.bans.get(who.id).filter(|ban| ban.holds(now_ms)) {
            return Err(Refusal::Banned { until_ms: ban.until_ms });
        }
        let known = self.rank(who.id) >= Rank::Member || self.invited.contains_key(who.id);
        match () {
            () if known => Ok(()),
            () if self.private => Err(Refusal::Private),
            () if self.invite_only => Err(Refusal::InviteOnly),
            () => Ok(()),
        }
    }

    /// Whether somebody may read what was written without coming in.
    ///
    /// # Errors
    /// As [`Law::may_enter`]; who needs an invitation to come in reads nothing before.
    pub fn may_read(&self, who: Who<'_>, now_ms: u64) -> Result<(), Refusal> {
        self.may_enter(who, now_ms)
    }

    /// Whether somebody who is in may speak.
    ///
    /// # Errors
    /// [`Refusal::Banned`], [`Refusal::Muted`].
    pub fn may_speak(&self, who: Who<'_>, now_ms: u64) -> Result<(), Refusal> {
        self.may_enter(who, now_ms)?;
        match self.mutes.get(who.id).filter(|mute| mute.holds(now_ms)) {
            Some(mute) if !who.admin => Err(Refusal::Muted { until_ms: mute.until_ms }),
            _ => Ok(()),
        }
    }

    /// Whether somebody keeps order here.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`].
    pub fn may_moderate(&self, who: Who<'_>) -> Result<(), Refusal> {
        self.at_least(who, Rank::Moderator, MODERATORS)
    }

    /// Whether somebody may say what the room is about: who keeps order, and everybody who may speak where nobody does.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], and as [`Law::may_speak`].
    pub fn may_name(&self, who: Who<'_>, now_ms: u64) -> Result<(), Refusal> {
        if self.ranks.values().any(|ranked| ranked.rank >= Rank::Moderator) {
            return self.may_moderate(who);
        }
        self.may_speak(who, now_ms)
    }

    /// Whether somebody gives ranks and changes settings here.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`].
    pub fn may_own(&self, who: Who<'_>) -> Result<(), Refusal> {
        self.at_least(who, Rank::Owner, OWNERS)
    }

    /// Whether somebody may do something to somebody else: nobody does it to one of their own rank or above.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`].
    pub fn may_over(&self, who: Who<'_>, other: &PersonId) -> Result<(), Refusal> {
        self.may_moderate(who)?;
        if who.admin || self.rank(who.id) > self.rank(other) || who.id == other {
            return Ok(());
        }
        Err(Refusal::NotAllowed { who_may: "somebody of a higher rank" })
    }

    /// The last owner stays one: else nobody could ever change anything.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`].
    pub fn may_rank(&self, who: Who<'_>, other: &PersonId, rank: Rank) -> Result<(), Refusal> {
        self.may_own(who)?;
        let owners = self.ranks.values().filter(|ranked| ranked.rank == Rank::Owner).count();
        if rank < Rank::Owner && self.rank(other) == Rank::Owner && owners == 1 {
            return Err(Refusal::NotAllowed {
                who_may: "an owner, when there is another one: the last one stays",
            });
        }
        Ok(())
    }

    /// Whether there is room for one more of a kind.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub fn has_room(&self, what: &What) -> Result<(), Refusal> {
        let (what, places) = match what {
            What::Role { .. } => ("ranks in this room", self.ranks.len()),
            What::Banned { .. } => ("bans in this room", self.bans.len()),
            What::Muted { .. } => ("mutes in this room", self.mutes.len()),
            What::Invited { .. } => ("invitations to this room", self.invited.len()),
            _ => return Ok(()),
        };
        if places < PLACES_MAX { Ok(()) } else { Err(Refusal::Full { what, max: PLACES_MAX }) }
    }

    fn at_least(&self, who: Who<'_>, rank: Rank, who_may: &'static str) -> Result<(), Refusal> {
        if who.admin || self.rank(who.id) >= rank { Ok(()) } else { Err(Refusal::NotAllowed { who_may }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str) -> Person {
        Person { id: PersonId(format!("u:{name}").into()), name: name.into() }
    }

    fn who(person: &Person) -> Who<'_> {
        Who { id: &person.id, admin: false }
    }

    fn law(events: &[(&Person, What)]) -> Law {
        let mut law = Law::default();
        for (by, what) in events {
            law.apply(by, what);
        }
        law
    }

    // Goal: who may come in and speak, as settings, ranks, invitations, bans and time say.
    #[test]
    fn doors_open_for_whom_they_should() {
        let (mina, kim, eve) = (person("mina"), person("kim"), person("eve"));
        let open = law(&[(&mina, What::Created { private: false, invite_only: false })]);
        assert_eq!(open.rank(&mina.id), Rank::Owner);
        assert!(open.may_enter(who(&eve), 0).is_ok() && open.may_moderate(who(&eve)).is_err());

        let closed = law(&[
            (&mina, What::Created { private: true, invite_only: false }),
            (&mina, What::Invited { who: kim.clone() }),
        ]);
        assert!(closed.may_enter(who(&kim), 0).is_ok());
        assert_eq!(closed.may_enter(who(&eve), 0), Err(Refusal::Private));
        assert!(closed.may_enter(Who { id: &eve.id, admin: true }, 0).is_ok());

        let mut strict = open;
        strict.apply(&mina, &What::Banned { who: eve.clone(), why: None, until_ms: Some(100) });
        strict.apply(&mina, &What::Muted { who: kim.clone(), why: None, until_ms: None });
        assert_eq!(strict.may_enter(who(&eve), 99), Err(Refusal::Banned { until_ms: Some(100) }));
        assert!(strict.may_enter(who(&eve), 100).is_ok(), "its time is over");
        assert_eq!(strict.may_speak(who(&kim), 0), Err(Refusal::Muted { until_ms: None }));
        assert!(strict.may_enter(who(&kim), 0).is_ok());
        strict.apply(&mina, &What::Unmuted { who: kim.clone() });
        assert!(strict.may_speak(who(&kim), 0).is_ok());
    }

    // Goal: nobody rises above or throws out those above, and a room never loses its last owner.
    #[test]
    fn ranks_bound_what_one_does_to_others() {
        let (mina, kim, eve) = (person("mina"), person("kim"), person("eve"));
        let mut law = law(&[
            (&mina, What::Created { private: false, invite_only: false }),
            (&mina, What::Role { who: kim.clone(), role: Rank::Moderator }),
        ]);
        assert!(law.may_over(who(&kim), &eve.id).is_ok());
        assert!(law.may_over(who(&kim), &mina.id).is_err());
        assert!(law.may_rank(who(&kim), &eve.id, Rank::Moderator).is_err());
        assert!(law.may_rank(who(&mina), &mina.id, Rank::None).is_err(), "the last owner");
        law.apply(&mina, &What::Role { who: kim.clone(), role: Rank::Owner });
        assert!(law.may_rank(who(&mina), &mina.id, Rank::None).is_ok());
        assert!(law.may_over(who(&kim), &mina.id).is_err(), "of the same rank");
        law.apply(&mina, &What::Banned { who: kim.clone(), why: None, until_ms: None });
        assert_eq!(law.rank(&kim.id), Rank::None);
    }
}
