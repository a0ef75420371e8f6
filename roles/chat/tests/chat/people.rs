//! What people are called, who is watched, who was here, how far one has read.
use std::rc::Rc;

use madang_bus::Bus;
use madang_chat::ask::{About, Ban, Bans, Create, MarkRead, Mute, Rename, Watch, Who, Whois, Whowas};
use madang_chat::event::Rank;
use madang_chat::floor::Floor;
use madang_chat::notice::Notice;
use madang_chat::refusal::Refusal;
use madang_chat::reply::Reply;

use crate::harness::{Client, Ear, fast, store, with_hub, with_hubs};

async fn rename(client: &Client, name: &str) -> Result<String, Refusal> {
    match client.ask(Rename { name: name.into(), ..Rename::default() }).await? {
        Reply::You(you) => Ok(you.name.to_string()),
        other => panic!("rename: {other:?}"),
    }
}

/// How often this was told.
fn count(ear: &Ear, is: impl Fn(&Notice) -> bool) -> usize {
    ear.notices.borrow().iter().filter(|notice| is(notice)).count()
}

// Goal: a guest takes a free name in one step: the old one is free, the key, rank and conversations stay, each who meets them is told once.
#[test]
fn a_guest_takes_another_name() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (mina, welcome) = Client::with_key(&floor, "mina", None).await;
        let (kim, eve) = (Client::new(&floor, "kim").await, Client::new(&floor, "eve").await);
        mina.ask(Create { room: "den".into(), ..Create::default() }).await.unwrap();
        for client in [&mina, &kim] {
            client.join("lobby", None).await;
        }
        kim.join("den", None).await;
        kim.send("@mina", "psst", "1").await.unwrap();
        mina.messages("@kim", 1).await;

        assert_eq!(rename(&mina, "KIM").await, Err(Refusal::NameTaken { name: "KIM".into() }));
        assert!(matches!(rename(&mina, "a b").await, Err(Refusal::BadName { .. })));
        assert_eq!(rename(&mina, "nari").await.unwrap(), "nari");
        let renamed = |notice: &Notice| matches!(notice, Notice::Renamed { by, name } if *by.name == *"mina" && **name == *"nari");
        kim.until(|ear| (count(ear, renamed) > 0).then_some(())).await;
        assert_eq!(count(&kim.ear, renamed), 1, "they meet in two rooms and alone");
        assert_eq!(count(&eve.ear, renamed), 0, "and eve does not meet her");

        // The old name is free, the new one is hers, and what she is in the room she is still.
        assert_eq!(rename(&eve, "mina").await.unwrap(), "mina");
        assert_eq!(rename(&kim, "Nari").await, Err(Refusal::NameTaken { name: "Nari".into() }));
        let Ok(Reply::People(people)) = kim.ask(Who { room: "den".into(), ..Who::default() }).await else {
            panic!("who")
        };
        assert_eq!((&*people.people[0].person.name, people.people[0].role), ("nari", Rank::Owner));
        kim.send("@nari", "still you", "2").await.unwrap();
        assert_eq!(mina.messages("@kim", 2).await[1].1, "still you");
        assert_eq!(kim.messages("@nari", 1).await[0].1, "still you");

        // Her key brings her back under the new name, and under no other.
        drop(mina);
        let (again, back) = Client::with_key(&floor, "nari", welcome.key).await;
        assert_eq!((back.you.id, &*back.you.name), (welcome.you.id, "nari"));
        // Only how it is written.
        assert_eq!(rename(&again, "NARI").await.unwrap(), "NARI");
    });
}

// Goal: who is watched is told of at once, wherever they are, and nobody else is; a list is replaced whole.
#[test]
fn whoever_is_watched_is_told_of() {
    let (_folder, store) = store();
    let bus = Bus::local();
    with_hubs(2, fast(), &store, std::slice::from_ref(&bus), |floors: Vec<Rc<Floor>>| async move {
        let (mina, kim) = (Client::new(&floors[0], "mina").await, Client::new(&floors[0], "kim").await);
        let watch = |who: &[&str]| Watch {
            who: who.iter().map(|name| (*name).to_owned()).collect(),
            ..Watch::default()
        };
        let Ok(Reply::Watched(watched)) = mina.ask(watch(&["Kim", "far", "kim", "#"])).await else {
            panic!("watch")
        };
        assert_eq!(watched.here.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["kim"]);
        let told = |name: &'static str, is: bool| {
            move |ear: &Ear| {
                let one = |notice: &Notice| matches!(notice, Notice::Watched { who, here } if *who.name == *name && *here == is);
                (count(ear, one) > 0).then_some(())
            }
        };
        let far = Client::new(&floors[1], "far").await;
        mina.until(told("far", true)).await;
        let _eve = Client::new(&floors[0], "eve").await;
        drop(far);
        mina.until(told("far", false)).await;
        rename(&kim, "kim2").await.unwrap();
        mina.until(told("kim", false)).await;
        rename(&kim, "kim").await.unwrap();
        mina.until(told("kim", true)).await;
        assert!(told("eve", true)(&mina.ear).is_none());
        mina.ask(watch(&["eve"])).await.unwrap();
        drop(kim);
        let _ = mina.ask(Whois { who: "eve".into(), ..Whois::default() }).await;
        let of_kim =
            |notice: &Notice| matches!(notice, Notice::Watched { who, here: false } if *who.name == *"kim");
        assert_eq!(count(&mina.ear, of_kim), 1, "the one when she took another name");
        let many: Vec<String> = (0..101).map(|n| format!("n{n}")).collect();
        let many = Watch { who: many, ..Watch::default() };
        assert!(matches!(mina.ask(many).await, Err(Refusal::Full { max: 100, .. })));
    });
}

