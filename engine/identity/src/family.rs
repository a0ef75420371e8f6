//! Refresh tokens: a family of them per session, each good once.
//!
//! **Job.** Write a token, recognise it, say what presenting it means. **Called by** `session`. Pure: time and random bytes come in.
//!
//! A token names its family (a random id), its user and its place in the family (1, 2, 3, …), and is signed with the house's secret.
//! The house keeps per family only the place that is good now: so a token that was used before is known for what it is, however long
//! ago, and one that was made up is told apart from it and ends nobody's session.
//!
//! Invariants
//! 1. A token that is not the newest, presented later than the leeway after the newest was made, ends the family (RFC 9700 4.14.2).
//! 2. Within the leeway the one before the newest gives the newest again, not another one: two windows that refresh at once, or an
//!    answer that was lost, fork nothing.
//!
//! Not here: keeping families (`session`), access tokens (`access`).

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use crate::jose;

/// What refresh tokens begin with: secret scanners know them by it.
pub(crate) const PREFIX: &str = "mdr_";
const ID_BYTES: usize = 16;
/// Family, user, place, signature.
const BYTES: usize = ID_BYTES + 8 + 4 + 32;

/// What a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The family's id as text.
    pub(crate) family: String,
    pub(crate) user: u64,
    pub(crate) place: u32,
}

/// A family as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Family {
    /// The user's name in the form it is found by.
    pub(crate) name: String,
    /// The generation of logins it is of.
    #[serde(rename = "gen")]
    pub(crate) generation: u64,
    /// The place that is good now.
    pub(crate) place: u32,
    /// When that token was made, in seconds since 1970.
    pub(crate) turned: u64,
    /// When the user logged in, in seconds since 1970.
    pub(crate) made: u64,
}

/// What presenting a token means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presented {
    /// It is the newest: the next one is made.
    Newest,
    /// It was the newest a moment ago: the newest is given again.
    JustBefore,
    /// It was used before, or was never made.
    Reused,
    /// The session is over.
    Over,
}

/// How long sessions last, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasts {
    /// Without being used.
    pub(crate) idle_s: u64,
    /// Altogether.
    pub(crate) whole_s: u64,
    /// How long the token before the newest is taken for a repetition.
    pub(crate) leeway_s: u64,
}

impl Family {
    /// What it means that the token of this place is presented now.
    pub(crate) fn presented(&self, place: u32, lasts: Lasts, now: u64) -> Presented {
        if now >= self.ends(lasts) {
            return Presented::Over;
        }
        if place == self.place {
            return Presented::Newest;
        }
        let just_now = now < self.turned.saturating_add(lasts.leeway_s);
        if place.checked_add(1) == Some(self.place) && just_now {
            return Presented::JustBefore;
        }
        Presented::Reused
    }

    /// When it is over if nobody comes, in seconds since 1970.
    pub(crate) fn ends(&self, lasts: Lasts) -> u64 {
        self.turned.saturating_add(lasts.idle_s).min(self.made.saturating_add(lasts.whole_s))
    }

    /// The family with its next token.
    pub(crate) fn turn(&self, now: u64) -> Self {
        Self { place: self.place.saturating_add(1), turned: now, ..self.clone() }
    }
}

/// A family's id, of random bytes.
pub(crate) fn id(random: [u8; ID_BYTES]) -> String {
    jose::encode(random)
}

/// The token of a place. `None`: the family's id is none.
pub(crate) fn write(key: &hmac::Key, named: &Named) -> Option<String> {
    let mut bytes = jose::decode(&named.family).filter(|id| id.len() == ID_BYTES)?;
    bytes.extend_from_slice(&named.user.to_be_bytes());
    bytes.extend_from_slice(&named.place.to_be_bytes());
    let signature = hmac::sign(key, &bytes);
    bytes.extend_from_slice(signature.as_ref());
    Some(format!("{PREFIX}{}", jose::encode(bytes)))
}

