//! Behaviours of users.

use super::House;
use crate::{Refused, UserError};

pub(super) fn life(house: &House) {
    let identity = &house.identity;
    house.mina();
    for name in ["bob", "Alice", "민아"] {
        house.run(identity.add_user(name, Some("correct horse"), &[])).unwrap();
    }
    let names = |after| -> Vec<String> {
        house.run(identity.users(after)).unwrap().into_iter().map(|user| user.name).collect()
    };
    assert_eq!(names(None), ["Alice", "bob", "Mina", "민아"]);
    assert_eq!(names(Some("BOB")), ["Mina", "민아"]);
    let mina = house.run(identity.user("mina")).unwrap();
    assert!(mina.password && mina.scram && !mina.disabled && mina.roles == ["moderator"]);

    house.run(identity.set_password("mina", "another horse")).unwrap();
    assert_eq!(house.login("mina", "correct horse").unwrap_err(), Refused::Login);
    assert!(house.login("mina", "another horse").is_ok());
    house.run(identity.change_password("mina", "another horse", "third horse", super::HERE)).unwrap();
    let wrong = house.run(identity.change_password("mina", "another horse", "fourth horse", super::HERE));
    assert_eq!(wrong, Err(UserError::Refused(Refused::Login)));
    assert!(house.login("mina", "third horse").is_ok());

    house.run(identity.remove_user("mina")).unwrap();
    assert_eq!(names(None), ["Alice", "bob", "민아"]);
    assert_eq!(house.login("mina", "third horse").unwrap_err(), Refused::Login);
}

pub(super) fn refusals(house: &House) {
    house.mina();
    let add = |name: &str, password: &str, roles: &[&str]| {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        house.run(house.identity.add_user(name, Some(password), &roles)).unwrap_err()
    };
    let check = |error: UserError, name: &str, status: u16| {
        assert_eq!((error.name(), error.status()), (name, status), "{error}")
    };
    check(add("MINA", "correct horse", &[]), "user-taken", 409);
    check(add("a/b", "correct horse", &[]), "user-name", 422);
    check(add("guest-1", "correct horse", &[]), "user-name", 422);
    check(add("bob", "short", &[]), "user-password", 422);
    check(add("bob", &"x".repeat(300), &[]), "user-password", 422);
    check(add("bob", "correct horse", &["No Role"]), "user-role", 422);
    check(
        house.run(house.identity.set_password("nobody", "correct horse")).unwrap_err(),
        "no-such-user",
        404,
    );
    check(house.run(house.identity.remove_user("nobody")).unwrap_err(), "no-such-user", 404);
    check(house.run(house.identity.set_disabled("nobody", true)).unwrap_err(), "no-such-user", 404);
    check(house.run(house.identity.logout_everywhere("nobody")).unwrap_err(), "no-such-user", 404);
    assert!(house.run(house.identity.user("bob")).is_err(), "nothing was made on the way");
}

// Goal: two operators at once lose nothing. Method: many changes of one user under way together; each adds a generation.
pub(super) fn changes_at_once(house: &House) {
    house.mina();
    house.run(async {
        let change = |_| house.identity.set_roles("mina", &[]);
        let (a, b, c, d) = tokio::join!(change(1), change(2), change(3), change(4));
        for one in [a, b, c, d] {
            one.unwrap();
        }
    });
    let generation = house.run(house.identity.0.users.find("mina")).unwrap().unwrap().generation;
    assert_eq!(generation, 5);
}

pub(super) fn changes_end_logins(house: &House) {
    house.mina();
    type Change = fn(&House);
    let changes: [(&str, Change); 5] = [
        ("roles", |house| drop(house.run(house.identity.set_roles("mina", &[])).unwrap())),
        ("password", |house| drop(house.run(house.identity.set_password("mina", "correct horse")).unwrap())),
        ("logout", |house| house.run(house.identity.logout_everywhere("mina")).unwrap()),
        ("disabled", |house| drop(house.run(house.identity.set_disabled("mina", true)).unwrap())),
        ("removed", |house| drop(house.run(house.identity.remove_user("mina")).unwrap())),
    ];
    for (what, change) in changes {
        house.run(house.identity.set_disabled("mina", false)).unwrap();
        let session = house.login("mina", "correct horse").unwrap();
        let mut changed = house.identity.revocations();
        changed.mark_unchanged();
        assert!(house.check(&session.access).is_ok() && house.identity.still(&session.who).is_ok());
        change(house);
        assert!(changed.has_changed().unwrap(), "{what}: open connections are told");
        assert_eq!(house.check(&session.access).unwrap_err(), Refused::TokenRevoked, "{what}");
        assert_eq!(house.identity.still(&session.who), Err(Refused::TokenRevoked), "{what}");
        let refused = house.run(house.identity.refresh(&session.refresh.unwrap())).unwrap_err();
        assert_eq!(refused, Refused::SessionOver, "{what}");
    }
}

pub(super) fn a_name_given_again(house: &House) {
    house.mina();
    let old = house.login("mina", "correct horse").unwrap();
    house.run(house.identity.remove_user("mina")).unwrap();
    house.mina();
    let new = house.login("mina", "correct horse").unwrap();
    assert_ne!(old.who.id(), new.who.id());
    assert!(house.check(&old.access).is_err() && house.check(&new.access).is_ok());
    assert!(house.run(house.identity.refresh(&old.refresh.unwrap())).is_err());
}
