//! Who is where, says what, and when something breaks: all of it from one seed.
//!
//! **Job.** Deal rooms, messages, cuts and kills. **Called by** `crash` and its clients. Pure.
//!
//! Invariants
//! 1. The same seed and numbers give the same plan.
//! 2. Every conversation has at least two people; everybody says the same number of messages, give or take one.
//!
//! Not here: the clock, sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use madang_host::draws::Draws;

use super::Face;
use super::house::{Blow, Kind};
use super::ledger::{Conversation, Number};

/// The shortest time between something that breaks and its end.
const SHORTEST: Duration = Duration::from_millis(500);
/// Most are no longer than that.
const SHORT_MAX: Duration = Duration::from_secs(5);

/// One conversation as one client calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The same for all who are in it.
    pub conversation: Conversation,
    /// What this client calls it.
    pub called: String,
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Which one.
    pub number: Number,
    /// Where, of the client's places.
    pub place: usize,
    /// What.
    pub text: String,
}

impl Message {
    /// With it the server knows the message again.
    pub(super) fn nonce(&self) -> String {
        format!("{}-{}", self.number.client, self.number.message)
    }
}

/// The whole drill.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    seed: u64,
    clients: u32,
    messages: u32,
    rooms: u32,
    cuts_each: u32,
    faces: Vec<Face>,
    nodes: u64,
    kinds: Vec<Kind>,
    outage_max: Duration,
    /// At so many acknowledged messages the server is killed.
    pub kills: VecDeque<u64>,
}

impl Plan {
    /// Kills are spread over the whole of the sending, never twice at the same message.
    pub(super) fn new(options: &super::Options, kinds: &[Kind]) -> Self {
        let (clients, messages) = (options.clients, options.messages);
        let mut draws = Draws::new(options.seed);
        let share = u64::from(messages) / u64::from(options.kills.max(1));
        let kills = (0..u64::from(options.kills))
            .map(|kill| kill * share + 1 + draws.below(share.saturating_sub(1)))
            .collect();
        Self {
            seed: options.seed,
            clients,
            messages,
            rooms: (clients / 5).max(1),
            cuts_each: options.cuts,
            faces: options.faces.clone(),
            nodes: u64::from(options.nodes),
            kinds: kinds.to_vec(),
            outage_max: Duration::from_secs(options.outage_max),
            kills,
        }
    }

    /// By which face a client comes.
    pub(super) fn face(&self, client: u32) -> Face {
        let lane = client as usize % self.faces.len().max(1);
        self.faces.get(lane).copied().unwrap_or(Face::Ws)
    }

    /// What befalls the house the how manieth time: each kind once before one comes again.
    pub(super) fn blow(&self, number: u64) -> Blow {
        let count = self.kinds.len().max(1) as u64;
        let mut kinds = self.kinds.clone();
        let mut draws = Draws::new(self.seed ^ (number / count + 1).wrapping_mul(0xd1b5_4a32));
        for left in (1..kinds.len()).rev() {
            kinds.swap(left, at(draws.below(left as u64 + 1)));
        }
        let kind = kinds.get(at(number % count)).copied().unwrap_or(Kind::Kill);
        let mut draws = Draws::new(self.seed ^ (number + 1).wrapping_mul(0x9e37_79b9));
        let node = at(draws.below(self.nodes));
        let most = self.outage_max.max(SHORTEST);
        let lasts = match draws.below(4) {
            // Longer than anybody waits, now and then.
            0 => most - draws.up_to(most / 4),
            _ => SHORTEST + draws.up_to(most.min(SHORT_MAX).saturating_sub(SHORTEST)),
        };
        // Of one machine nobody would notice how long it was away.
        Blow { kind, node, lasts: if self.nodes > 1 { lasts } else { Duration::ZERO } }
    }

    /// After how long a client goes elsewhere when nobody answers.
    pub(super) fn silence(&self) -> Duration {
        Duration::from_secs(if self.nodes > 1 { 3 } else { 10 })
    }

    /// A client's name.
    pub(super) fn name(client: u32) -> String {
        format!("c{client}")
    }

