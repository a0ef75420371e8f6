//! Goal: names, real names, watching, bans and read markers, by IRC and by the JSON protocol at once, on the running program.
//! Method: clients of raw lines beside a JSON client; each hears what the other did.

use serde_json::json;

use crate::irc::add_user;
use crate::support::house::House;
use crate::support::irc::Irc;
use crate::support::talk::Talk;

const TOWN: &str = r#"
[server]
workers = 2
[site.main]
listen = "http://127.0.0.1:0"
route = [{ path = "/chat/*", chat = "town" }]
[chat.town]
listen = "irc://127.0.0.1:0"
presence = "50ms"
"#;
const QUIET: &str = "draft/no-implicit-names";

// Goal: a guest's NICK is a new name for everybody on every face; a taken one is refused, and the old one is free again.
#[test]
fn a_guest_changes_its_name() {
    let house = House::start(TOWN, &[]);
    let mut web = Talk::guest(house.address(0), "web");
    web.ask(json!({ "do": "join", "room": "lobby" }));
    let mut mina = Irc::guest(house.address(1), "mina", QUIET);
    let mut kim = Irc::guest(house.address(1), "kim", "labeled-response draft/no-implicit-names");
    mina.answers("JOIN #lobby");
    mina.answers("JOIN #den");
    kim.answers("JOIN #lobby");
    kim.answers("JOIN #den");
    mina.until(" JOIN #den");
    assert_eq!(mina.answers("NICK WEB"), [":town.madang 433 mina WEB :Somebody has this name"]);
    let bad = mina.answers("NICK a!b");
    assert!(bad.len() == 1 && bad[0].starts_with(":town.madang 432 mina a!b :a name must be "), "{bad:?}");
    let told = kim.answers("@label=n1 NICK nari");
    assert_eq!(told.last().unwrap(), "@label=n1 :kim!~ID@town NICK :nari");
    assert_eq!(mina.until(" NICK ").last().unwrap(), ":kim!~ID@town NICK :nari");
    let renamed = web.event("renamed");
    assert_eq!((&renamed["by"]["name"], &renamed["name"]), (&json!("kim"), &json!("nari")), "{renamed}");

    // Said in two rooms they share, heard once; what follows is under the new name.
    kim.say("PRIVMSG #lobby :it is me");
    assert_eq!(mina.until("it is me").last().unwrap(), ":nari!~ID@town PRIVMSG #lobby :it is me");
    mina.say("PRIVMSG nari :psst");
    assert_eq!(kim.until("psst").last().unwrap(), ":mina!~ID@town PRIVMSG nari :psst");
    assert_eq!(
        mina.answers("WHOWAS kim 1").iter().map(|line| line.split(" :").next().unwrap()).collect::<Vec<_>>(),
        [
            ":town.madang 314 mina kim ~ID town *",
            ":town.madang 312 mina kim town.madang",
            ":town.madang 369 mina kim",
        ]
    );
    assert_eq!(web.ask(json!({ "do": "rename", "name": "kim" }))["name"], "kim", "the old name is free");
    assert_eq!(mina.until(" NICK ").last().unwrap(), ":web!~ID@town NICK :kim");
}

// Goal: a user's name is the account's: NICK is refused in plain words, and nothing changes.
#[test]
fn a_user_keeps_the_name_of_the_account() {
    let town = format!("{TOWN}\n[identity]\n");
    let house = House::start(&town, &[]);
    add_user(&house, "mina", "correct horse");
    let mut mina = Irc::open(house.address(1));
    mina.say("PASS :mina:correct horse");
    mina.say("NICK whatever");
    mina.say("USER x 0 * :Mina of the hill");
    mina.until(" 001 mina ");
    mina.until(" 422 ");
    assert_eq!(
        mina.answers("NICK other"),
        [":town.madang 484 mina :only guests (a user is called as the account is) may do this"]
    );
    assert!(mina.answers("WHOIS mina")[0].ends_with(" mina mina town * :Mina of the hill"));
}

