//! What the hub knows, in whole steps.
use super::*;

fn id(slot: u32) -> SessionId {
    SessionId { worker: u16::try_from(slot % 2).unwrap(), slot, life: 1 }
}

fn state() -> (State, Key) {
    let rules = Rules { members_max: 2, rooms_per_session_max: 2, ..Rules::default() };
    let mut state = State::new(rules, 2);
    let key = state.room(StreamId::new("lobby").unwrap(), "lobby".into(), Kind::Room).unwrap();
    (state, key)
}

fn connect(state: &mut State, slot: u32, name: &str) {
    let now = madang_host::clock::now();
    let person = Person { id: PersonId(format!("u:{name}").into()), name: name.into() };
    let pace = Pace::new(ASKS, now);
    let session = Session {
        person: Some(person.id.clone()),
        places: vec![],
        pace,
        busy: false,
        queue: VecDeque::new(),
        watches: vec![],
        login: None,
        over: false,
    };
    state.sessions.insert(id(slot), session);
    let human = state.humans.entry(person.id.clone()).or_insert_with(|| Human {
        person,
        admin: false,
        kept: None,
        sessions: vec![],
        pace,
        away: None,
        about: None,
        since_ms: 0,
        mine: BTreeMap::new(),
        typed: None,
        changes: pace,
    });
    human.sessions.push(id(slot));
}

// Goal: places are bounded, and everything a connection held is free again when it is gone.
#[test]
fn places_are_bounded_and_given_back() {
    let (mut state, key) = state();
    for (slot, name) in [(1, "a"), (2, "b"), (3, "c")] {
        connect(&mut state, slot, name);
    }
    state.enter(id(1), key, 0, None, Some(1)).unwrap();
    state.enter(id(2), key, 0, None, Some(1)).unwrap();
    state.enter(id(1), key, 0, None, Some(2)).unwrap();
    assert!(matches!(state.enter(id(3), key, 0, None, Some(1)), Err(Refusal::Full { max: 2, .. })));
    assert_eq!(state.rooms.get(key).unwrap().by_worker, vec![[1, 0], [1, 0]]);
    state.gone(id(1), 0);
    state.enter(id(3), key, 0, None, Some(1)).unwrap();
    state.gone(id(2), 0);
    state.gone(id(3), 0);
    assert!(state.rooms.len() == 0 && state.by_stream.is_empty() && state.humans.is_empty());
}

// Goal: whoever may be in one room may be in one beside announcements, which everybody hears, and in no second.
#[test]
fn announcements_take_no_place() {
    let (mut state, key) = state();
    state.rules.rooms_per_session_max = 1;
    connect(&mut state, 1, "a");
    let all = state.room(StreamId::new("everyone").unwrap(), "*".into(), Kind::Everyone).unwrap();
    let other = state.room(StreamId::new("den").unwrap(), "den".into(), Kind::Room).unwrap();
    state.enter(id(1), all, 0, None, None).unwrap();
    state.enter(id(1), key, 0, None, Some(1)).unwrap();
    assert!(matches!(state.enter(id(1), other, 0, None, Some(2)), Err(Refusal::Full { max: 1, .. })));
}

// Goal: who comes and goes between two tellings was never there; who is there twice is one.
#[test]
fn presence_tells_people_not_connections() {
    let (mut state, key) = state();
    state.rules.members_max = 10;
    for (slot, name) in [(1, "a"), (2, "a"), (3, "b"), (4, "c")] {
        connect(&mut state, slot, name);
        state.enter(id(slot), key, 0, None, Some(1)).unwrap();
    }
    state.gone(id(4), 0);
    state.out.iter_mut().for_each(Vec::clear);
    let now = madang_host::clock::now();
    assert_eq!(state.tell_presence(now), None);
    let told = |state: &mut State| match state.out[0].pop() {
        Some(ToWorker::Around { notice, .. }) => match &*notice {
            Notice::Presence { joined, left, people, .. } => (joined.len(), left.len(), *people),
            _ => panic!("another notice"),
        },
        _ => panic!("nothing told"),
    };
    assert_eq!(told(&mut state), (2, 0, 2));
    state.gone(id(1), 0);
    assert_eq!(state.tell_presence(now), None, "they are still there");
    state.gone(id(3), 0);
    let due = state.tell_presence(now).expect("not so soon again");
    assert_eq!(state.tell_presence(due), None);
    assert_eq!(told(&mut state), (0, 1, 1));
}

// Goal: where a client begins that comes back, or that comes back too late.
#[test]
fn who_comes_back_begins_where_it_was() {
    let (mut state, key) = state();
    let room = state.rooms.get_mut(key).unwrap();
    (room.epoch, room.first, room.told) = (7, 10, 20);
    let seen = |epoch, offset| Some(Seen { epoch, offset });
    assert_eq!(room.begin(None), (20, false));
    assert_eq!(room.begin(seen(7, 14)), (15, false));
    assert_eq!(room.begin(seen(7, 19)), (20, false));
    assert_eq!(room.begin(seen(7, 9)), (10, false), "it misses nothing that is gone");
    assert_eq!(room.begin(seen(7, 8)), (10, true), "too old");
    assert_eq!(room.begin(seen(6, 14)), (10, true), "of another life");
}
