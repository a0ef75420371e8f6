//! Several machines that share a database and a bus are one chat.
use std::rc::Rc;

use madang_bus::config::{Address, BusSettings, NatsSettings};
use madang_bus::{Bus, Reach};
use madang_chat::ask::{Create, Edit, Invite, Kick, Send, Who};
use madang_chat::event::{Person, What};
use madang_chat::floor::Floor;
use madang_chat::notice::Notice;
use madang_chat::refusal::Refusal;
use madang_chat::reply::Reply;

use crate::harness::{Client, fast, say, store, with_hubs};

/// What clients of a room heard, once each has `count` messages: it must be the same.
async fn same(clients: &[&Client], room: &str, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for client in clients {
        let heard = client.messages(room, count).await;
        assert_eq!(heard.len(), count, "nothing twice");
        assert!(heard.windows(2).all(|two| two[0].0 < two[1].0), "in order: {heard:?}");
        all.push(heard);
    }
    assert!(all.windows(2).all(|two| two[0] == two[1]), "all heard the same");
    all.swap_remove(0).into_iter().map(|(_, text)| text).collect()
}

// Goal: what is written on two machines at the same time is heard on three in one order, once.
#[test]
fn three_machines_hear_one_order() {
    let (_folder, store) = store();
    let bus = [Bus::local()];
    with_hubs(3, fast(), &store, &bus, |floors: Vec<Rc<Floor>>| async move {
        let (a, b, c) = (
            Client::new(&floors[0], "a").await,
            Client::new(&floors[1], "b").await,
            Client::new(&floors[2], "c").await,
        );
        for client in [&a, &b, &c] {
            client.join("lobby", None).await;
        }
        let mut tags = Vec::new();
        for n in 0..200 {
            tags.push((&a, a.begin(say("lobby", &format!("a{n}"), &n.to_string()))));
            tags.push((&b, b.begin(say("lobby", &format!("b{n}"), &n.to_string()))));
            if n % 50 == 0 {
                // Lets the machines work in between.
                c.send("lobby", &format!("c{n}"), &n.to_string()).await.unwrap();
            }
        }
        for (client, tag) in tags {
            assert!(matches!(client.answer(tag).await, Ok(Reply::Kept(kept)) if !kept.duplicate));
        }
        let heard = same(&[&a, &b, &c], "lobby", 404).await;
        let of = |who: char| heard.iter().filter(|text| text.starts_with(who)).cloned().collect::<Vec<_>>();
        assert_eq!(
            of('a'),
            (0..200).map(|n| format!("a{n}")).collect::<Vec<_>>(),
            "each in the order it was sent"
        );
        assert_eq!(of('b'), (0..200).map(|n| format!("b{n}")).collect::<Vec<_>>());
    });
}

// Goal: what is said is the same on every machine in all that it is besides its text: a notice, an action, an answer, a change.
#[test]
fn other_machines_hear_the_whole_of_a_message() {
    let (_folder, store) = store();
    let bus = [Bus::local()];
    with_hubs(2, fast(), &store, &bus, |floors: Vec<Rc<Floor>>| async move {
        let (mina, kim) = (Client::new(&floors[0], "mina").await, Client::new(&floors[1], "kim").await);
        mina.join("lobby", None).await;
        kim.join("lobby", None).await;
        let first = mina.send("lobby", "one", "1").await.unwrap().offset;
        mina.ask(Send { notice: true, ..say("lobby", "two", "2") }).await.unwrap();
        kim.ask(Send { action: true, reply: Some(first), ..say("lobby", "three", "3") }).await.unwrap();
        mina.ask(Edit {
            room: "lobby".into(),
            offset: first,
            text: "1".into(),
            nonce: "4".into(),
            ..Edit::default()
        })
        .await
        .unwrap();
        let mut heard = Vec::new();
        for client in [&mina, &kim] {
            let all = client.until(|ear| {
                let heard = ear.heard.borrow();
                let all = heard.get("lobby")?;
                // Mina has heard of the room's beginning, too.
                let all = all.iter().filter(|(offset, _)| *offset >= first).cloned();
                let all: Vec<(u64, What)> = all.collect();
                (all.len() == 4).then_some(all)
            });
            heard.push(all.await);
        }
        assert_eq!(heard[0], heard[1]);
        let flags = heard[0].iter().filter_map(|(_, what)| match what {
            What::Message { notice, action, reply, .. } => Some((*notice, *action, *reply)),
            _ => None,
        });
        let want = [(false, false, None), (true, false, None), (false, true, Some(first))];
        assert_eq!(flags.collect::<Vec<_>>(), want);
    });
}