// Goal: what one says of oneself is told to who knows the capability, and shown by WHO, WHOIS and the JSON protocol.
#[test]
fn a_real_name_is_kept_while_one_is_here() {
    let house = House::start(TOWN, &[]);
    let mut web = Talk::guest(house.address(0), "web");
    web.ask(json!({ "do": "join", "room": "lobby" }));
    let mut mina = Irc::guest(house.address(1), "mina", "setname draft/no-implicit-names");
    let mut kim = Irc::guest(house.address(1), "kim", "setname extended-join draft/no-implicit-names");
    kim.answers("JOIN #lobby");
    mina.answers("JOIN #lobby");
    kim.until(" JOIN #lobby * :mina");
    let told = mina.answers("SETNAME :Mina, of the hill");
    assert_eq!(told.last().unwrap(), ":mina!~ID@town SETNAME :Mina, of the hill");
    assert_eq!(kim.until(" SETNAME ").last().unwrap(), ":mina!~ID@town SETNAME :Mina, of the hill");
    let about = web.event("about");
    assert_eq!((&about["by"]["name"], &about["text"]), (&json!("mina"), &json!("Mina, of the hill")));
    assert_eq!(web.ask(json!({ "do": "whois", "who": "mina" }))["about"], "Mina, of the hill");
    assert!(kim.answers("WHO mina")[0].ends_with(" mina H :0 Mina, of the hill"));
    let long = mina.answers(&format!("SETNAME :{}", "x".repeat(201)));
    assert!(long[0].starts_with(":town.madang FAIL SETNAME INVALID_REALNAME :"), "{long:?}");
}

// Goal: who is watched is told of when they come and go, not when somebody looks; on both faces.
#[test]
fn coming_and_going_is_told_at_once() {
    let house = House::start(TOWN, &[]);
    let mut web = Talk::guest(house.address(0), "web");
    assert_eq!(web.ask(json!({ "do": "watch", "who": ["kim", "web"] }))["here"][0]["name"], "web");
    let mut mina = Irc::guest(house.address(1), "mina", "");
    assert_eq!(mina.answers("MONITOR + kim,*!*@*"), [":town.madang 731 mina :kim"]);
    let mut kim = Irc::guest(house.address(1), "kim", "");
    assert_eq!(mina.until(" 730 "), [":town.madang 730 mina :kim!~ID@town"]);
    let seen = web.event("watched");
    assert_eq!((&seen["who"]["name"], &seen["here"]), (&json!("kim"), &json!(true)));
    kim.answers("NICK nari");
    assert_eq!(mina.until(" 731 "), [":town.madang 731 mina :kim"]);
    kim.answers("NICK kim");
    mina.until(" 730 ");
    kim.say("QUIT");
    assert_eq!(mina.until(" 731 "), [":town.madang 731 mina :kim"]);
    assert_eq!(mina.answers("MONITOR C"), [""; 0]);
}

// Goal: bans are listed; whoever comes back with a rank is told to be what they are.
#[test]
fn ranks_and_bans_are_told() {
    let house = House::start(TOWN, &[]);
    let mut web = Talk::guest(house.address(0), "web");
    web.ask(json!({ "do": "create", "room": "lobby" }));
    let mut mina = Irc::guest(house.address(1), "mina", QUIET);
    let mut kim = Irc::guest(house.address(1), "kim", QUIET);
    mina.answers("JOIN #lobby");
    kim.answers("JOIN #lobby");
    mina.until(":kim!");
    web.ask(json!({ "do": "role", "room": "lobby", "who": "kim", "role": "moderator" }));
    // That somebody was there before may be told at any time.
    assert_eq!(mina.until("+o kim").last().unwrap(), ":web!~ID@town MODE #lobby +o kim");
    kim.answers("PART #lobby");
    mina.until(" PART #lobby");
    kim.answers("JOIN #lobby");
    let mut back = mina.until("+o kim");
    back.retain(|line| line.contains("kim"));
    assert_eq!(back, [":kim!~ID@town JOIN #lobby", ":town.madang MODE #lobby +o kim"]);
    let spam = Irc::guest(house.address(1), "spam", "");
    assert_eq!(mina.answers("MODE #lobby b"), [":town.madang 368 mina #lobby :End of the bans"]);
    kim.answers("MODE #lobby +b spam!*@*");
    mina.until(" MODE #lobby +b ");
    assert_eq!(
        mina.answers("MODE #lobby +b"),
        [":town.madang 367 mina #lobby spam!*@*", ":town.madang 368 mina #lobby :End of the bans"]
    );
    assert_eq!(web.ask(json!({ "do": "bans", "room": "lobby" }))["bans"][0]["name"], "spam");
    drop(spam);
}