    /// Where a client is: in two rooms (one, where there is no second), and in a talk with its neighbour.
    pub(super) fn places(&self, client: u32) -> Vec<Place> {
        let rooms = [client % self.rooms, (client / self.rooms * 3 + client + 1) % self.rooms];
        let mut places: Vec<Place> = Vec::new();
        for room in rooms {
            let called = format!("room{room}");
            if places.iter().all(|place| place.called != called) {
                places.push(Place { conversation: called.clone(), called });
            }
        }
        if let Some(other) = self.neighbour(client) {
            let (low, high) = (client.min(other), client.max(other));
            let conversation = format!("{} and {}", Self::name(low), Self::name(high));
            places.push(Place { conversation, called: format!("@{}", Self::name(other)) });
        }
        places
    }

    /// Who reads which logs in the end: the first who is there by websocket, and where nobody is, the first of all.
    pub(super) fn audits(&self) -> BTreeMap<u32, Vec<Place>> {
        let mut audits: BTreeMap<u32, Vec<Place>> = BTreeMap::new();
        let mut read = BTreeSet::new();
        let (by_websocket, others): (Vec<u32>, Vec<u32>) =
            (0..self.clients).partition(|client| self.face(*client) == Face::Ws);
        let first = by_websocket.first().copied().unwrap_or_default();
        for client in by_websocket.iter().chain(&others) {
            let reader = if self.face(*client) == Face::Ws { *client } else { first };
            for place in self.places(*client) {
                if read.insert(place.conversation.clone()) {
                    audits.entry(reader).or_default().push(place);
                }
            }
        }
        audits
    }

    /// With whom a client talks alone: with the next one of its face. Over IRC a guest without a key is another one every time.
    fn neighbour(&self, client: u32) -> Option<u32> {
        let lanes = u32::try_from(self.faces.len()).unwrap_or(1).max(1);
        let other = ((client / lanes) ^ 1) * lanes + client % lanes;
        (self.face(client) == Face::Ws && other < self.clients).then_some(other)
    }

    /// What a client says, in order.
    pub(super) fn messages(&self, client: u32) -> Vec<Message> {
        let mut draws = self.draws(client, 1);
        let places = self.places(client).len() as u64;
        let talk = self.neighbour(client).is_some();
        let count = self.messages / self.clients + u32::from(client < self.messages % self.clients);
        let message = |message| {
            // One in eight goes to the neighbour alone.
            let rooms = if talk { places - 1 } else { places };
            let place = if talk && draws.below(8) == 0 { rooms } else { draws.below(rooms) };
            let letters = ["a", "b ", "\"", "\\", "마", "당 ", "é", "😀", "/", "<&>"];
            let filler: String = (0..draws.below(24)).map(|_| letters[at(draws.below(10))]).collect();
            Message {
                number: Number { client, message },
                place: at(place),
                // No white space at either end: some faces cut it off.
                text: format!("{client}/{message} {filler}."),
            }
        };
        (0..count).map(message).collect()
    }

    /// When a client is cut off, over all its connections.
    pub(super) fn cuts(&self, client: u32) -> Cuts {
        // What a client hears: what is said where it is, and its answers.
        let heard = u64::from(self.messages / self.clients) * 9;
        let every = heard.checked_div(u64::from(self.cuts_each)).unwrap_or(u64::MAX / 4).max(2);
        let mut cuts = Cuts { draws: self.draws(client, 2), every, left: 0 };
        cuts.left = cuts.draw();
        cuts
    }

    fn draws(&self, client: u32, purpose: u64) -> Draws {
        Draws::new(self.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(client) * 16 + purpose))
    }
}

/// When one client is cut off.
#[derive(Debug, Clone)]
pub(super) struct Cuts {
    draws: Draws,
    every: u64,
    /// So many frames from now on.
    left: u64,
}

impl Cuts {
    /// A frame came: whether the client is cut off now, and then whether the other side is told so by a reset.
    pub(super) fn frame(&mut self) -> Option<bool> {
        self.left -= 1;
        (self.left == 0).then(|| {
            self.left = self.draw();
            self.draws.below(2) == 0
        })
    }

    fn draw(&mut self) -> u64 {
        1 + self.draws.below(self.every * 2)
    }
}

