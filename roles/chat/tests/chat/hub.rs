//! What a hub promises to those who are connected to it.
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use madang_chat::ask::{Create, Delete, Edit, History, Invite, Join, Kick, Ping, Rooms, Search, Seen, Who};
use madang_chat::event::What;
use madang_chat::floor::Face;
use madang_chat::notice::Notice;
use madang_chat::post::Claim;
use madang_chat::refusal::Refusal;
use madang_chat::reply::Reply;

use crate::harness::{Client, Ear, fast, say, store, with_hub};

// Goal: what one says the others hear, once, in order; what is sent again is the same message.
#[test]
fn what_one_says_all_hear_once_and_in_order() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (mina, kim) = (Client::new(&floor, "mina").await, Client::new(&floor, "kim").await);
        assert_eq!(
            mina.send("lobby", "too early", "0").await,
            Err(Refusal::NoSuchRoom { room: "lobby".into() })
        );
        mina.join("lobby", None).await;
        assert_eq!(kim.send("lobby", "not in", "0").await, Err(Refusal::NotThere { room: "lobby".into() }));
        kim.join("lobby", None).await;
        let first = mina.send("lobby", "하나", "1").await.unwrap();
        let again = mina.send("lobby", "하나", "1").await.unwrap();
        assert!(!first.duplicate && again.duplicate && again.offset == first.offset);
        // Pipelined: none waits for the answer to the one before.
        let tags: Vec<u64> =
            (0..300).map(|n| kim.begin(say("lobby", &n.to_string(), &n.to_string()))).collect();
        for tag in tags {
            kim.answer(tag).await.unwrap();
        }
        for client in [&mina, &kim] {
            let heard = client.messages("lobby", 301).await;
            let want = std::iter::once("하나".to_owned()).chain((0..300).map(|n| n.to_string()));
            assert_eq!(
                heard.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>(),
                want.collect::<Vec<_>>()
            );
            assert!(heard.windows(2).all(|two| two[0].0 + 1 == two[1].0), "no gap");
        }
    });
}

// Goal: what a busy room gathers for a moment is told before the hub ends.
// Method: a hub that is ended as soon as the last of many messages is acknowledged.
#[test]
fn what_is_gathered_is_told_before_the_end() {
    let (_folder, store) = store();
    let stays = RefCell::new(None);
    with_hub(fast(), &store, |floor| {
        let stays = &stays;
        async move {
            let mina = Client::new(&floor, "mina").await;
            mina.join("lobby", None).await;
            for n in 0..250 {
                mina.send("lobby", "again", &n.to_string()).await.unwrap();
            }
            *stays.borrow_mut() = Some(mina);
        }
    });
    let mina = stays.into_inner().unwrap();
    let heard = mina.ear.heard.borrow();
    let said = heard["lobby"].iter().filter(|(_, what)| matches!(what, What::Message { .. }));
    assert_eq!(said.count(), 250);
}

// Goal: who comes back gets exactly what it missed, over a restart of everything, and under the same id.
#[test]
fn who_comes_back_gets_what_it_missed() {
    let (_folder, store) = store();
    let seen = RefCell::new(None);
    with_hub(fast(), &store, |floor| {
        let seen = &seen;
        async move {
            let (mina, welcome) = Client::with_key(&floor, "mina", None).await;
            let kim = Client::new(&floor, "kim").await;
            let joined = mina.join("lobby", None).await;
            kim.join("lobby", None).await;
            let last = kim.send("lobby", "one", "1").await.unwrap();
            drop(mina);
            kim.send("lobby", "two", "2").await.unwrap();
            kim.send("lobby", "three", "3").await.unwrap();
            *seen.borrow_mut() = Some((welcome, Seen { epoch: joined.epoch, offset: last.offset }));
        }
    });
    let (welcome, seen) = seen.into_inner().unwrap();
    with_hub(fast(), &store, |floor| async move {
        let other = Rc::new(Ear::default());
        let thief = floor.enter(Rc::clone(&other) as Rc<dyn Face>);
        let thief = Client { ear: other, session: thief, tag: Cell::new(1) };
        thief.session.hello(1, Claim::Guest { name: "MINA".into(), key: None, keeps: true }).unwrap();
        assert_eq!(thief.answer(1).await, Err(Refusal::NameTaken { name: "MINA".into() }));
        thief
            .session
            .hello(2, Claim::Guest { name: "mina".into(), key: Some("x".into()), keeps: true })
            .unwrap();
        assert_eq!(thief.answer(2).await, Err(Refusal::BadKey));

        let (mina, again) = Client::with_key(&floor, "mina", welcome.key.clone()).await;
        assert_eq!(again.you, welcome.you);
        let joined = mina.join("lobby", Some(seen)).await;
        assert_eq!((joined.next, joined.reset), (seen.offset + 1, false));
        let missed = mina.messages("lobby", 2).await;
        assert_eq!(missed.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["two", "three"]);
        let other_life = Seen { epoch: seen.epoch + 1, offset: 9 };
        assert!(mina.join("lobby", Some(other_life)).await.reset);
    });
}

