//! The first lines: names, capabilities, logins.

use madang_wire::irc::LineError;

use super::super::sasl::{Attempt, Step};
use super::*;

// Goal: an old client, without any negotiation, is welcomed with what it needs to know.
#[test]
fn a_client_of_1993_gets_in() {
    let mut talk = Talk::new(Network { motd: vec!["be kind".into()], ..network() });
    talk.check("NICK kim", &[]);
    talk.says("USER kim 0 * :Kim");
    let hello = talk.answers(Ok(welcome("g:1f", "kim")));
    assert_eq!(claim(hello), Claim::Guest { name: "kim".into(), key: None, keeps: false });
    assert!(talk.machine.registered());
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 001 kim :Welcome to town, kim",
            ":town.madang 002 kim :You are at town.madang, running madang-1.0",
            ":town.madang 003 kim :What is said here is kept: it can be read again with CHATHISTORY",
            ":town.madang 004 kim town.madang madang-1.0 i binst bo",
            ":town.madang 005 kim AWAYLEN=200 CASEMAPPING=ascii CHANLIMIT=#:50 CHANMODES=b,,,inst CHANNELLEN=65 CHANTYPES=# CHATHISTORY=100 ELIST= KICKLEN=300 MODES=4 MONITOR=100 MSGREFTYPES=msgid,timestamp NAMELEN=200 :are understood here",
            ":town.madang 005 kim NETWORK=town NICKLEN=32 PREFIX=(o)@ TARGMAX=JOIN:10,KICK:4,LIST:10,NAMES:4,NOTICE:1,PART:10,PRIVMSG:1,TAGMSG:1,WHOIS:1 TOPICLEN=300 UTF8ONLY WHOX :are understood here",
            ":town.madang 375 kim :- town -",
            ":town.madang 372 kim :- be kind",
            ":town.madang 376 kim :End of the message of the day",
        ]
    );
}

// Goal: a name that is taken, or is none, costs another NICK; the connection lives on.
#[test]
fn a_name_that_is_taken_can_be_chosen_again() {
    let mut talk = Talk::new(network());
    talk.says("USER m 0 * :M");
    talk.says("NICK mina");
    talk.answers(Err(Refusal::NameTaken { name: "mina".into() }));
    assert_eq!(talk.heard(), [":town.madang 433 * mina :Somebody has this name"]);
    talk.says("NICK #");
    talk.answers(Err(Refusal::BadName { must: "letters" }));
    assert_eq!(talk.heard(), [":town.madang 432 * # :a name must be letters"]);
    talk.check("NICK", &[":town.madang 431 * :No nickname given"]);
    talk.says("NICK mina2");
    talk.answers(Ok(welcome("g:2", "mina2")));
    assert!(talk.machine.registered());
}

// Goal: nothing is said to the chat before the negotiation ends, and it is what IRCv3 says.
#[test]
fn capabilities_are_negotiated_before_hello() {
    let mut talk = Talk::new(network());
    talk.says("CAP LS 302");
    let offered = talk.heard().remove(0);
    assert!(offered.starts_with(":town.madang CAP * LS :account-notify "), "{offered}");
    assert!(offered.contains(" sasl=SCRAM-SHA-256,PLAIN ") && offered.len() < 510, "{offered}");
    talk.check("NICK mina", &[]);
    talk.check("USER mina 0 * :Mina", &[]);
    assert!(talk.asked.is_empty(), "the negotiation has not ended");
    talk.check("CAP REQ :batch echo-message", &[":town.madang CAP * ACK :batch echo-message"]);
    talk.check("CAP REQ :batch nothing", &[":town.madang CAP * NAK :batch nothing"]);
    talk.check("CAP LIST", &[":town.madang CAP * LIST :batch cap-notify echo-message"]);
    talk.check("CAP WHAT", &[":town.madang 410 * WHAT :LS, LIST, REQ or END"]);
    talk.check("JOIN #lobby", &[":town.madang 451 * :You have not registered: NICK and USER come first"]);
    talk.says("CAP END");
    talk.answers(Ok(welcome("g:1", "mina")));
    assert!(talk.machine.registered());
    talk.heard();
    talk.check("CAP REQ :-batch", &[":town.madang CAP mina ACK :-batch"]);

    let mut plain = Talk::new(Network { mechanisms: &[], ..network() });
    plain.says("CAP LS");
    assert!(!plain.heard().concat().contains("sasl"), "only guests are here");
    plain.check("CAP REQ sasl", &[":town.madang CAP * NAK :sasl"]);
}