// Goal: a name that changes on one machine changes on the other, and is had once on both.
#[test]
fn another_name_is_known_on_other_machines() {
    let (_folder, store) = store();
    let bus = Bus::local();
    with_hubs(2, fast(), &store, std::slice::from_ref(&bus), |floors: Vec<Rc<Floor>>| async move {
        let (mina, kim) = (Client::new(&floors[0], "mina").await, Client::new(&floors[1], "kim").await);
        mina.join("lobby", None).await;
        kim.join("lobby", None).await;
        let came = |name: &'static str| {
            move |ear: &Ear| {
                let one = |notice: &Notice| matches!(notice, Notice::Presence { joined, .. } if joined.iter().any(|one| *one.person.name == *name));
                (count(ear, one) > 0).then_some(())
            }
        };
        kim.until(came("mina")).await;
        rename(&mina, "nari").await.unwrap();
        kim.until(came("nari")).await;
        let Ok(Reply::People(people)) = kim.ask(Who { room: "lobby".into(), ..Who::default() }).await else {
            panic!("who")
        };
        let names: Vec<&str> = people.people.iter().map(|one| &*one.person.name).collect();
        assert_eq!(names, ["kim", "nari"]);
        assert_eq!(rename(&kim, "nari").await, Err(Refusal::NameTaken { name: "nari".into() }));
        assert_eq!(rename(&kim, "mina").await.unwrap(), "mina", "the old one is free everywhere");
    });
}

// Goal: what one says of oneself is told and shown while one is connected; who went is remembered by name.
#[test]
fn people_are_remembered_for_a_while() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (mina, kim) = (Client::new(&floor, "mina").await, Client::new(&floor, "kim").await);
        mina.join("lobby", None).await;
        kim.ask(About { text: Some("Kim of the hill".into()), ..About::default() }).await.unwrap();
        kim.join("lobby", None).await;
        let arrived = mina
            .until(|ear| {
                let notices = ear.notices.borrow();
                let joined = notices.iter().filter_map(|notice| match notice {
                    Notice::Presence { joined, .. } => Some(joined),
                    _ => None,
                });
                joined.flat_map(|joined| joined.iter()).find(|one| *one.person.name == *"kim").cloned()
            })
            .await;
        assert_eq!(arrived.about.as_deref(), Some("Kim of the hill"));
        kim.ask(About::default()).await.unwrap();
        mina.until(|ear| {
            (count(ear, |notice| matches!(notice, Notice::About { text: None, .. })) > 0).then_some(())
        })
        .await;
        let long = About { text: Some("x".repeat(201)), ..About::default() };
        assert!(matches!(kim.ask(long).await, Err(Refusal::TooLong { max: 200, .. })));
        let lines = About { text: Some("a\nb".into()), ..About::default() };
        assert!(matches!(kim.ask(lines).await, Err(Refusal::BadText { .. })));
        let whowas = |name: &str| Whowas { who: name.into(), ..Whowas::default() };
        assert!(matches!(mina.ask(whowas("KIM")).await, Ok(Reply::Gone(gone)) if gone.people.is_empty()));
        rename(&kim, "kim2").await.unwrap();
        let Ok(Reply::Gone(gone)) = mina.ask(whowas("KIM")).await else { panic!("whowas") };
        assert_eq!(gone.people.iter().map(|one| &*one.person.name).collect::<Vec<_>>(), ["kim"]);
        for n in 0..7 {
            kim.ask(About { text: Some(format!("{n}")), ..About::default() }).await.ok();
        }
        let again = kim.ask(About { text: Some("once more".into()), ..About::default() }).await;
        assert!(
            matches!(again, Err(Refusal::TooFast { .. })),
            "everybody near is told: not as often as one likes"
        );
    });
}

// Goal: a read marker is told, and never goes back; bans and mutes are listed to whoever may come in.
#[test]
fn markers_and_bans_can_be_asked_for() {
    let (_folder, store) = store();
    with_hub(fast(), &store, |floor| async move {
        let (mina, kim) = (Client::new(&floor, "mina").await, Client::new(&floor, "kim").await);
        mina.ask(Create { room: "den".into(), ..Create::default() }).await.unwrap();
        kim.join("den", None).await;
        let first = mina.send("den", "1", "1").await.unwrap().offset;
        let last = mina.send("den", "2", "2").await.unwrap().offset;
        let read = |offset: Option<u64>| MarkRead { room: "den".into(), offset, ..MarkRead::default() };
        for (asked, want) in [
            (None, 0),
            (Some(first), first),
            (None, first),
            (Some(1_000_000), last),
            (Some(first), last),
            (None, last),
        ] {
            let Ok(Reply::Marked(marked)) = kim.ask(read(asked)).await else { panic!("read {asked:?}") };
            assert_eq!((&*marked.room, marked.offset), ("den", want), "{asked:?}");
        }

        let eve = Client::new(&floor, "eve").await;
        mina.ask(Ban { room: "den".into(), who: "eve".into(), ..Ban::default() }).await.unwrap();
        mina.ask(Mute { room: "den".into(), who: "kim".into(), minutes: Some(5), ..Mute::default() })
            .await
            .unwrap();
        let bans = || Bans { room: "den".into(), ..Bans::default() };
        let Ok(Reply::Bans(list)) = kim.ask(bans()).await else { panic!("bans") };
        let of = |list: &[madang_chat::reply::Shut]| {
            list.iter().map(|one| (one.person.name.to_string(), one.until_ms.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(of(&list.bans), [("eve".to_owned(), false)]);
        assert_eq!(of(&list.mutes), [("kim".to_owned(), true)]);
        assert!(matches!(eve.ask(bans()).await, Err(Refusal::Banned { .. })));
    });
}
