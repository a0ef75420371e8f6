//! Behaviours of logins. Goal and method with each.

use std::net::IpAddr;
use std::time::Duration;

use super::{HERE, House, settings};
use crate::config::IdentitySettings;
use crate::desk::DeskLimits;
use crate::password::Cost;
use crate::scram::client;
use crate::{Refused, Via};

pub(super) fn passwords(house: &House) {
    house.mina();
    let session = house.login("mina", "correct horse").unwrap();
    assert_eq!((&*session.who.name, session.who.has_role("moderator")), ("Mina", true));
    let who = house.check(&session.access).unwrap();
    assert_eq!(who.id(), session.who.id());
    assert_eq!(who.via, Via::Session);
    assert!(house.login("ＭＩＮＡ", "correct\u{a0}horse").is_ok(), "typed on another keyboard");
    for (name, password) in [
        ("mina", "correct hors"),
        ("mina", "Correct horse"),
        ("mina", ""),
        ("minas", "correct horse"),
        ("", "correct horse"),
        ("mina\0", "correct horse"),
        ("mina", &"x".repeat(100_000)),
    ] {
        assert_eq!(house.login(name, password).unwrap_err(), Refused::Login, "{name:?}");
    }
}

// Goal: nothing tells whether a name exists: same words, same number of hashes. Method: count the work of the hashing threads, not time.
pub(super) fn nothing_is_told(house: &House) {
    house.mina();
    house.run(house.identity.add_user("locked", Some("correct horse"), &[])).unwrap();
    house.run(house.identity.set_disabled("locked", true)).unwrap();
    house.run(house.identity.add_user("robot", None, &[])).unwrap();
    let too_long = "x".repeat(1000);
    for (name, password) in [
        ("mina", "wrong password"),
        ("nobody", "wrong password"),
        ("locked", "correct horse"),
        ("robot", "correct horse"),
        ("no name/at all", "wrong password"),
        ("mina", &too_long),
        ("nobody", &too_long),
    ] {
        let before = house.hashes();
        let refused = house.login(name, password).unwrap_err();
        assert_eq!(
            (refused.to_string(), refused.status()),
            ("wrong name or password".to_owned(), 401),
            "{name}"
        );
        // The count is written just after the answer.
        while house.hashes() == before {
            std::thread::yield_now();
        }
        assert_eq!(house.hashes() - before, 1, "{name}");
    }
}

pub(super) fn guessing(house: &House) {
    house.mina();
    for name in ["mina", "nobody"] {
        let from = IpAddr::from([198, 51, 100, u8::try_from(name.len()).unwrap()]);
        let attempt = |password: &str| house.run(house.identity.login(name, password, from));
        for _ in 0..5 {
            assert_eq!(attempt("wrong password").unwrap_err(), Refused::Login);
        }
        let before = house.hashes();
        let wait = Duration::from_secs(1);
        assert_eq!(attempt("correct horse").unwrap_err(), Refused::LoginWait { wait }, "{name}");
        assert_eq!(house.hashes(), before, "nothing is hashed for who has to wait");
        house.later(1);
        assert_eq!(attempt("correct horse").is_ok(), name == "mina");
    }
}

pub(super) fn a_full_line(house: &House) {
    let narrow = IdentitySettings { hash_desk: DeskLimits { at_once: 2, waiting_max: 0 }, ..settings() };
    house.mina();
    house.identity.renew(&narrow, &[]);
    for _ in 0..20 {
        let refused = house.login("mina", "correct horse").unwrap_err();
        assert!(
            matches!(refused, Refused::LoginBusy { wait, .. } if wait >= Duration::from_secs(1)),
            "{refused:?}"
        );
    }
    house.identity.renew(&settings(), &[]);
    assert!(house.login("mina", "correct horse").is_ok(), "not counted as guesses");
}

pub(super) fn hashing_anew(house: &House) {
    house.mina();
    let dearer = IdentitySettings { hash_cost: Cost { memory_kib: 16, passes: 2 }, ..settings() };
    house.identity.renew(&dearer, &[]);
    let hash = || house.run(house.identity.0.users.find("mina")).unwrap().unwrap().password.unwrap();
    let before = hash();
    assert!(house.login("mina", "wrong password").is_err());
    assert_eq!(hash(), before, "a wrong password changes nothing");
    assert!(house.login("mina", "correct horse").is_ok());
    assert!(hash().contains("m=16,t=2"), "{}", hash());
    assert!(house.login("mina", "correct horse").is_ok());
}