// Goal: a login by SASL: the steps go to whoever knows users, and the name is the user's.
#[test]
fn a_user_logs_in_by_sasl() {
    let mut talk = Talk::new(network());
    talk.says("CAP REQ sasl");
    talk.heard();
    talk.says("NICK somebody");
    talk.says("USER m 0 * :M");
    talk.says("AUTHENTICATE plain");
    assert_eq!(talk.next().1, Todo::Login(Attempt::Begin("PLAIN")));
    assert!(!talk.machine.ready(), "the login is looked at first");
    talk.machine.authenticated(Step::Challenge(vec![]), NOON);
    assert_eq!(talk.heard(), ["AUTHENTICATE +"]);
    talk.says("AUTHENTICATE AG1pbmEAc2VjcmV0");
    assert_eq!(talk.next().1, Todo::Login(Attempt::Message(b"\0mina\0secret".to_vec())));
    let user = Claim::User { name: "mina".into(), admin: false, login: None };
    talk.machine.authenticated(Step::Done(user.clone()), NOON);
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 900 * *!*@town mina :You are logged in as mina",
            ":town.madang 903 * :Login succeeded",
        ]
    );
    talk.check("AUTHENTICATE PLAIN", &[":town.madang 907 * :You are logged in already"]);
    talk.says("CAP END");
    assert_eq!(claim(talk.answers(Ok(welcome("u:mina", "mina")))), user);
    assert!(talk.heard()[0].starts_with(":town.madang 001 mina "));
}

// Goal: each way in which a login fails has its number, and another may follow.
#[test]
fn a_login_that_fails_says_so() {
    let mut talk = Talk::new(network());
    talk.says("CAP REQ sasl");
    talk.heard();
    talk.check(
        "AUTHENTICATE EXTERNAL",
        &[
            ":town.madang 908 * SCRAM-SHA-256,PLAIN :are the mechanisms here",
            ":town.madang 904 * :There is no such mechanism here",
        ],
    );
    begin(&mut talk);
    talk.says("AUTHENTICATE !");
    assert_eq!(talk.heard(), [":town.madang 904 * :That is not base64"]);
    assert_eq!(talk.next().1, Todo::Login(Attempt::Abort));
    talk.machine.authenticated(Step::NoLogin, NOON);
    begin(&mut talk);
    talk.says("AUTHENTICATE *");
    assert_eq!(talk.heard(), [":town.madang 906 * :Login given up"]);
    talk.next();
    talk.machine.authenticated(Step::NoLogin, NOON);
    begin(&mut talk);
    talk.says("AUTHENTICATE AG1pbmEAbm8=");
    talk.next();
    talk.machine.authenticated(Step::Refused("name or password is wrong".into()), NOON);
    assert_eq!(talk.heard(), [":town.madang 904 * :name or password is wrong"]);
    assert!(talk.machine.ready());

    fn begin(talk: &mut Talk) {
        talk.says("AUTHENTICATE PLAIN");
        talk.next();
        talk.machine.authenticated(Step::Challenge(vec![]), NOON);
        assert_eq!(talk.heard(), ["AUTHENTICATE +"]);
    }
}

// Goal: PASS is a login where it is one, and a guest's key where it is none.
#[test]
fn a_password_is_a_login_or_a_guests_key() {
    let mut talk = Talk::new(network());
    talk.says("PASS k3y");
    talk.says("NICK kim");
    talk.says("USER k 0 * :K");
    assert_eq!(talk.next().1, Todo::Login(Attempt::Pass("k3y".into())));
    talk.machine.authenticated(Step::NoLogin, NOON);
    talk.gather();
    let hello = talk.answers(Err(Refusal::BadKey));
    assert_eq!(claim(hello), Claim::Guest { name: "kim".into(), key: Some("k3y".into()), keeps: true });
    assert!(talk.machine.ended());
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 464 * :this key does not belong to this name",
            "ERROR :this key does not belong to this name",
        ]
    );
}

// Goal: what is no line, and who never gets to the point, is refused by name.
#[test]
fn bad_lines_and_endless_beginnings_are_refused() {
    let mut talk = Talk::new(network());
    talk.machine.line(Err(LineError::NotUtf8), NOON);
    assert_eq!(talk.heard(), [":town.madang FAIL * INVALID_UTF8 :a line is UTF-8"]);
    talk.machine.line(Err(LineError::TooLong), NOON);
    assert_eq!(talk.heard(), [":town.madang 417 * :a line has at most 512 bytes"]);
    talk.check(
        "WH@T",
        &[":town.madang FAIL * INVALID_MESSAGE :a command is made of letters, or of three digits"],
    );
    talk.check(":source", &[]);
    talk.check("USER a", &[":town.madang 461 * USER :Not enough parameters"]);
    talk.check("PING here", &[":town.madang PONG town.madang :here"]);
    for _ in 0..60 {
        if talk.machine.ended() {
            break;
        }
        talk.says("PONG");
    }
    assert_eq!(talk.heard(), ["ERROR :too many lines before NICK and USER were accepted"]);
    assert!(!talk.machine.ready());

    let mut talk = Talk::mina("");
    talk.check("FLY away", &[":town.madang 421 mina FLY :Unknown command"]);
    talk.check("USER a b c d", &[":town.madang 462 mina :You are registered already"]);
    talk.says("QUIT :good night");
    assert_eq!(talk.heard(), ["ERROR :Quit: good night"]);
    assert_eq!(talk.next().1, Todo::End);
}
