//! Behaviours of sessions.

use super::{House, settings};
use crate::{Refused, SESSIONS_MAX};

pub(super) fn going_on(house: &House) {
    house.mina();
    let mut session = house.login("mina", "correct horse").unwrap();
    for _ in 0..5 {
        house.later(600);
        assert_eq!(house.check(&session.access).unwrap_err().name(), "token-expired");
        let next = house.run(house.identity.refresh(session.refresh.as_deref().unwrap())).unwrap();
        assert!(house.check(&next.access).is_ok());
        assert_eq!(next.who.session, session.who.session);
        session = next;
    }
    for wrong in ["", "mdr_", "mdr_AAAA", &session.access, &format!("{}A", session.refresh.unwrap())] {
        assert_eq!(house.run(house.identity.refresh(wrong)).unwrap_err(), Refused::RefreshUnknown, "{wrong}");
    }
}

pub(super) fn reuse(house: &House) {
    house.mina();
    let (mine, other) =
        (house.login("mina", "correct horse").unwrap(), house.login("mina", "correct horse").unwrap());
    let stolen = mine.refresh.unwrap();
    let next = house.run(house.identity.refresh(&stolen)).unwrap();
    house.later(11);
    assert_eq!(house.run(house.identity.refresh(&stolen)).unwrap_err(), Refused::RefreshReused);
    assert_eq!(
        house.check(&next.access).unwrap_err(),
        Refused::TokenRevoked,
        "the thief's or the user's: both are out"
    );
    assert_eq!(house.run(house.identity.refresh(&next.refresh.unwrap())).unwrap_err(), Refused::SessionOver);
    assert!(house.check(&other.access).is_ok(), "another session of the same user goes on");
    assert!(house.run(house.identity.refresh(&other.refresh.unwrap())).is_ok());
}

pub(super) fn two_windows(house: &House) {
    house.mina();
    let session = house.login("mina", "correct horse").unwrap();
    let token = session.refresh.unwrap();
    let (one, two) =
        house.run(async { tokio::join!(house.identity.refresh(&token), house.identity.refresh(&token)) });
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.refresh, two.refresh, "one next token, not two");
    assert!(house.check(&one.access).is_ok() && house.check(&two.access).is_ok());
    assert!(house.run(house.identity.refresh(&one.refresh.unwrap())).is_ok());
}

pub(super) fn ends(house: &House) {
    house.mina();
    let login = || house.login("mina", "correct horse").unwrap();
    let refresh =
        |session: &crate::Session| house.run(house.identity.refresh(session.refresh.as_deref().unwrap()));

    let (one, two, three) = (login(), login(), login());
    house.run(house.identity.logout(&house.check(&one.access).unwrap())).unwrap();
    assert_eq!(house.check(&one.access).unwrap_err(), Refused::TokenRevoked);
    assert_eq!(refresh(&one).unwrap_err(), Refused::SessionOver);
    assert!(house.check(&two.access).is_ok());
    house.run(house.identity.logout_by_refresh(two.refresh.as_deref().unwrap())).unwrap();
    assert_eq!(house.check(&two.access).unwrap_err(), Refused::TokenRevoked);
    house.run(house.identity.logout_everywhere("mina")).unwrap();
    assert_eq!(refresh(&three).unwrap_err(), Refused::SessionOver);

    let (idle, mut used) = (login(), login());
    for _ in 0..6 {
        house.later(29 * 86_400);
        match refresh(&used) {
            Ok(next) => used = next,
            Err(refused) => panic!("{refused}"),
        }
    }
    assert_eq!(refresh(&idle).unwrap_err(), Refused::SessionOver, "not used for 30 days");
    house.later(7 * 86_400);
    assert_eq!(refresh(&used).unwrap_err(), Refused::SessionOver, "180 days are the end in any case");
}

pub(super) fn bounded(house: &House) {
    house.mina();
    let first = house.login("mina", "correct horse").unwrap();
    for _ in 0..SESSIONS_MAX {
        house.later(1);
        let record = house.run(house.identity.0.users.find("mina")).unwrap().unwrap();
        house.run(house.identity.begin_session(&record)).unwrap();
    }
    assert_eq!(house.check(&first.access).unwrap_err(), Refused::TokenRevoked);
    assert_eq!(house.run(house.identity.refresh(&first.refresh.unwrap())).unwrap_err(), Refused::SessionOver);
}

// Goal: what one machine revokes, another refuses after its next look. Method: two identities over one store.
pub(super) fn other_machines(house: &House) {
    house.mina();
    let other = House::with(house.store.clone(), &settings(), &[], &house.clock);
    let session = house.login("mina", "correct horse").unwrap();
    assert!(other.check(&session.access).is_ok());
    house.run(house.identity.logout(&session.who)).unwrap();
    assert!(other.check(&session.access).is_ok(), "it has not looked yet");
    other.run(other.identity.look()).unwrap();
    assert_eq!(other.check(&session.access).unwrap_err(), Refused::TokenRevoked);
    house.later(700);
    other.run(other.identity.look()).unwrap();
    assert_eq!(house.check(&session.access).unwrap_err().name(), "token-expired");
}

// Goal: a machine that heard nothing while revocations came and went asks the store, and knows then.
// Method: one session, key and user of several taken back behind another machine's back, and forgotten by the list; a look that comes so late
// is a doubt, one in time is none.
pub(super) fn asked_later(house: &House) {
    house.mina();
    house.run(house.identity.add_user("kim", Some("correct horse"), &[])).unwrap();
    let other = House::with(house.store.clone(), &settings(), &[], &house.clock);
    let key = house.run(house.identity.new_key("kim", crate::WantedKey::default())).unwrap().key;
    let one = house.login("mina", "correct horse").unwrap().who;
    let two = house.login("mina", "correct horse").unwrap().who;
    let kim = house.login("kim", "correct horse").unwrap().who;
    let by_key = other.run(other.identity.identify(&key, other.now())).unwrap();
    let mut doubts = other.identity.doubts();
    let before = other.clock.load(std::sync::atomic::Ordering::Relaxed);
    house.run(house.identity.logout(&one)).unwrap();
    house.run(house.identity.revoke_key(&key)).unwrap();
    house.later(599);
    other.identity.looked(before);
    assert!(!doubts.has_changed().unwrap(), "in time: the list still has it");
    house.later(101);
    other.run(other.identity.look()).unwrap();
    other.identity.looked(before);
    assert!(doubts.has_changed().unwrap());
    doubts.mark_unchanged();
    let still = |who| other.run(other.identity.still_by_store(who));
    assert!(other.identity.still(&one).is_ok(), "it has heard nothing");
    assert_eq!(still(&one), Err(Refused::TokenRevoked));
    assert_eq!(still(&by_key), Err(Refused::TokenRevoked));
    assert_eq!((still(&two), still(&kim)), (Ok(()), Ok(())));
    house.run(house.identity.set_disabled("mina", true)).unwrap();
    house.run(house.identity.remove_user("kim")).unwrap();
    assert_eq!((still(&two), still(&kim)), (Err(Refused::TokenRevoked), Err(Refused::TokenRevoked)));
}