// Goal: who takes nothing for a while loses nothing, and nobody waits for it.
#[test]
fn a_deaf_face_reads_the_log_when_it_hears_again() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (deaf, kim) = (Client::new(&floor, "deaf").await, Client::new(&floor, "kim").await);
        deaf.join("lobby", None).await;
        kim.join("lobby", None).await;
        kim.send("lobby", "0", "0").await.unwrap();
        deaf.messages("lobby", 1).await;
        deaf.ear.deaf.set(true);
        for n in 1..=700 {
            kim.begin(say("lobby", &n.to_string(), &n.to_string()));
        }
        kim.messages("lobby", 701).await;
        assert_eq!(deaf.messages("lobby", 1).await.len(), 1);
        deaf.ear.deaf.set(false);
        deaf.session.caught_up();
        let heard = deaf.messages("lobby", 701).await;
        assert_eq!(
            heard.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>(),
            (0..=700).map(|n| n.to_string()).collect::<Vec<_>>()
        );
    });
}

// Goal: who joins again where it is, naming nothing, goes on where it was: what it has not been told yet is not passed over.
#[test]
fn who_joins_again_goes_on_where_it_was() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (deaf, kim) = (Client::new(&floor, "deaf").await, Client::new(&floor, "kim").await);
        deaf.join("lobby", None).await;
        kim.join("lobby", None).await;
        kim.send("lobby", "heard", "h").await.unwrap();
        deaf.messages("lobby", 1).await;
        deaf.ear.deaf.set(true);
        for n in 0..3 {
            kim.send("lobby", &n.to_string(), &n.to_string()).await.unwrap();
        }
        let again = deaf.join("lobby", None).await;
        assert_eq!((again.next, again.end), (3, 6), "what made the room and one message is all it was told");
        deaf.ear.deaf.set(false);
        deaf.session.caught_up();
        let heard: Vec<String> = deaf.messages("lobby", 4).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(heard, ["heard", "0", "1", "2"]);
        // Where it names what it saw, it is told from there.
        let seen = Seen { epoch: again.epoch, offset: 3 };
        assert_eq!(deaf.join("lobby", Some(seen)).await.next, 4);
    });
}

// Goal: direct messages reach both, on every connection, and nobody else.
#[test]
fn direct_messages_reach_both_and_nobody_else() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (mina, welcome) = Client::with_key(&floor, "mina", None).await;
        let (phone, _) = Client::with_key(&floor, "mina", welcome.key).await;
        let (kim, eve) = (Client::new(&floor, "kim").await, Client::new(&floor, "eve").await);
        mina.send("@kim", "psst", "1").await.unwrap();
        kim.send("@mina", "yes?", "1").await.unwrap();
        for (client, other) in [(&mina, "@kim"), (&phone, "@kim"), (&kim, "@mina")] {
            let heard = client.messages(other, 2).await;
            assert_eq!(heard, [(1, "psst".to_owned()), (2, "yes?".to_owned())]);
        }
        eve.ask(Ping::default()).await.unwrap();
        assert!(eve.ear.heard.borrow().is_empty());
        let past = eve.ask(History { room: "@mina".into(), ..History::default() }).await;
        assert!(
            matches!(past, Ok(Reply::Past(past)) if past.events.is_empty()),
            "her own with mina, which is empty"
        );
        assert_eq!(eve.send("@nobody", "x", "1").await, Err(Refusal::NoSuchUser { name: "nobody".into() }));
    });
}

