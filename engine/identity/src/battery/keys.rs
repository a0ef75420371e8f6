//! Behaviours of API keys.

use std::time::Duration;

use super::House;
use crate::{KEYS_MAX, Refused, UserError, Via, WantedKey};

fn wanted(label: &str) -> WantedKey {
    WantedKey { label: label.to_owned(), ..WantedKey::default() }
}

pub(super) fn life(house: &House) {
    let identity = &house.identity;
    house.mina();
    let check = |key: &str| house.run(identity.identify(key, house.now()));
    let made = house.run(identity.new_key("mina", wanted("backup\n at night"))).unwrap();
    assert_eq!(made.view.label, "backup at night");
    assert!(made.key.starts_with(&made.view.prefix) && !format!("{made:?}").contains(&made.key));
    assert_eq!(identity.check(&made.key, house.now()).unwrap_err(), Refused::KeyUnknown, "not asked for yet");
    let who = check(&made.key).unwrap();
    assert_eq!((&*who.name, who.has_role("moderator")), ("Mina", true));
    assert!(matches!(&who.via, Via::Key(_)));
    assert!(identity.check(&made.key, house.now()).is_ok(), "lately asked for");
    assert_eq!(identity.check(&made.key, house.now() + 31).unwrap_err(), Refused::KeyUnknown);

    // Nothing of the key but its beginning is in the store.
    let secret = made.key.rsplit('_').next().unwrap();
    for namespace in ["identity.key", "identity.key-of"] {
        for (key, held) in house.run(house.store.kv().scan(namespace, "", None, 100)).unwrap() {
            assert!(!key.contains(secret) && !String::from_utf8_lossy(&held.value).contains(secret));
        }
    }
    let last = if made.key.ends_with('a') { "b" } else { "a" };
    for wrong in
        [format!("{}{last}", &made.key[..made.key.len() - 1]), "mdk_".to_owned(), made.view.prefix.clone()]
    {
        assert_eq!(check(&wrong).unwrap_err(), Refused::KeyUnknown, "{wrong}");
    }

    assert_eq!(house.run(identity.keys("mina")).unwrap(), std::slice::from_ref(&made.view));
    house.run(identity.revoke_key(&made.view.prefix)).unwrap();
    assert!(matches!(check(&made.key).unwrap_err(), Refused::KeyUnknown | Refused::TokenRevoked));
    assert!(house.run(identity.keys("mina")).unwrap().is_empty());
    assert!(matches!(house.run(identity.revoke_key(&made.view.prefix)), Err(UserError::NoSuchKey { .. })));

    let short = WantedKey { lasts: Some(Duration::from_secs(60)), ..wanted("short") };
    let short = house.run(identity.new_key("mina", short)).unwrap();
    assert!(check(&short.key).is_ok());
    house.later(60);
    assert_eq!(check(&short.key).unwrap_err(), Refused::KeyExpired);
}

pub(super) fn roles(house: &House) {
    let identity = &house.identity;
    house.mina();
    let check = |key: &str| house.run(identity.identify(key, house.now()));
    let none = house
        .run(identity.new_key("mina", WantedKey { roles: Some(Vec::new()), ..wanted("reads") }))
        .unwrap();
    assert!(check(&none.key).unwrap().roles.is_empty());
    let more = WantedKey { roles: Some(vec!["admin".to_owned()]), ..wanted("more") };
    assert!(matches!(house.run(identity.new_key("mina", more)), Err(UserError::Role { .. })));
    let all = house.run(identity.new_key("mina", wanted("all"))).unwrap();
    assert!(check(&all.key).unwrap().has_role("moderator"));
    house.run(identity.set_roles("mina", &[])).unwrap();
    assert!(check(&all.key).unwrap().roles.is_empty(), "a key has what its user has now");
    house.run(identity.set_disabled("mina", true)).unwrap();
    assert_eq!(check(&all.key).unwrap_err(), Refused::TokenRevoked);
    house.run(identity.set_disabled("mina", false)).unwrap();
    assert!(check(&all.key).is_ok());

    for _ in 2..KEYS_MAX {
        house.run(identity.new_key("mina", wanted("many"))).unwrap();
    }
    assert!(matches!(
        house.run(identity.new_key("mina", wanted("more"))),
        Err(UserError::TooManyKeys { .. })
    ));
    for lasts in [Duration::ZERO, Duration::from_secs(4000 * 86_400)] {
        house.run(identity.add_user(&format!("u{}", lasts.as_secs()), None, &[])).unwrap();
        let wanted = WantedKey { lasts: Some(lasts), ..wanted("x") };
        assert_eq!(
            house.run(identity.new_key(&format!("u{}", lasts.as_secs()), wanted)).unwrap_err(),
            UserError::KeyTime
        );
    }
    house.run(identity.remove_user("mina")).unwrap();
    assert!(check(&all.key).is_err());
    assert!(house.run(house.store.kv().scan("identity.key", "", None, 100)).unwrap().is_empty());
}
