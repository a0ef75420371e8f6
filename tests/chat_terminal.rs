//! `madang chat URL`: people at terminals, and programs at pipes, in a chat of the running program.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::house::{House, program};
use crate::support::spoken::Spoken;
use crate::support::terminal::Terminal;

const TOWN: &str = r#"
[server]
workers = 1
[site.main]
listen = ["http://127.0.0.1:0", "http://unix:SOCKET"]
route = [{ path = "/chat/*", chat = "town" }]
[chat.town]
"#;

/// A chat whose socket keeps its address over a restart, and where people keep their keys.
struct Town {
    house: House,
    state: TempDir,
    url: String,
}

impl Town {
    #[track_caller]
    fn new() -> Self {
        let state = TempDir::new().unwrap();
        let socket = state.path().join("site.sock").display().to_string();
        let house = House::start(&TOWN.replace("SOCKET", &socket), &[]);
        Self { house, state, url: format!("http://unix:{socket}:/chat/") }
    }

    /// `madang chat` there, by a user of this machine who has a folder of their own.
    fn chat(&self, who: &str, more: &[&str]) -> Command {
        let mut command = program();
        command.args(["chat", &self.url, "--name", who]).args(more);
        command.env("XDG_STATE_HOME", self.state.path().join(who)).env_remove("MADANG_TOKEN");
        command
    }

    #[track_caller]
    fn at_terminal(&self, who: &str, columns: u16, rows: u16) -> Terminal {
        let terminal = Terminal::start(&self.chat(who, &[]), columns, rows);
        terminal.until_shows("here");
        terminal
    }
}

fn count(screen: &str, text: &str) -> usize {
    screen.matches(text).count()
}

// Goal: two people at terminals talk; a server that is killed and started again loses nothing of it and tells nothing twice.
// Method: a wide and a narrow terminal, Korean words, SIGKILL, a message written while there is no server.
#[test]
fn people_at_terminals_talk_over_a_crash_of_the_server() {
    let mut town = Town::new();
    let mut mina = town.at_terminal("mina", 100, 24);
    let mut jun = town.at_terminal("jun", 40, 12);
    mina.until_shows("2 here");
    mina.types("안녕하세요, 준\r");
    jun.until_shows("mina 안녕하세요, 준");
    jun.types("네, 들려요\r");
    mina.until_shows("jun 네, 들려요");

    town.house.kill_and_start_again();
    mina.types("written over a crash\r");
    jun.until_shows("mina written over a crash");
    jun.types("and heard\r");
    mina.until_shows("jun and heard");
    jun.until_shows("jun and heard");
    for screen in [mina.screen(), jun.screen()] {
        let often: Vec<usize> = ["안녕하세요, 준", "네, 들려요", "written over a crash", "and heard"]
            .map(|text| count(&screen, text))
            .into();
        assert_eq!(often, [1, 1, 1, 1], "{screen}");
    }

    mina.types("/quit\r");
    jun.types("\x03");
    assert_eq!((mina.ended().code(), jun.ended().code()), (Some(0), Some(0)));

    // Who comes back finds what was said, under the same name.
    let mina = town.at_terminal("mina", 60, 20);
    mina.until_shows("jun and heard");
    mina.until_shows("mina written over a crash");
}

// Goal: direct messages are counted until they are looked at; typing, commands and their mistakes are told.
#[test]
fn what_is_said_elsewhere_is_counted_and_commands_answer() {
    let town = Town::new();
    let mut mina = town.at_terminal("mina", 100, 24);
    let mut jun = town.at_terminal("jun", 100, 24);
    jun.types("/msg mina 비밀\r");
    mina.until("a direct message that is counted", |screen| screen.contains("@jun") && screen.contains("1!"));
    mina.types("/to @jun\r");
    mina.until("the direct message", |screen| screen.contains("jun 비밀") && !screen.contains("1!"));
    jun.types("half a sen");
    mina.until_shows("jun is typing");
    jun.types("tence\r");
    mina.until_shows("jun half a sentence");

    mina.types("/to lobby\r/topic 마당의 저녁\r");
    mina.until_shows("mina changed the topic: 마당의 저녁");
    mina.types("/me waves\r");
    mina.until_shows("* mina waves");
    mina.types("/tobic x\r");
    mina.until_shows("did you mean /topic?");
    mina.types("/rooms\r");
    mina.until_shows("lobby");
    mina.types("teh word\r");
    mina.until_shows("mina teh word");
    mina.types("/edit the word\r");
    mina.until_shows("mina the word (edited)");
    mina.types("/whois jun\r");
    mina.until_shows("jun: a guest, here");
}