// Goal: how far one has read is one thing on all connections of a person, by IRC and by the JSON protocol.
#[test]
fn a_read_marker_is_the_same_everywhere() {
    const CAPS: &str = "draft/read-marker server-time message-tags draft/no-implicit-names";
    let house = House::start(TOWN, &[]);
    let mut mina = Irc::open(house.address(1));
    mina.say("PASS 0123456789abcdef0123456789abcdef");
    mina.enter("mina", CAPS);
    let joined = mina.answers("JOIN #lobby");
    assert_eq!(joined.last().unwrap(), "@time=TIME :town.madang MARKREAD #lobby *");
    let mut phone = Irc::open(house.address(1));
    phone.say("PASS 0123456789abcdef0123456789abcdef");
    phone.enter("mina", CAPS);
    phone.answers("JOIN #lobby");
    let mut kim = Irc::guest(house.address(1), "kim", QUIET);
    kim.answers("JOIN #lobby");
    for text in ["one", "two"] {
        kim.say(&format!("PRIVMSG #lobby :{text}"));
    }
    let time = loop {
        let line = mina.line().unwrap();
        if line.ends_with(":two") {
            break line.split(['=', ';', ' ']).nth(1).unwrap().to_owned();
        }
    };
    let marked = format!(":town.madang MARKREAD #lobby timestamp={time}");
    let told = mina.answers(&format!("MARKREAD #lobby timestamp={time}"));
    assert!(told.len() == 1 && told[0].ends_with(&marked), "{told:?}");
    assert!(phone.until(" MARKREAD ").last().unwrap().ends_with(&marked), "her other connection is told");
    let back = mina.answers("MARKREAD #lobby timestamp=2020-01-01T00:00:00.000Z");
    assert!(back[0].ends_with(&marked), "a marker never goes back: {back:?}");
    assert!(mina.answers("MARKREAD kim")[0].ends_with(" MARKREAD kim *"));
}

// Goal: whoever has just come is told to be there before what they say at once.
#[test]
fn a_newcomer_is_there_before_what_they_say() {
    let house = House::start(TOWN, &[]);
    let mut mina = Irc::guest(house.address(1), "mina", QUIET);
    mina.answers("JOIN #lobby");
    for name in ["kim", "lee", "pak"] {
        let mut newcomer = Irc::guest(house.address(1), name, QUIET);
        newcomer.say("JOIN #lobby\r\nPRIVMSG #lobby :hello");
        let told = mina.until(":hello");
        let joined = format!(":{name}!~ID@town JOIN #lobby");
        assert_eq!(told, [joined, format!(":{name}!~ID@town PRIVMSG #lobby :hello")]);
        newcomer.say("QUIT");
        mina.until(" PART ");
    }
}

// Goal: a message that is sent again under its own name, on another connection, is the same message.
#[test]
fn a_named_message_is_kept_once() {
    const CAPS: &str = "message-tags standard-replies echo-message draft/no-implicit-names";
    const KEY: &str = "PASS 0123456789abcdef0123456789abcdef";
    let house = House::start(TOWN, &[]);
    let mut web = Talk::guest(house.address(0), "web");
    web.ask(json!({ "do": "join", "room": "lobby" }));
    for _ in 0..2 {
        let mut mina = Irc::open(house.address(1));
        mina.say(KEY);
        mina.enter("mina", CAPS);
        mina.answers("JOIN #lobby");
        mina.say("@+madang/nonce=m-1 PRIVMSG #lobby :once");
        mina.until_any(&[":once", " NOTE PRIVMSG SAID_BEFORE #lobby "]);
    }
    let past = web.ask(json!({ "do": "history", "room": "lobby" }));
    let said = past["events"].as_array().unwrap().iter().filter(|event| event["text"] == "once").count();
    assert_eq!(said, 1, "{past}");
}