// Goal: a private room is for its members: others neither come in, nor read, nor find it.
#[test]
fn a_private_room_is_for_its_members() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (mina, kim, eve) = (
            Client::new(&floor, "mina").await,
            Client::new(&floor, "kim").await,
            Client::new(&floor, "eve").await,
        );
        let create =
            Create { room: "den".into(), private: true, topic: Some("quiet".into()), ..Create::default() };
        assert!(matches!(mina.ask(create.clone()).await, Ok(Reply::Joined(_))));
        assert_eq!(eve.ask(create).await, Err(Refusal::RoomTaken { room: "den".into() }));
        mina.send("den", "secret word", "1").await.unwrap();
        assert_eq!(eve.ask(Join { room: "den".into(), ..Join::default() }).await, Err(Refusal::Private));
        assert_eq!(
            eve.ask(History { room: "den".into(), ..History::default() }).await,
            Err(Refusal::Private)
        );
        assert_eq!(eve.ask(Who { room: "den".into(), ..Who::default() }).await, Err(Refusal::Private));
        let search = Search { words: "secret".into(), room: Some("den".into()), ..Search::default() };
        assert_eq!(eve.ask(search.clone()).await, Err(Refusal::Private));
        let Ok(Reply::Rooms(rooms)) = eve.ask(Rooms::default()).await else { panic!("rooms") };
        assert!(rooms.open.is_empty());
        let invite = Invite { room: "den".into(), who: "kim".into(), ..Invite::default() };
        assert!(matches!(eve.ask(invite.clone()).await, Err(Refusal::NotAllowed { .. })));
        mina.ask(invite).await.unwrap();
        // Called in: kim is there without asking.
        kim.until(|ear| {
            ear.notices.borrow().iter().any(|notice| matches!(notice, Notice::Joined(_))).then_some(())
        })
        .await;
        kim.send("den", "thanks", "1").await.unwrap();
        let Ok(Reply::Found(found)) = kim.ask(search).await else { panic!("search") };
        assert_eq!(found.found.len(), 1);
        mina.ask(Kick { room: "den".into(), who: "kim".into(), ..Kick::default() }).await.unwrap();
        kim.until(|ear| {
            ear.notices.borrow().iter().any(|notice| matches!(notice, Notice::Left { .. })).then_some(())
        })
        .await;
        assert_eq!(kim.send("den", "still?", "2").await, Err(Refusal::Private));
    });
}

// Goal: an edited message has its new text everywhere, a deleted one has none anywhere.
#[test]
fn edits_and_deletions_reach_history_and_search() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (mina, kim) = (Client::new(&floor, "mina").await, Client::new(&floor, "kim").await);
        mina.join("lobby", None).await;
        kim.join("lobby", None).await;
        let one = mina.send("lobby", "first thuoght", "1").await.unwrap().offset;
        let two = mina.send("lobby", "regretted", "2").await.unwrap().offset;
        let edit = |offset, text: &str, nonce: &str| Edit {
            room: "lobby".into(),
            offset,
            text: text.into(),
            nonce: nonce.into(),
            ..Edit::default()
        };
        assert_eq!(kim.ask(edit(one, "mine now", "3")).await, Err(Refusal::NotYours));
        mina.ask(edit(one, "first thought", "4")).await.unwrap();
        mina.ask(Delete { room: "lobby".into(), offset: two, nonce: "5".into(), ..Delete::default() })
            .await
            .unwrap();
        assert_eq!(mina.ask(edit(two, "back", "6")).await, Err(Refusal::NoSuchMessage { offset: two }));
        let Ok(Reply::Past(past)) = kim.ask(History { room: "lobby".into(), ..History::default() }).await
        else {
            panic!("history")
        };
        let texts: Vec<String> = past.events.iter().map(|event| format!("{:?}", event.what)).collect();
        assert!(
            texts.iter().any(|text| text.contains("first thought") && text.contains("edits: 1")),
            "{texts:?}"
        );
        assert!(
            !texts.iter().any(|text| text.contains("regretted") || text.contains("thuoght")),
            "{texts:?}"
        );
        for (words, count) in [("thought", 1), ("thuoght", 0), ("regretted", 0)] {
            let Ok(Reply::Found(found)) = kim
                .ask(Search { words: words.into(), room: Some("lobby".into()), ..Search::default() })
                .await
            else {
                panic!("search")
            };
            assert_eq!(found.found.len(), count, "{words}");
        }
    });
}
