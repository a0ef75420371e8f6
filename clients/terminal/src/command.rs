//! What a person types: words for others, or a command.
//!
//! **Job.** Read a line, say in one sentence how a command is written wrongly. **Called by** `client`.
//!
//! Not here: doing it (`client`).

/// A typed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Said to the conversation in front.
    Words(String),
    /// Asked for.
    Command(Command),
    /// Neither.
    Wrong(String),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each has its line in COMMANDS")]
pub(crate) enum Command {
    Help,
    Join(String),
    Leave(Option<String>),
    To(String),
    Msg(String, Option<String>),
    /// To a conversation, as the protocol calls it: what nothing answers by itself.
    Notice(String, String),
    Me(String),
    Reply(Option<u64>, String),
    Edit(Option<u64>, String),
    Delete(Option<u64>),
    React(Option<u64>, String, bool),
    Who(Option<String>),
    Whois(String),
    Rooms,
    History(u64),
    Search(String),
    Topic(Option<String>),
    Create(String, bool),
    /// What is done to somebody: the protocol's word, who, why, minutes.
    Order(&'static str, String, Option<String>, Option<u64>),
    Role(String, String),
    Slow(u64),
    Private(bool),
    InviteOnly(bool),
    Announce(String),
    Away(Option<String>),
    Quit,
}

/// Every command: name, what follows it, what it does. Help and completion come from here.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    ("help", "", "this list"),
    ("join", "ROOM", "enter a room; a new name makes one"),
    ("leave", "[ROOM]", "leave this room, or that one"),
    ("to", "ROOM or @NAME", "bring a conversation to the front"),
    ("msg", "NAME [TEXT]", "a direct message; without text only open it"),
    ("notice", "NAME or #ROOM TEXT", "the same, quieter: no program may answer it"),
    ("me", "TEXT", "say what you do"),
    ("reply", "[NUMBER] TEXT", "answer a message (its number, or the last one of somebody else)"),
    ("edit", "[NUMBER] TEXT", "change a message of yours (the last one)"),
    ("delete", "[NUMBER]", "take a message back (your last one)"),
    ("react", "[NUMBER] EMOJI", "a sign below a message (the last one of somebody else)"),
    ("unreact", "[NUMBER] EMOJI", "take it back"),
    ("who", "[ROOM]", "who is here"),
    ("whois", "NAME", "about somebody"),
    ("rooms", "", "your rooms, and those you may join"),
    ("history", "[COUNT]", "older messages (50)"),
    ("search", "WORDS", "find messages"),
    ("topic", "[TEXT]", "tell or change what the room is about"),
    ("create", "ROOM [private]", "make a room"),
    ("invite", "NAME", "let somebody in"),
    ("kick", "NAME [WHY]", "show somebody the door"),
    ("ban", "NAME [MINUTES] [WHY]", "the same, and they stay out"),
    ("unban", "NAME", "let them in again"),
    ("mute", "NAME [MINUTES] [WHY]", "they may listen, not speak"),
    ("unmute", "NAME", "let them speak again"),
    ("role", "NAME owner|moderator|member|none", "what somebody may do here"),
    ("slow", "SECONDS", "one message of everybody in so many seconds; 0: off"),
    ("private", "on|off", "only members see this room"),
    ("invite-only", "on|off", "only who was invited comes in"),
    ("announce", "TEXT", "tell everybody in this chat (admins)"),
    ("away", "[TEXT]", "you are not at the keyboard"),
    ("back", "", "you are again"),
    ("quit", "", "end (also Ctrl+C)"),
];

/// Reads a line. `//` at its beginning stands for words that begin with one slash.
pub(crate) fn read(line: &str) -> Typed {
    if let Some(words) = line.strip_prefix("//") {
        return Typed::Words(format!("/{words}"));
    }
    let Some(rest) = line.strip_prefix('/') else { return Typed::Words(line.to_owned()) };
    let (name, rest) = first_word(rest);
    let name = name.to_lowercase();
    let Some((_, form, _)) = COMMANDS.iter().find(|(known, _, _)| *known == name) else {
        return Typed::Wrong(unknown(&name));
    };
    match command(&name, rest.trim()) {
        Some(command) => Typed::Command(command),
        None => Typed::Wrong(format!("write it so: /{name} {form}")),
    }
}

