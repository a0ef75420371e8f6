//! Behaviours of access tokens over several machines.

use super::{House, settings};

pub(super) fn one_store(house: &House) {
    house.mina();
    let other = House::with(house.store.clone(), &settings(), &[], &house.clock);
    let session = house.login("mina", "correct horse").unwrap();
    assert_eq!(other.check(&session.access).unwrap().id(), session.who.id());
    let next = other.run(other.identity.refresh(&session.refresh.unwrap())).unwrap();
    assert!(house.check(&next.access).is_ok());
    assert!(house.check(&other.identity.guest(None).unwrap().access).unwrap().is_guest());
}