// Goal: in a pipe every line is sent once and in order, the end waits for the last acknowledgement, and the limit on messages is
// waited out instead of failing.
#[test]
fn a_program_sends_lines_and_another_reads_them() {
    let town = Town::new();
    let mut reader = Spoken::start(town.chat("reader", &["--json", "--follow"]).env_remove("TERM"));
    reader.until_wrote("\"connected\"");
    reader.says("ready\n");
    reader.until_wrote("\"sent\"");
    let mut writer = Spoken::start(&mut town.chat("writer", &[]));
    let lines: Vec<String> = (0..24).map(|number| format!("줄 {number}")).collect();
    writer.says(lines.join("\n"));
    writer.says_no_more();
    let status = writer.ended();
    assert_eq!(status.code(), Some(0), "{}", writer.said());
    reader.until_wrote("줄 23");
    reader.signal(Signal::INT);
    assert_eq!(reader.ended().code(), Some(0));
    let events: Vec<serde_json::Value> =
        reader.wrote().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let heard: Vec<&str> = events
        .iter()
        .filter(|event| event["on"] == "message" && event["by"]["name"] == "writer")
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert_eq!(heard, lines);

    let mut late = Spoken::start(&mut town.chat("late", &["--history", "3"]));
    late.says_no_more();
    assert_eq!(late.ended().code(), Some(0), "{}", late.said());
    assert_eq!(late.wrote(), "[lobby] writer: 줄 21\n[lobby] writer: 줄 22\n[lobby] writer: 줄 23\n");
}

// Goal: every way it cannot be had says why and what to do, with the exit code of its kind.
#[test]
fn who_is_not_let_in_is_told_why() {
    let town = Town::new();
    let mina = town.at_terminal("mina", 80, 10);
    let socket = town.url.strip_suffix("/chat/").unwrap().to_owned();
    let mut taken = town.chat("mina", &["--plain"]);
    taken.env("XDG_STATE_HOME", town.state.path().join("another"));
    check(&mut taken, 1, "choose another one with --name");
    check(program().args(["chat", &format!("{socket}/nowhere/")]), 1, "the server answered 404");
    check(program().args(["chat", "http://127.0.0.1:1/chat/"]), 1, "nobody listens on 127.0.0.1:1");
    check(program().args(["chat", "http://a b/"]), 2, "write https://HOST/PATH/");
    check(town.chat("jun", &[]).env("MADANG_TOKEN", "nonsense"), 1, "token");
    check(&mut town.chat("jun", &["--token", "nonsense"]), 1, "others on this machine can read --token");
    check(&mut town.chat("jun", &["--token-file", "/nowhere"]), 2, "--token-file /nowhere: No such file");
    check(&mut town.chat("jun", &["--history", "500"]), 2, "500 is not in 0..=200");
    drop(mina);

    #[track_caller]
    fn check(command: &mut Command, code: i32, want: &str) {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
        assert!(said.contains(want), "{command:?}: {said}");
    }
}

// Goal: over TLS, trusting the house's own authority by its file; and nobody else.
#[test]
fn a_chat_over_tls_is_believed_by_its_authority() {
    let settings = TOWN.replace(
        "[\"http://127.0.0.1:0\", \"http://unix:SOCKET\"]",
        "\"https://127.0.0.1:0\"\ntls = \"local\"\nhosts = [\"localhost\"]",
    );
    let house = House::start(&settings, &[]);
    let url = format!("https://localhost:{}/chat/", house.address(0).port());
    let state = TempDir::new().unwrap();
    let chat = |ca: Option<&Path>| {
        let mut command = program();
        command.args(["chat", &url, "--name", "mina"]).env("XDG_STATE_HOME", state.path());
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        let mut spoken = Spoken::start(&mut command);
        spoken.says_no_more();
        (spoken.ended().code(), spoken.said())
    };
    let (code, said) = chat(Some(&house.path("data/ca/root.pem")));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = chat(None);
    assert_eq!(code, Some(1), "{said}");
}