/// An index: all that is drawn here is small.
fn at(drawn: u64) -> usize {
    usize::try_from(drawn).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Face; 4] = [Face::Ws, Face::Irc, Face::SsePost, Face::Line];

    // Goal: every kind of fault comes, on every machine, none so long that a drill stands still.
    #[test]
    fn everything_befalls_everybody() {
        let plan = plan(4, 12, 1_000, 20, 1, &ALL);
        let blows: Vec<Blow> = (0..70).map(|number| plan.blow(number)).collect();
        for round in blows.chunks(Kind::ALL.len()) {
            let kinds: BTreeSet<Kind> = round.iter().map(|blow| blow.kind).collect();
            assert_eq!(kinds.len(), Kind::ALL.len());
        }
        assert!((0..3).all(|node| blows.iter().any(|blow| blow.node == node)));
        let bounds = SHORTEST..=Duration::from_secs(20);
        assert!(blows.iter().all(|blow| bounds.contains(&blow.lasts)), "{blows:?}");
        assert!(blows.iter().any(|blow| blow.lasts >= Duration::from_secs(15)));
    }

    fn plan(seed: u64, clients: u32, messages: u32, kills: u32, cuts: u32, faces: &[Face]) -> Plan {
        let options = crate::crash::Options {
            madang: "madang".into(),
            seed,
            clients,
            messages,
            kills,
            cuts,
            faces: faces.to_vec(),
            nodes: 3,
            faults: Vec::new(),
            outage_max: 20,
            json: false,
            keep: false,
            inside: None,
        };
        Plan::new(&options, &Kind::ALL)
    }

    proptest! {
        // Goal: whatever the numbers, everybody has something to say where somebody hears it, and the kills are in the sending.
        #[test]
        fn a_plan_is_whole(
            seed: u64,
            clients in 2_u32..60,
            messages in 60_u32..3_000,
            kills in 0_u32..20,
            faces in prop::sample::select(vec![&[Face::Ws][..], &[Face::Ws, Face::Irc], &[Face::Ws, Face::Irc, Face::Irc], &ALL]),
        ) {
            let (made, again) = (plan(seed, clients, messages, kills, 3, faces), plan(seed, clients, messages, kills, 3, faces));
            let plan = made;
            let mut total = 0;
            for client in 0..clients {
                let (places, said) = (plan.places(client), plan.messages(client));
                prop_assert_eq!(&said, &again.messages(client));
                prop_assert!(said.iter().all(|message| message.place < places.len() && message.text.len() < 200));
                total += said.len();
            }
            prop_assert_eq!(total, messages as usize);
            prop_assert_eq!(plan.kills.len(), kills as usize);
            prop_assert!(plan.kills.iter().is_sorted_by(|a, b| a < b));
            prop_assert!(plan.kills.iter().all(|kill| (1..=u64::from(messages)).contains(kill)));
        }
    }

    // Goal: every conversation is read in the end, once, by somebody who can: a talk of two only by one of them.
    #[test]
    fn every_conversation_is_read_by_one_who_can() {
        for clients in [2, 12, 30, 50] {
            let plan = plan(1, clients, 100, 1, 1, &ALL);
            let spoken: Vec<Place> = (0..clients).flat_map(|client| plan.places(client)).collect();
            let want: BTreeSet<Conversation> = spoken.into_iter().map(|place| place.conversation).collect();
            let mut read = BTreeSet::new();
            for (client, places) in plan.audits() {
                assert_eq!(plan.face(client), Face::Ws);
                for place in places {
                    assert!(!place.called.starts_with('@') || plan.places(client).contains(&place));
                    assert!(read.insert(place.conversation), "once");
                }
            }
            assert_eq!(read, want, "{clients} clients");
        }
    }

    // Goal: cuts come about as often as was asked for.
    #[test]
    fn cuts_are_spread_over_what_is_heard() {
        let mut cuts = plan(5, 10, 10_000, 1, 10, &[Face::Ws]).cuts(3);
        let count = (0..9_000).filter(|_| cuts.frame().is_some()).count();
        assert!((5..=20).contains(&count), "{count} cuts");
    }

    // Goal: two who talk call the conversation differently and mean the same.
    #[test]
    fn a_talk_has_two_names() {
        let plan = plan(1, 12, 100, 1, 1, &[Face::Ws]);
        let talk = |client: u32| plan.places(client).pop().unwrap();
        assert_eq!((talk(4).called.as_str(), talk(5).called.as_str()), ("@c5", "@c4"));
        assert_eq!(talk(4).conversation, talk(5).conversation);
    }
}