/// What a token of ours names. `None`: it is none of ours.
pub(crate) fn read(key: &hmac::Key, token: &str) -> Option<Named> {
    let text = token.strip_prefix(PREFIX).filter(|text| text.len() <= BYTES * 2)?;
    let bytes = jose::decode(text).filter(|bytes| bytes.len() == BYTES)?;
    let (named, signature) = bytes.split_at(BYTES - 32);
    hmac::verify(key, named, signature).ok()?;
    let (family, rest) = named.split_at(ID_BYTES);
    let (user, place) = rest.split_at(8);
    Some(Named {
        family: jose::encode(family),
        user: u64::from_be_bytes(user.try_into().ok()?),
        place: u32::from_be_bytes(place.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_host::draws::Draws;

    const LASTS: Lasts = Lasts { idle_s: 1000, whole_s: 5000, leeway_s: 10 };

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    fn named(place: u32) -> Named {
        Named { family: id([9; 16]), user: 7, place }
    }

    #[test]
    fn a_token_is_read_as_it_was_written_and_no_other_is() {
        let token = write(&key(1), &named(3)).unwrap();
        assert_eq!(read(&key(1), &token), Some(named(3)));
        assert_eq!(read(&key(2), &token), None);
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(read(&key(1), &changed), None, "{changed}");
        }
        for text in ["", "mdr_", "mdr_!", &token[4..], &format!("{token}A"), &"mdr_A".repeat(1000)] {
            assert_eq!(read(&key(1), text), None, "{text}");
        }
    }

    // Goal: what each token means at the edges of leeway, idleness and the whole life.
    #[test]
    fn presenting_a_token_means() {
        let family = Family { name: "mina".into(), generation: 1, place: 5, turned: 100, made: 0 };
        check(&family, 5, 100, Presented::Newest);
        check(&family, 5, 1_099, Presented::Newest);
        check(&family, 5, 1_100, Presented::Over);
        check(&family, 4, 109, Presented::JustBefore);
        check(&family, 4, 110, Presented::Reused);
        check(&family, 3, 101, Presented::Reused);
        check(&family, 6, 101, Presented::Reused);
        let old = Family { turned: 4_900, ..family.clone() };
        check(&old, 5, 4_999, Presented::Newest);
        check(&old, 5, 5_000, Presented::Over);

        #[track_caller]
        fn check(family: &Family, place: u32, now: u64, want: Presented) {
            assert_eq!(family.presented(place, LASTS, now), want);
        }
    }

    // Goal: a thief who copied a token and its user cannot both go on: once either used a token the other had used before, the
    // family is over; a user alone is never thrown out.
    // Method: seeded histories of two holders who refresh whatever they hold, at random times.
    #[test]
    fn two_holders_cannot_both_go_on() {
        for seed in 0..500 {
            let mut draws = Draws::new(seed);
            let mut family = Family { name: "mina".into(), generation: 1, place: 1, turned: 0, made: 0 };
            let mut held = [1_u32, 1];
            let (mut now, mut stolen, mut over, mut since_fork) = (0, false, false, 0);
            let steal_at = draws.below(20);
            for step in 0..40 {
                now += draws.below(60);
                stolen |= step == steal_at;
                if step == steal_at {
                    held[1] = held[0];
                }
                let holder = if stolen { usize::try_from(draws.below(2)).unwrap() } else { 0 };
                match family.presented(held[holder], LASTS, now) {
                    Presented::Newest => {
                        family = family.turn(now);
                        held[holder] = family.place;
                    }
                    Presented::JustBefore => held[holder] = family.place,
                    Presented::Reused => {
                        assert!(stolen, "seed {seed}: a user alone was thrown out");
                        over = true;
                        break;
                    }
                    Presented::Over => break,
                }
                if stolen && held[0].abs_diff(held[1]) > 1 {
                    since_fork += 1;
                }
            }
            assert!(over || since_fork < 30, "seed {seed}: both went on for {since_fork} steps");
        }
    }
}
