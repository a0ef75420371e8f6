//! Goal: a chat's settings are what was written, or what `keys` says when nothing was; what contradicts itself is told.
//! Method: small files through the real reader.

use super::*;
use madang_settings::report::Report;
use madang_settings::schema::{Kind, Section, key};
use madang_settings::source::{self, Source};

struct Text(String);
impl Source for Text {
    fn read(&self, _: &std::path::Path) -> std::io::Result<String> {
        Ok(self.0.clone())
    }
    fn list(&self, _: &std::path::Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        Ok(Vec::new())
    }
}

static ROOT: Section = Section { title: "", doc: "", keys: &[key("chat", Kind::Named(&CHAT), "", "")] };

fn read(body: &str) -> (ChatSettings, Vec<String>) {
    let mut report = Report::default();
    let text = Text(format!("[chat.town]\n{body}"));
    let tree = source::load("x".as_ref(), &Default::default(), &text, &mut report);
    let mut root = Reader::root(&tree, &ROOT, &mut report);
    let mut all = root.named("chat", &CHAT, ChatSettings::read);
    let told = report.problems.iter().map(|problem| problem.message.clone()).collect();
    (all.remove(0), told)
}

#[test]
fn a_chat_that_says_nothing_has_the_defaults() {
    let (chat, told) = read("");
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(chat.history.age, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!((chat.message_bytes_max, chat.frame_bytes_max), (8192, 65_536));
    assert_eq!(chat.rate, SendRate { count: 5, period: Duration::from_secs(1), burst: 20 });
    assert_eq!((chat.rooms.max, chat.rooms.create), (10_000, Create::Everyone));
    assert!(chat.guests && chat.files.is_some());
    assert_eq!(ChatSettings { name: "town".into(), ..ChatSettings::default() }, chat);
}

#[test]
fn files_are_taken_by_their_media_type() {
    let files = FileSettings::default();
    check("image/png", true);
    check("IMAGE/PNG; a=b", true);
    check("text/plain; charset=utf-8", true);
    check("text/html", false);
    check("image/", false);
    check("image", false);
    check("", false);

    #[track_caller]
    fn check(media_type: &str, want: bool) {
        assert_eq!(FileSettings::default().takes(media_type), want, "{media_type}");
    }
    assert_eq!(files.bytes_max, 10 << 20);
}

#[test]
fn what_contradicts_itself_is_told() {
    check("message_size = \"100KiB\"", "does not fit into a frame");
    check("message_size = \"64KiB\"\nframe = \"64KiB\"", "does not fit into a frame");
    check("listen = \"ircs://127.0.0.1:6697\"", "has no `tls`");
    check("listen = \"irc://127.0.0.1:6667\"\ntls = \"local\"", "no ircs://");
    check("listen = \"http://127.0.0.1:80\"", "is not an address that a chat listens on");
    check("rate = \"5/s burst 3\"", "`burst` is a key of its own");
    check("history = \"1s\"", "neither \"forever\" nor");
    check("files = { size = \"2GiB\" }", "more than all together");
    check("files = 3", "is a table, or false");
    check("origins = [\"https://a.org/\"]", "is not an origin");

    #[track_caller]
    fn check(body: &str, want: &str) {
        let (_, told) = read(body);
        assert!(told.len() == 1 && told[0].contains(want), "{body}: {told:?}");
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    let (chat, told) = read(
        "listen = [\"irc://localhost:6667\", \"line://unix:/run/l.sock\"]\nhistory = \"forever\"\nhistory_messages = 7\nguests = false\nfiles = false\norigins = \"*\"\nrate = \"30/m\"\nburst = 2\nrooms = { create = \"admins\", per_person = 3 }",
    );
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(chat.listen.iter().map(|one| one.speaks).collect::<Vec<_>>(), [Speaks::Irc, Speaks::Line]);
    assert_eq!(chat.history, History { age: None, messages: Some(7), bytes: None });
    assert_eq!((chat.guests, chat.files, chat.origins), (false, None, Origins::Any));
    assert_eq!(chat.rate, SendRate { count: 30, period: Duration::from_secs(60), burst: 2 });
    assert_eq!((chat.rooms.create, chat.rooms.per_person), (Create::Admins, 3));
}
