//! Goal: of several machines with one database one sends a hook's letters, whoever wrote what they tell, and each letter once; when it ends or
//! dies another one goes on.
//! Method: two machines over PostgreSQL and NATS that both have the hook; a holder that is asked to end, then one that is killed while letters
//! wait. A lease lasts 90 s: that they have passed is written into the database.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::hooks::Hooks;
use crate::support::house::House;
use crate::support::nats::Nats;
use crate::support::postgres;
use crate::support::talk::Talk;

fn elsewhere(house: &House) -> Option<bool> {
    let output = house.ask(&["chat", "hooks", "town", "--json"]);
    let all: Value = serde_json::from_slice(&output.stdout).ok()?;
    all[0]["elsewhere"].as_bool()
}

/// Which of the two sends, once it is settled.
fn holder(houses: &[House; 2]) -> usize {
    let mut found = None;
    houses[0].until(|| {
        let said = [elsewhere(&houses[0]), elsewhere(&houses[1])];
        found = match said {
            [Some(false), Some(true)] => Some(0),
            [Some(true), Some(false)] => Some(1),
            _ => None,
        };
        found.is_some()
    });
    found.unwrap()
}

fn say(talk: &mut Talk, text: &str) {
    talk.ask(json!({ "do": "send", "room": "lobby", "text": text, "nonce": text }));
}

fn guest(house: &House, name: &str) -> Talk {
    let mut talk = Talk::guest(house.address(0), name);
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    talk
}

/// Waits until these texts were taken; each once.
#[track_caller]
fn taken(house: &House, hooks: &Hooks, wanted: &BTreeSet<String>) {
    let text = |post: &crate::support::hooks::Post| post.json()["event"]["text"].as_str().unwrap().to_owned();
    house.until(|| hooks.taken().len() >= wanted.len());
    let all: Vec<String> = hooks.taken().iter().map(text).collect();
    assert_eq!((all.len(), &all.into_iter().collect::<BTreeSet<_>>()), (wanted.len(), wanted));
}

#[test]
fn one_machine_sends_and_another_takes_over() {
    let (database, nats, hooks) = (postgres::Server::start(), Nats::start(""), Hooks::start());
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ path = \"/chat/*\", chat = \"town\" }}]\n[chat.town]\nrate = \"1000/s\"\nburst = 1000\n\
         [chat.town.hooks.push]\nurl = \"http://{}/in\"\nallow_private = true\n\
         [store]\ndatabase = \"{}\"\n[bus]\nnats = \"nats://127.0.0.1:{}\"\n",
        hooks.address,
        database.database("town"),
        nats.port
    );
    let mut houses = [House::start(&settings, &[]), House::start(&settings, &[])];
    let mut wanted = BTreeSet::new();
    {
        let mut talks = [guest(&houses[0], "mina"), guest(&houses[1], "kim")];
        for number in 0..20 {
            for (at, talk) in talks.iter_mut().enumerate() {
                say(talk, &format!("{at} says {number}"));
                wanted.insert(format!("{at} says {number}"));
            }
        }
    }
    taken(&houses[0], &hooks, &wanted);

    // An end in good order gives the lease back.
    let first = holder(&houses);
    houses[first].signal(Signal::TERM);
    assert!(houses[first].ended().success());
    let other = &houses[1 - first];
    say(&mut guest(other, "lee"), "after the end");
    wanted.insert("after the end".to_owned());
    taken(other, &hooks, &wanted);
    assert_eq!(elsewhere(other), Some(false));

    // A death does not: what waits then waits for the lease to pass.
    houses[first] = House::start(&settings, &[]);
    let holding = holder(&houses);
    assert_eq!(holding, 1 - first);
    hooks.answer(500);
    let mut lee = guest(&houses[first], "lee2");
    for number in 0..3 {
        say(&mut lee, &format!("waiting {number}"));
        wanted.insert(format!("waiting {number}"));
    }
    let tried = hooks.all().len();
    houses[first].until(|| hooks.all().len() > tried);
    houses[holding].signal(Signal::KILL);
    houses[holding].ended();
    hooks.answer(204);
    let passed = database.sql(
        "town",
        "UPDATE madang_kv SET expires_ms = 1 WHERE namespace = 'chat/town/hooks' AND key LIKE 'lease/%' RETURNING key",
    );
    assert!(passed.contains("lease/push"), "{passed}");
    taken(&houses[first], &hooks, &wanted);
    assert_eq!(elsewhere(&houses[first]), Some(false));
}