fn unknown(name: &str) -> String {
    let known = || COMMANDS.iter().map(|(known, _, _)| *known);
    let one_letter_off = |known: &&str| {
        known.len() == name.len() && known.bytes().zip(name.bytes()).filter(|(a, b)| a != b).count() < 2
    };
    let begins = |known: &&str| {
        known.len().min(name.len()) >= 3 && (known.starts_with(name) || name.starts_with(known))
    };
    let near = known().find(one_letter_off).or_else(|| known().find(begins));
    match near {
        Some(near) => format!(
            "there is no /{name}; did you mean /{near}? (// at the beginning sends a line with a slash)"
        ),
        None => format!(
            "there is no /{name}; /help lists what there is (// at the beginning sends a line with a slash)"
        ),
    }
}

fn command(name: &str, rest: &str) -> Option<Command> {
    let text = || (!rest.is_empty()).then(|| rest.to_owned());
    let no_more = |command: Command| rest.is_empty().then_some(command);
    Some(match name {
        "help" => Command::Help,
        "join" => Command::Join(room(rest)?),
        "leave" => Command::Leave(if rest.is_empty() { None } else { Some(room(rest)?) }),
        "to" => Command::To(room(rest)?),
        "msg" => {
            let (who, words) = first_word(rest);
            let words = words.trim();
            Command::Msg(person(who)?, (!words.is_empty()).then(|| words.to_owned()))
        }
        "notice" => {
            let (to, words) = first_word(rest);
            let to = if to.starts_with('#') { room(to)? } else { format!("@{}", person(to)?) };
            Command::Notice(to, some(words.trim())?)
        }
        "me" => Command::Me(text()?),
        "reply" => {
            let (number, text) = numbered(rest);
            Command::Reply(number, some(text)?)
        }
        "edit" => {
            let (number, text) = numbered(rest);
            Command::Edit(number, some(text)?)
        }
        "delete" => match numbered(rest) {
            (number, "") => Command::Delete(number),
            _ => return None,
        },
        "react" | "unreact" => {
            let (number, emoji) = numbered(rest);
            Command::React(number, some(emoji)?, name == "react")
        }
        "who" => Command::Who(if rest.is_empty() { None } else { Some(room(rest)?) }),
        "whois" => Command::Whois(person(rest)?),
        "rooms" => no_more(Command::Rooms)?,
        "history" if rest.is_empty() => Command::History(50),
        "history" => Command::History(rest.parse().ok().filter(|count| (1..=200).contains(count))?),
        "search" => Command::Search(text()?),
        "topic" => Command::Topic(text()),
        "create" => {
            let (name, how) = first_word(rest);
            let private = match how.trim() {
                "" => false,
                "private" => true,
                _ => return None,
            };
            Command::Create(room(name)?, private)
        }
        "invite" => order("invite", rest, false)?,
        "kick" => order("kick", rest, false)?,
        "ban" => order("ban", rest, true)?,
        "unban" => order("unban", rest, false)?,
        "mute" => order("mute", rest, true)?,
        "unmute" => order("unmute", rest, false)?,
        "role" => {
            let (who, role) = first_word(rest);
            let role = role.trim();
            let known = matches!(role, "owner" | "moderator" | "member" | "none");
            Command::Role(person(who)?, known.then(|| role.to_owned())?)
        }
        "slow" => Command::Slow(rest.parse().ok().filter(|seconds| *seconds <= 3600)?),
        "private" => Command::Private(on_or_off(rest)?),
        "invite-only" => Command::InviteOnly(on_or_off(rest)?),
        "announce" => Command::Announce(text()?),
        "away" => Command::Away(Some(text().unwrap_or_else(|| "away".to_owned()))),
        "back" => no_more(Command::Away(None))?,
        "quit" => Command::Quit,
        _ => return None,
    })
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// One word; `#lobby` is what users of IRC write for `lobby`.
fn room(text: &str) -> Option<String> {
    let (word, rest) = first_word(text);
    let word = word.strip_prefix('#').unwrap_or(word);
    (!word.is_empty() && rest.trim().is_empty()).then(|| word.to_owned())
}

fn person(text: &str) -> Option<String> {
    room(text.strip_prefix('@').unwrap_or(text))
}

/// A number in front, with or without `#`.
fn numbered(text: &str) -> (Option<u64>, &str) {
    let (word, rest) = first_word(text);
    match word.strip_prefix('#').unwrap_or(word).parse() {
        Ok(number) => (Some(number), rest.trim()),
        Err(_) => (None, text),
    }
}

fn order(what: &'static str, rest: &str, timed: bool) -> Option<Command> {
    let (who, rest) = first_word(rest);
    let (minutes, why) = if timed { numbered(rest.trim()) } else { (None, rest.trim()) };
    let takes_why = !matches!(what, "invite" | "unban" | "unmute");
    if !takes_why && !why.is_empty() {
        return None;
    }
    Some(Command::Order(what, person(who)?, some(why), minutes))
}

fn on_or_off(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_words_or_a_command_and_a_wrong_one_says_how_it_is_written() {
        let command = |command| Typed::Command(command);
        check("hello", Typed::Words("hello".into()));
        check("//etc/hosts", Typed::Words("/etc/hosts".into()));
        check("/join #lobby", command(Command::Join("lobby".into())));
        check("/JOIN 마당", command(Command::Join("마당".into())));
        check("/msg @mina how are you", command(Command::Msg("mina".into(), Some("how are you".into()))));
        check("/notice mina 3 builds", command(Command::Notice("@mina".into(), "3 builds".into())));
        check("/notice @mina hi", command(Command::Notice("@mina".into(), "hi".into())));
        check("/notice #lobby built", command(Command::Notice("lobby".into(), "built".into())));
        wrong("/notice mina", "write it so: /notice NAME or #ROOM TEXT");
        wrong("/notice # x", "write it so: /notice NAME or #ROOM TEXT");
        check("/msg mina", command(Command::Msg("mina".into(), None)));
        check("/reply 41 yes", command(Command::Reply(Some(41), "yes".into())));
        check("/reply #41 yes", command(Command::Reply(Some(41), "yes".into())));
        check("/reply yes", command(Command::Reply(None, "yes".into())));
        check("/react 👍", command(Command::React(None, "👍".into(), true)));
        check("/unreact 7 👍", command(Command::React(Some(7), "👍".into(), false)));
        check(
            "/ban jun 10 too loud",
            command(Command::Order("ban", "jun".into(), Some("too loud".into()), Some(10))),
        );
        check(
            "/kick jun 10 times",
            command(Command::Order("kick", "jun".into(), Some("10 times".into()), None)),
        );
        check("/topic", command(Command::Topic(None)));
        check("/create town private", command(Command::Create("town".into(), true)));
        check("/away", command(Command::Away(Some("away".into()))));
        check("/back", command(Command::Away(None)));
        wrong("/join", "write it so: /join ROOM");
        wrong("/join a b", "write it so: /join ROOM");
        wrong("/role jun king", "write it so: /role NAME owner|moderator|member|none");
        wrong("/history 0", "write it so: /history [COUNT]");
        wrong("/invite jun now", "write it so: /invite NAME");
        wrong("/jion x", "there is no /jion; /help lists what there is");
        wrong("/who-is x", "there is no /who-is; did you mean /who?");
        wrong("/tobic x", "there is no /tobic; did you mean /topic?");
        wrong("/etc/hosts", "there is no /etc/hosts; /help");

        #[track_caller]
        fn check(line: &str, want: Typed) {
            assert_eq!(read(line), want);
        }
        #[track_caller]
        fn wrong(line: &str, want: &str) {
            let Typed::Wrong(said) = read(line) else { panic!("{line} was taken") };
            assert!(said.starts_with(want), "{said}");
        }
    }

    // Goal: every command of the list is read, so that help never shows what does not work.
    #[test]
    fn every_command_of_the_list_is_read() {
        for (name, form, _) in COMMANDS {
            let filled = form
                .replace("ROOM or @NAME", "x")
                .replace("NAME or #ROOM", "x")
                .replace("owner|moderator|member|none", "member")
                .replace("on|off", "on")
                .replace("SECONDS", "5")
                .replace("COUNT", "5")
                .replace("NUMBER", "5")
                .replace("MINUTES", "5")
                .replace(['[', ']'], "");
            let line = format!("/{name} {filled}");
            assert!(matches!(read(line.trim_end()), Typed::Command(_)), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "/?[a-z]{0,7} ?.{0,20}") {
            let _ = read(&line);
        }
    }
}
