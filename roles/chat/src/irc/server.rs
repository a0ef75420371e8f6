//! Commands about the server itself.
//!
//! **Job.** `PING`, `PONG`, `QUIT`, `MOTD`, `LUSERS`, `VERSION`, `TIME`, and what a client is told of the server at the beginning.
//! **Called by** `machine`, `register`.
//!
//! Not here: people and rooms.

use std::sync::Arc;

use madang_wire::irc::Message;

use super::channel;
use super::machine::Machine;
use super::numeric::{
    ERR_NOMOTD, RPL_ENDOFMOTD, RPL_ISUPPORT, RPL_LUSERCHANNELS, RPL_LUSERCLIENT, RPL_LUSERME, RPL_MOTD,
    RPL_MOTDSTART, RPL_TIME, RPL_VERSION,
};
use super::stamp;
use crate::names::{NAME_CHARS_MAX, ROOM_CHARS_MAX};

/// Messages that one `CHATHISTORY` gives at most.
pub(super) const HISTORY_MAX: usize = 100;
/// People that one connection may watch.
pub(super) const MONITOR_MAX: usize = crate::ask::WATCHED_MAX;
/// Bytes of a real name.
pub(super) const REAL_BYTES_MAX: usize = crate::ask::ABOUT_BYTES_MAX;
/// Tokens in one line of 005 (modern.ircdocs.horse: 13).
const TOKENS_MAX: usize = 13;

pub(super) fn ping(machine: &mut Machine, message: &Message<'_>) {
    let token = message.params().first().copied().unwrap_or_default();
    let (pen, out) = machine.sink();
    let server = Arc::clone(&pen.net.server);
    pen.server(out, "PONG").param(&server).text(token).end();
}

pub(super) fn pong(_: &mut Machine, _: &Message<'_>) {
    // That it came is all there is to know: `door` saw it.
}

pub(super) fn quit(machine: &mut Machine, message: &Message<'_>) {
    let why = message.param(0).unwrap_or("bye");
    machine.end(&format!("Quit: {why}"));
}

pub(super) fn version(machine: &mut Machine, _: &Message<'_>) {
    let (version, server) = (Arc::clone(&machine.pen.net.version), Arc::clone(&machine.pen.net.server));
    machine.numeric(RPL_VERSION, &[&version, &server], Some("IRCv3"));
    supported(machine);
}

pub(super) fn time(machine: &mut Machine, _: &Message<'_>) {
    let (now, server) = (stamp::time(machine.pen.now_ms), Arc::clone(&machine.pen.net.server));
    machine.numeric(RPL_TIME, &[&server], Some(&now));
}

pub(super) fn motd(machine: &mut Machine, _: &Message<'_>) {
    tell_motd(machine);
}

pub(super) fn tell_motd(machine: &mut Machine) {
    let net = Arc::clone(&machine.pen.net);
    if net.motd.is_empty() {
        machine.numeric(ERR_NOMOTD, &[], Some("There is no message of the day"));
        return;
    }
    machine.numeric(RPL_MOTDSTART, &[], Some(&format!("- {} -", net.name)));
    for line in &net.motd {
        machine.numeric(RPL_MOTD, &[], Some(&format!("- {line}")));
    }
    machine.numeric(RPL_ENDOFMOTD, &[], Some("End of the message of the day"));
}

/// How many are where, from what one may see: the rooms that are open.
pub(super) fn lusers(machine: &mut Machine, _: &Message<'_>) {
    channel::count(machine);
}

/// The numbers of `LUSERS`.
pub(super) fn tell_lusers(machine: &mut Machine, rooms: usize, more: bool) {
    let more = if more { " or more" } else { "" };
    machine.numeric(RPL_LUSERCLIENT, &[], Some("People are counted in their rooms: see LIST"));
    machine.numeric(RPL_LUSERCHANNELS, &[&rooms.to_string()], Some(&format!("open rooms{more}")));
    machine.numeric(RPL_LUSERME, &[], Some("This is one server"));
}

/// What the server understands (RPL_ISUPPORT).
pub(super) fn supported(machine: &mut Machine) {
    let net = Arc::clone(&machine.pen.net);
    let tokens = [
        "AWAYLEN=200".to_owned(),
        // Names are folded by Unicode's rules; among ASCII letters it is this one.
        "CASEMAPPING=ascii".to_owned(),
        format!("CHANLIMIT=#:{}", net.rooms),
        "CHANMODES=b,,,inst".to_owned(),
        format!("CHANNELLEN={}", ROOM_CHARS_MAX + 1),
        "CHANTYPES=#".to_owned(),
        format!("CHATHISTORY={HISTORY_MAX}"),
        "ELIST=".to_owned(),
        "KICKLEN=300".to_owned(),
        "MODES=4".to_owned(),
        format!("MONITOR={MONITOR_MAX}"),
        "MSGREFTYPES=msgid,timestamp".to_owned(),
        format!("NAMELEN={REAL_BYTES_MAX}"),
        format!("NETWORK={}", net.name),
        format!("NICKLEN={NAME_CHARS_MAX}"),
        "PREFIX=(o)@".to_owned(),
        "TARGMAX=JOIN:10,KICK:4,LIST:10,NAMES:4,NOTICE:1,PART:10,PRIVMSG:1,TAGMSG:1,WHOIS:1".to_owned(),
        "TOPICLEN=300".to_owned(),
        "UTF8ONLY".to_owned(),
        "WHOX".to_owned(),
    ];
    for some in tokens.chunks(TOKENS_MAX) {
        let words: Vec<&str> = some.iter().map(String::as_str).collect();
        machine.numeric(RPL_ISUPPORT, &words, Some("are understood here"));
    }
}