// Goal: a room counts those on all machines, and hears who comes and goes there.
#[test]
fn presence_is_of_all_machines() {
    let (_folder, store) = store();
    let bus = [Bus::local()];
    with_hubs(2, fast(), &store, &bus, |floors: Vec<Rc<Floor>>| async move {
        let (mina, kim) = (Client::new(&floors[0], "mina").await, Client::new(&floors[1], "kim").await);
        mina.join("lobby", None).await;
        kim.join("lobby", None).await;
        let moved = |name: &'static str, came: bool| {
            move |ear: &crate::harness::Ear| {
                let notices = ear.notices.borrow();
                let mut told = notices.iter().filter_map(|notice| match notice {
                    Notice::Presence { joined, left, people, .. } => {
                        let mut joined = joined.iter().map(|one| &one.person);
                        let is = |person: &Person| *person.name == *name;
                        let told = if came { joined.any(is) } else { left.iter().any(is) };
                        told.then_some(*people)
                    }
                    _ => None,
                });
                told.next()
            }
        };
        assert_eq!(mina.until(moved("kim", true)).await, 2);
        let Ok(Reply::People(people)) = mina.ask(Who { room: "lobby".into(), ..Who::default() }).await else {
            panic!("who")
        };
        assert_eq!((people.count, people.people.len()), (2, 2));
        drop(kim);
        assert_eq!(mina.until(moved("kim", false)).await, 1);
    });
}

// Goal: direct messages and invitations find people on other machines, in conversations nobody there had open.
#[test]
fn people_are_found_on_other_machines() {
    let (_folder, store) = store();
    let bus = [Bus::local()];
    with_hubs(2, fast(), &store, &bus, |floors: Vec<Rc<Floor>>| async move {
        let (mina, kim) = (Client::new(&floors[0], "mina").await, Client::new(&floors[1], "kim").await);
        mina.send("@kim", "psst", "1").await.unwrap();
        kim.send("@mina", "yes?", "1").await.unwrap();
        assert_eq!(same(&[&mina], "@kim", 2).await, ["psst", "yes?"]);
        assert_eq!(same(&[&kim], "@mina", 2).await, ["psst", "yes?"]);

        mina.ask(Create { room: "den".into(), private: true, ..Create::default() }).await.unwrap();
        mina.send("den", "before", "2").await.unwrap();
        mina.ask(Invite { room: "den".into(), who: "kim".into(), ..Invite::default() }).await.unwrap();
        kim.until(|ear| {
            let notices = ear.notices.borrow();
            notices
                .iter()
                .any(|notice| matches!(notice, Notice::Joined(joined) if &*joined.room == "den"))
                .then_some(())
        })
        .await;
        kim.send("den", "hello", "3").await.unwrap();
        mina.messages("den", 2).await;
        mina.ask(Kick { room: "den".into(), who: "kim".into(), ..Kick::default() }).await.unwrap();
        kim.until(|ear| {
            ear.notices.borrow().iter().any(|notice| matches!(notice, Notice::Left { .. })).then_some(())
        })
        .await;
        assert_eq!(kim.send("den", "still?", "4").await, Err(Refusal::Private));
    });
}

// Goal: who comes from a machine that has told more to one that lags is not told the same again; and the one that lags finds out.
// Method: two machines whose buses do not reach each other.
#[test]
fn who_joins_a_machine_that_lags_is_told_only_what_comes_after() {
    let (_folder, store) = store();
    let buses = [Bus::local(), Bus::local()];
    with_hubs(2, fast(), &store, &buses, |floors: Vec<Rc<Floor>>| async move {
        let (mina, kim) = (Client::new(&floors[0], "mina").await, Client::new(&floors[1], "kim").await);
        mina.join("lobby", None).await;
        // When it is answered, the room is made.
        mina.send("lobby", "m0", "0").await.unwrap();
        kim.join("lobby", None).await;
        for n in 1..3 {
            mina.send("lobby", &format!("m{n}"), &n.to_string()).await.unwrap();
        }
        let late = Client::new(&floors[1], "late").await;
        let joined = late.join("lobby", None).await;
        assert_eq!((joined.next, joined.end), (5, 5), "behind what made the room and three messages");
        assert_eq!(same(&[&kim], "lobby", 2).await, ["m1", "m2"]);
        late.send("lobby", "hello", "1").await.unwrap();
        assert_eq!(same(&[&late], "lobby", 1).await, ["hello"]);
        assert_eq!(same(&[&kim], "lobby", 3).await, ["m1", "m2", "hello"]);
    });
}

// Goal: machines whose bus is away are one chat all the same, only slower.
// Method: two machines of a bus whose server is not there.
#[test]
fn machines_that_cannot_hear_each_other_look_into_the_log() {
    let (_folder, store) = store();
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = BusSettings::Nats(Box::new(NatsSettings {
        servers: vec![Address::new(&format!("nats://{nowhere}")).unwrap()],
        credentials: None,
        ca: None,
        certificate: None,
        cluster: "town".to_owned(),
    }));
    let buses = [Bus::start(&settings, |_| {}).unwrap(), Bus::start(&settings, |_| {}).unwrap()];
    assert!(buses.iter().all(|bus| bus.reach() == Reach::Away));
    with_hubs(2, fast(), &store, &buses, |floors: Vec<Rc<Floor>>| async move {
        let (mina, kim) = (Client::new(&floors[0], "mina").await, Client::new(&floors[1], "kim").await);
        mina.join("lobby", None).await;
        kim.join("lobby", None).await;
        mina.send("lobby", "can you hear me?", "1").await.unwrap();
        assert_eq!(same(&[&kim], "lobby", 1).await, ["can you hear me?"]);
        kim.send("lobby", "after a while", "1").await.unwrap();
        assert_eq!(same(&[&mina, &kim], "lobby", 2).await, ["can you hear me?", "after a while"]);
    });
}