pub(super) fn guests(house: &House) {
    let guest = house.identity.guest(Some("민아")).unwrap();
    let who = house.check(&guest.access).unwrap();
    assert!(who.is_guest() && who.user.is_none() && guest.refresh.is_none());
    assert_eq!((&*who.name, who.via.clone()), ("guest-민아", Via::Guest));
    let (one, two) = (house.identity.guest(None).unwrap(), house.identity.guest(None).unwrap());
    assert_ne!(one.who.id(), two.who.id());
    assert!(one.who.name.starts_with("guest-"));
    for wrong in ["", "a b", "x@y", "/etc", &"a".repeat(30), "\u{202e}x"] {
        assert_eq!(house.identity.guest(Some(wrong)).unwrap_err(), Refused::GuestName, "{wrong:?}");
    }
    assert!(house.run(house.identity.logout(&who)).is_ok());
    house.later(86_400);
    assert_eq!(house.check(&guest.access).unwrap_err().name(), "token-expired");
    house.identity.renew(&IdentitySettings { guests: false, ..settings() }, &[]);
    assert_eq!(house.identity.guest(None).unwrap_err(), Refused::GuestsOff);
}

pub(super) fn scram(house: &House) {
    house.mina();
    let attempt = |name: &str, password: &str| {
        let first = client::first(name, "rOprNGfwEbeRWgbNEkqO");
        let server = house.run(house.identity.scram(&first, HERE))?;
        let (last, want) = client::last(&first, server.message(), password);
        let (answer, who) = server.finish(&last)?;
        assert_eq!(answer, want);
        Ok(who.id().to_owned())
    };
    assert_eq!(
        attempt("mina", "correct horse").unwrap(),
        house.login("mina", "correct horse").unwrap().who.id()
    );
    assert_eq!(attempt("mina", "wrong password"), Err(Refused::Login));
    // A name that is not there has the same salt each time, as one that is has.
    let salt = |name: &str| {
        let scram = house.run(house.identity.scram(&client::first(name, "x"), HERE)).unwrap();
        scram.message().split(',').nth(1).unwrap().to_owned()
    };
    let (one, other) = (salt("nobody"), salt("nobody"));
    assert_eq!((one.len(), &one), (salt("somebody").len(), &other));
    assert_ne!(one, salt("somebody"));
    // Exchanges that are begun and left are guesses, too.
    let from = IpAddr::from([198, 51, 100, 9]);
    let begun =
        (0..20).filter(|_| house.run(house.identity.scram(&client::first("mina", "x"), from)).is_ok());
    assert_eq!(begun.count(), 5);
    house.identity.renew(&IdentitySettings { scram_iterations: None, ..settings() }, &[]);
    assert_eq!(attempt("mina", "correct horse"), Err(Refused::ScramOff));
}

// Goal: a guesser gets no more tries by going from machine to machine, and a right login counts on all of them.
// Method: two machines over one store that tell each other, as over the bus.
pub(super) fn guessing_everywhere(house: &House) {
    house.mina();
    let other = House::with(house.store.clone(), &super::settings(), &[], &house.clock);
    let (to_other, mut of_house) = tokio::sync::mpsc::channel(64);
    let (to_house, mut of_other) = tokio::sync::mpsc::channel(64);
    house.identity.tell_tries(to_other);
    other.identity.tell_tries(to_house);
    let mut exchanged = || {
        while let Ok(news) = of_house.try_recv() {
            other.identity.hear_tries(news.as_ref());
        }
        while let Ok(news) = of_other.try_recv() {
            house.identity.hear_tries(news.as_ref());
        }
    };
    for turn in 0..5 {
        let at = if turn % 2 == 0 { house } else { &other };
        assert_eq!(at.login("mina", "wrong").unwrap_err(), Refused::Login, "{turn}");
        exchanged();
    }
    for at in [house, &other] {
        assert_eq!(at.login("mina", "correct horse").unwrap_err().name(), "login-wait");
    }
    house.later(2);
    other.login("mina", "correct horse").unwrap();
    exchanged();
    assert_eq!(house.login("mina", "wrong").unwrap_err(), Refused::Login, "begun anew here as well");
}
