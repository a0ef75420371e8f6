//! Hooks of chats: other servers are told what happens, in order, at least once, by the real program over its own death and theirs.

use serde_json::{Value, json};

use crate::support::dns::NameServer;
use crate::support::hooks::{HANG, Hooks, Post};
use crate::support::house::House;
use crate::support::talk::Talk;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn settings(hooks: &Hooks, more: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ path = \"/chat/*\", chat = \"town\" }}]\n[chat.town]\nrate = \"1000/s\"\nburst = 1000\n\
         [chat.town.hooks.push]\nurl = \"http://{}/in?key=hush\"\nallow_private = true\n{more}\n",
        hooks.address
    )
}

fn guest(house: &House, name: &str) -> Talk {
    let mut talk = Talk::guest(house.address(0), name);
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    talk
}

fn send(talk: &mut Talk, text: &str) -> Value {
    talk.ask(json!({ "do": "send", "room": "lobby", "text": text, "nonce": text }))
}

fn texts(posts: &[Post]) -> Vec<String> {
    posts.iter().map(|post| post.json()["event"]["text"].as_str().unwrap_or("").to_owned()).collect()
}

fn list(house: &House) -> Value {
    let output = house.ask(&["chat", "hooks", "town", "--json"]);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

// Goal: every message is told once, in order, signed; a receiver that was away gets them when it is back, with the number they
// had at every attempt, although the server was killed meanwhile. The secret and the URL's query are shown nowhere.
#[test]
fn letters_survive_both_ends() {
    let hooks = Hooks::start();
    let mut house = House::start(&settings(&hooks, &format!("secret = \"{SECRET}\"")), &[]);
    let mut mina = guest(&house, "mina");
    send(&mut mina, "1");
    house.until(|| hooks.taken().len() == 1);
    let post = &hooks.taken()[0];
    assert!(post.is_signed_by(SECRET));
    let told = post.json();
    assert_eq!(
        (&told["type"], &told["chat"], &told["hook"], &told["room"]),
        (&json!("message"), &json!("town"), &json!("push"), &json!("lobby")),
        "{told}"
    );
    assert_eq!((&told["event"]["text"], &told["event"]["by"]["name"]), (&json!("1"), &json!("mina")));
    assert_eq!(told["id"], post.field("webhook-id"));
    hooks.answer_with(503, "retry-after: 1");
    for text in ["2", "3", "4"] {
        send(&mut mina, text);
    }
    house.until(|| hooks.all().len() >= 2);
    house.until_said("hook push of town: answered 503; it is tried again");
    house.kill_and_start_again();
    hooks.answer(200);
    let mut mina = guest(&house, "mina2");
    send(&mut mina, "5");
    house.until(|| hooks.taken().len() == 5);
    assert_eq!(texts(&hooks.taken()), ["1", "2", "3", "4", "5"]);
    let ids: Vec<String> = hooks
        .all()
        .iter()
        .filter(|post| texts(&[(*post).clone()]) == ["2"])
        .map(|post| post.field("webhook-id"))
        .collect();
    assert!(ids.len() >= 2 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    house.until(|| list(&house)[0]["waiting"] == 0);
    let metrics = house.metrics();
    let counted = "madang_chat_hook_letters_total{chat=\"town\",hook=\"push\",result=\"delivered\"} 4";
    assert!(metrics.contains(counted), "{metrics}");
    for text in [house.said(), metrics, list(&house).to_string()] {
        assert!(!text.contains(SECRET) && !text.contains("hush"), "a secret is shown: {text}");
    }
}

// Goal: whenever the server dies, what it acknowledged is told. Method: it is killed the moment the last of some messages is
// acknowledged, several times; between an acknowledgement and its letter lie two writes.
#[test]
fn what_was_acknowledged_is_told_whenever_the_server_dies() {
    let hooks = Hooks::start();
    let mut house = House::start(&settings(&hooks, ""), &[]);
    let mut said = Vec::new();
    for round in 0..5 {
        let mut talk = guest(&house, &format!("guest{round}"));
        let ids: Vec<u64> = (0..20)
            .map(|n| {
                let text = format!("{round}/{n}");
                said.push(text.clone());
                talk.say(json!({ "do": "send", "room": "lobby", "text": text, "nonce": text }))
            })
            .collect();
        loop {
            let told = talk.next().unwrap();
            if told["id"] == *ids.last().unwrap() {
                assert!(told["ok"].is_object(), "{told}");
                break;
            }
        }
        house.kill_and_start_again();
    }
    house.until(|| {
        let told = texts(&hooks.taken());
        said.iter().all(|text| told.contains(text))
    });
    let posts = hooks.taken();
    let mut ids: Vec<String> = posts.iter().map(|post| post.field("webhook-id")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), said.len(), "each message has one number");
    // A letter that was on its way when the server died may come twice.
    assert!(posts.len() <= said.len() + 5, "{} for {}", posts.len(), said.len());
}

// Goal: 410 switches a hook off and says so; the command shows it, and switches it on again with everything that waited.
#[test]
fn a_receiver_that_is_gone_is_left_alone_until_somebody_says_otherwise() {
    let hooks = Hooks::start();
    hooks.answer(410);
    let mut house = House::start(&settings(&hooks, ""), &[]);
    let mut mina = guest(&house, "mina");
    send(&mut mina, "1");
    house.until_said("answered 410: it is switched off; madang chat hooks town --retry push switches it on");
    send(&mut mina, "2");
    house.until(|| list(&house)[0]["dead"] == 2);
    let shown = house.ask(&["chat", "hooks", "town"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("off: answered 410") && shown.contains("message in lobby"), "{shown}");
    assert_eq!(hooks.all().len(), 1, "nothing is sent to a hook that is off");
    house.kill_and_start_again();
    house.until(|| list(&house)[0]["off"] == "answered 410");
    hooks.answer(204);
    let done = house.ask(&["chat", "hooks", "town", "--retry", "push"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    house.until(|| hooks.taken().len() == 2);
    assert_eq!(texts(&hooks.taken()), ["1", "2"]);
    house.until(|| list(&house)[0]["dead"] == 0 && list(&house)[0]["off"].is_null());
    let wrong = house.ask(&["chat", "hooks", "town", "--retry", "pull"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("there is no hook \"pull\""), "{said}");
}

// Goal: a receiver that hangs or redirects holds a letter up for its tries, no longer; a letter it does not want at all goes at
// once; the next ones are delivered, and what died can be thrown away.
#[test]
fn letters_that_nobody_takes_become_dead_letters() {
    let hooks = Hooks::start();
    hooks.answer(HANG);
    let house = House::start(&settings(&hooks, "timeout = \"100ms\"\ntries = 2"), &[]);
    let mut mina = guest(&house, "mina");
    send(&mut mina, "hung");
    house.until(|| list(&house)[0]["dead"] == 1);
    hooks.answer_with(302, &format!("location: http://{}/elsewhere", hooks.address));
    send(&mut mina, "redirected");
    house.until(|| list(&house)[0]["dead"] == 2);
    hooks.answer(422);
    send(&mut mina, "unwanted");
    house.until(|| list(&house)[0]["dead"] == 3);
    hooks.answer(204);
    send(&mut mina, "well");
    house.until(|| !hooks.taken().is_empty());
    assert_eq!(texts(&hooks.all()), ["hung", "hung", "redirected", "redirected", "unwanted", "well"]);
    assert!(hooks.all().iter().all(|post| post.head[0].starts_with("post /in?key=hush")), "not followed");
    let dead: Vec<String> = list(&house)[0]["dead_letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["why"].as_str().unwrap().to_owned())
        .collect();
    let redirected = "answered 302; redirects are not followed: write where they lead";
    assert_eq!(dead, ["answered 422", redirected, "no answer within 100ms"]);
    assert!(house.ask(&["chat", "hooks", "town", "--drop", "push"]).status.success());
    house.until(|| list(&house)[0]["dead"] == 0);
}

// Goal: who came and who was called while away is told; who is there is not, a private room is not, and no hook reads what two
// people say to each other.
#[test]
fn a_hook_hears_what_it_may() {
    let hooks = Hooks::start();
    let house = House::start(&settings(&hooks, "on = [\"join\", \"mention\"]"), &[]);
    let mut jun = guest(&house, "jun");
    house.until(|| hooks.taken().len() == 1);
    let came = hooks.taken()[0].json();
    assert_eq!((&came["type"], &came["who"]["name"]), (&json!("join"), &json!("jun")), "{came}");
    let mut mina = guest(&house, "mina");
    send(&mut mina, "you are here, @jun");
    jun.frame(0x88, &1000_u16.to_be_bytes());
    assert_eq!(jun.ended(), Some(1000));
    house.until(|| house.json("status")["chats"][0]["people"] == 1);
    mina.ask(json!({ "do": "create", "room": "board", "private": true }));
    mina.ask(json!({ "do": "send", "room": "board", "text": "not for hooks, @jun", "nonce": "p" }));
    send(&mut mina, "come back, @jun and @nobody");
    mina.ask(json!({ "do": "send", "room": "@jun", "text": "a secret", "nonce": "d" }));
    house.until(|| hooks.taken().len() == 4);
    let told: Vec<Value> = hooks.taken().iter().map(Post::json).collect();
    assert_eq!(told[1]["who"]["name"], "mina");
    assert_eq!((&told[2]["type"], &told[2]["room"]), (&json!("mention"), &json!("lobby")), "{told:?}");
    assert_eq!(told[2]["event"]["text"], "come back, @jun and @nobody");
    let to: Vec<&Value> = told[2]["to"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(to, ["jun"]);
    assert_eq!((&told[3]["type"], &told[3]["room"]), (&json!("mention"), &json!("@mina")), "{told:?}");
    assert!(!told[3].to_string().contains("secret"), "{}", told[3]);
}

// Goal: a name that leads to this machine is no way in (SSRF), unless the settings say so.
#[test]
fn a_name_of_a_private_address_is_not_asked() {
    let (hooks, names) = (Hooks::start(), NameServer::start());
    names.set("inside.test", 60, &["127.0.0.1".parse().unwrap()]);
    let text = settings(&hooks, "")
        .replace("[server]\n", &format!("[server]\nresolver = \"{}\"\n", names.address))
        .replace(&hooks.address.to_string(), &format!("inside.test:{}", hooks.address.port()))
        .replace("allow_private = true\n", "");
    let house = House::start(&text, &[]);
    let mut mina = guest(&house, "mina");
    send(&mut mina, "1");
    house.until_said("inside.test is 127.0.0.1, a private address; allow_private = true would send there");
    assert_eq!(hooks.all().len(), 0);
    house.reload(&text.replace("[chat.town.hooks.push]\n", "[chat.town.hooks.push]\nallow_private = true\n"));
    house.until(|| hooks.taken().len() == 1);
}

// Goal: a program posts by URL with nothing but curl: its room is made, it is shown by its name, the same nonce is the same
// message; a wrong token, another method, a name that somebody has and haste are refused.
#[test]
fn a_program_posts_by_url() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let hooks = Hooks::start();
    let posts =
        format!("[chat.town.posts.build]\nroom = \"builds\"\ntoken = \"{TOKEN}\"\nrate = \"1/m\"\nburst = 4");
    let house = House::start(&settings(&hooks, &posts), &[]);
    let post = |token: &str, body: &str| {
        let fields =
            format!("content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n", body.len());
        let mut client = house.client();
        client.send(
            format!("POST /chat/hooks/{token} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n{body}").as_bytes(),
        );
        let answer = client.answer("POST");
        let text = answer.text();
        (
            answer.status,
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        )
    };
    let (status, kept) = post(TOKEN, r#"{"text":"built","icon_emoji":":x:"}"#);
    assert_eq!((status, &kept["room"]), (201, &json!("builds")), "{kept}");
    let mut mina = Talk::guest(house.address(0), "mina");
    mina.ask(json!({ "do": "join", "room": "builds" }));
    let (status, first) = post(TOKEN, r#"{"text":"again","nonce":"n","username":"nightly"}"#);
    assert_eq!(status, 201);
    let heard = mina.event("message");
    assert_eq!(
        (&heard["text"], &heard["by"]),
        (&json!("again"), &json!({ "id": "b:build", "name": "nightly" }))
    );
    let (status, second) = post(TOKEN, r#"{"text":"again","nonce":"n"}"#);
    assert_eq!((status, &second["offset"]), (200, &first["offset"]), "{second}");
    check(post("0123456789abcdef0123456789abcdee", r#"{"text":"x"}"#), 401, "bad-token");
    check(post(TOKEN, r#"{"text":"x","name":"mina"}"#), 409, "name-taken");
    check(post(TOKEN, r#"{"text":"x"}"#), 429, "too-fast");
    assert_eq!(house.client().get(&format!("/chat/hooks/{TOKEN}")).status, 405);
    let mut build = Talk::open(house.address(0), "/chat/ws", "");
    let taken = build.answered(json!({ "do": "hello", "name": "Build" }));
    assert_eq!(taken["error"]["name"], "name-taken", "{taken}");

    #[track_caller]
    fn check((status, told): (u16, Value), want: u16, name: &str) {
        assert_eq!((status, &told["error"]["name"]), (want, &json!(name)), "{told}");
    }
}
