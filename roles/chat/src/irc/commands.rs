//! The commands there are, each with who does it.
//!
//! **Job.** Find a command by its name. **Called by** `machine`.
//!
//! Not here: doing it (the files named in the tables).

use madang_wire::irc::Message;

use super::machine::Machine;
use super::{channel, history, marks, message, mode, monitor, own, person, register, server};

/// One command.
pub(super) struct Command {
    /// In capital letters.
    pub(super) name: &'static str,
    /// Fewer parameters are refused.
    pub(super) params: usize,
    /// Does it.
    pub(super) run: fn(&mut Machine, &Message<'_>),
}

/// Every command for whoever has said who they are.
const COMMANDS: &[Command] = &[
    Command { name: "AWAY", params: 0, run: own::away },
    Command { name: "BATCH", params: 1, run: message::batch },
    Command { name: "CHATHISTORY", params: 1, run: history::chathistory },
    Command { name: "INVITE", params: 2, run: channel::invite },
    Command { name: "ISON", params: 1, run: person::ison },
    Command { name: "JOIN", params: 1, run: channel::join },
    Command { name: "KICK", params: 2, run: channel::kick },
    Command { name: "LIST", params: 0, run: channel::list },
    Command { name: "LUSERS", params: 0, run: server::lusers },
    Command { name: "MARKREAD", params: 1, run: marks::markread },
    Command { name: "MODE", params: 1, run: mode::mode },
    Command { name: "MONITOR", params: 1, run: monitor::monitor },
    Command { name: "MOTD", params: 0, run: server::motd },
    Command { name: "NAMES", params: 0, run: channel::names },
    Command { name: "NOTICE", params: 0, run: message::notice },
    Command { name: "PART", params: 1, run: channel::part },
    Command { name: "PRIVMSG", params: 0, run: message::privmsg },
    Command { name: "REDACT", params: 2, run: message::redact },
    Command { name: "SETNAME", params: 1, run: own::setname },
    Command { name: "TAGMSG", params: 1, run: message::tagmsg },
    Command { name: "TIME", params: 0, run: server::time },
    Command { name: "TOPIC", params: 1, run: channel::topic },
    Command { name: "USERHOST", params: 1, run: person::userhost },
    Command { name: "VERSION", params: 0, run: server::version },
    Command { name: "WHO", params: 0, run: person::who },
    Command { name: "WHOIS", params: 1, run: person::whois },
    Command { name: "WHOWAS", params: 1, run: person::whowas },
];

/// Commands that are taken before that, too.
const ALWAYS: &[Command] = &[
    Command { name: "AUTHENTICATE", params: 1, run: register::authenticate },
    Command { name: "CAP", params: 1, run: register::cap },
    Command { name: "NICK", params: 0, run: own::nick },
    Command { name: "PASS", params: 1, run: register::pass },
    Command { name: "PING", params: 1, run: server::ping },
    Command { name: "PONG", params: 0, run: server::pong },
    Command { name: "QUIT", params: 0, run: server::quit },
    Command { name: "USER", params: 4, run: register::user },
];

/// The command of this name that may be said now, in letters of any size.
pub(super) fn find(name: &str, registered: bool) -> Option<&'static Command> {
    let is = |command: &&Command| command.name.eq_ignore_ascii_case(name);
    COMMANDS.iter().find(is).filter(|_| registered).or(ALWAYS.iter().find(is))
}
