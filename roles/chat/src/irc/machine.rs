//! One IRC connection, without its socket.
//!
//! **Job.** Take lines and the chat's answers, give lines and what is to be asked. **Called by** `door`, which moves the bytes and
//! holds the session. **Calls** the files of the commands.
//!
//! Invariants
//! 1. One command is done after the other: while one waits for an answer, [`Machine::ready`] is false and no line is taken.
//! 2. A command with a label has exactly one answer: a line, a batch, or ACK; a message of one's own bears it when it comes back.
//! 3. It holds no socket, no clock and no randomness: the same lines and answers give the same lines.
//!
//! Not here: what a command does (`channel`, `message`, `person`, `history`, ...), how lines look (`pen`).

use std::collections::BTreeMap;
use std::sync::Arc;

use madang_wire::irc::{Line, LineError, Message};

use super::caps::Cap;
use super::monitor::Watch;
use super::numeric::{ERR_INPUTTOOLONG, ERR_NEEDMOREPARAMS, ERR_NOTREGISTERED, ERR_UNKNOWNCOMMAND};
use super::pen::Pen;
use super::register::Registering;
use super::sasl::{Attempt, Step};
use super::{
    Network, channel, commands, history, labels, marks, message, mode, monitor, own, person, register,
};
use crate::ask::Ask;
use crate::event::{Event, Person, PersonId};
use crate::floor::Cut;
use crate::post::Claim;
use crate::refusal::Refusal;
use crate::reply::{Kept, Reply};

/// A label's length in bytes (IRCv3 labeled-response).
const LABEL_BYTES_MAX: usize = 64;
/// Messages of one's own that have not come back yet.
const OWN_MAX: usize = 64;
/// A wait that is longer is told instead of waited for.
const HOLD_MS_MAX: u64 = 30_000;
/// A client that is too fast is told so this often at most.
const WARN_AGAIN_MS: u64 = 10_000;
/// Events that wait for an answer to tell whose they are. The answer is on its way already.
const EARLY_MAX: usize = 256;

/// What has to be done for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Todo {
    /// Say who it is. Answered by [`Machine::answered`] with this tag.
    Hello(u64, Claim),
    /// Ask for something. Likewise.
    Ask(u64, Ask),
    /// Go on with a login. Answered by [`Machine::authenticated`].
    Login(Attempt),
    /// Call [`Machine::go_on`] after so many milliseconds.
    Hold(u64),
    /// Write what is there and close.
    End,
}

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Then {
    Hello,
    Joined { wanted: Arc<str> },
    Names { room: Arc<str> },
    Parted { room: Arc<str>, why: Option<String> },
    Sent { target: String, command: &'static str },
    Changed { room: Arc<str>, command: &'static str },
    Inviting { room: Arc<str>, who: String },
    Redacted { target: String, id: String },
    Listed { only: Vec<String> },
    Counted,
    Who { wanted: String, fields: Option<person::Fields>, of: person::WhoOf },
    Whois { wanted: String },
    IsOn { wanted: Vec<String>, found: Vec<String>, form: person::IsOnForm },
    Away { here: bool },
    Watched { asked: Vec<String> },
    Whowas { wanted: String, most: usize },
    Renamed { wanted: String },
    Described { text: Option<Arc<str>> },
    Bans { room: Arc<str> },
    Marked(marks::Marking),
    Past(Box<history::Search>),
    Targets(history::Targets),
    Nothing,
}

struct Waiting {
    tag: u64,
    then: Then,
    /// It belongs to the command that is being done.
    front: bool,
    /// To be asked again if it came too fast.
    again: Option<Ask>,
}

impl Waiting {
    /// Whether an event of one's own may come of it.
    fn writes(&self) -> bool {
        matches!(
            self.then,
            Then::Sent { .. } | Then::Changed { .. } | Then::Redacted { .. } | Then::Inviting { .. }
        )
    }
}

#[derive(Debug, Default)]
struct Current {
    label: Option<String>,
    /// The lines of an answer that has a label.
    lines: Vec<u8>,
    open: usize,
}

/// A room this connection is in.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) topic: Arc<str>,
    pub(super) private: bool,
    pub(super) invite_only: bool,
    /// Who was told to have been kicked, and will be told to have gone.
    pub(super) kicked: Vec<Arc<str>>,
}

/// Something of one's own that was kept and will be published.
#[derive(Debug)]
struct Own {
    room: Arc<str>,
    offset: u64,
    label: Option<String>,
}

/// See the module.
pub struct Machine {
    pub(super) pen: Pen,
    pub(super) registering: Option<Box<Registering>>,
    /// By the room's name.
    pub(super) channels: BTreeMap<Arc<str>, Channel>,
    pub(super) watch: Watch,
    /// A message of several lines that is being sent.
    pub(super) paper: Option<message::Paper>,
    out: Vec<u8>,
    todo: Vec<Todo>,
    waiting: Vec<Waiting>,
    tags: u64,
    current: Option<Current>,
    /// Replies go to the command's own lines.
    gather: bool,
    own: Vec<Own>,
    /// Events that came while it is not known yet which of them is the one that was just written.
    early: Vec<Event>,
    held: Vec<(Ask, Then)>,
    warned_ms: u64,
    /// Of whom it was told last that they are away, or back: it is told for each room, and said once.
    pub(super) last_away: Option<(PersonId, Option<Arc<str>>)>,
    /// In front of the numbers that make a send one of its kind.
    nonce: String,
    nonces: u64,
    ended: bool,
}

impl Machine {
    /// A connection that has said nothing yet. `nonce`: random, its own.
    pub fn new(net: Arc<Network>, nonce: u64) -> Self {
        Self {
            pen: Pen::new(net),
            registering: Some(Box::default()),
            channels: BTreeMap::new(),
            watch: Watch::default(),
            paper: None,
            out: Vec::new(),
            todo: Vec::new(),
            waiting: Vec::new(),
            tags: 0,
            current: None,
            gather: false,
            own: Vec::new(),
            early: Vec::new(),
            held: Vec::new(),
            warned_ms: 0,
            last_away: None,
            nonce: format!("irc-{nonce:016x}-"),
            nonces: 0,
            ended: false,
        }
    }

    /// It has shown who it is before it said anything.
    pub fn signed_in(&mut self, claim: Claim) {
        if let Some(registering) = &mut self.registering {
            registering.signed_in(claim);
        }
    }

    /// Whether the next line may come.
    pub fn ready(&self) -> bool {
        self.current.is_none() && !self.ended
    }

    /// Whether it has said who it is.
    pub fn registered(&self) -> bool {
        self.registering.is_none()
    }

    /// Whether this is whose connection it is.
    pub fn is(&self, person: &Person) -> bool {
        self.pen.is_me(person)
    }

    /// Whether nothing more is to be read from it.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Lines that wait to be written, each with CR LF. The caller takes them out.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// What has to be done now, in this order.
    pub fn todo(&mut self) -> Vec<Todo> {
        std::mem::take(&mut self.todo)
    }

    /// A line came, or one that cannot be taken. Only while [`Machine::ready`]. `now_ms`: since 1970.
    pub fn line(&mut self, line: Result<&str, LineError>, now_ms: u64) {
        self.pen.now_ms = now_ms;
        match line.and_then(Message::parse) {
            Ok(message) => self.command(&message),
            // Nothing but a source, or tags: as good as an empty line.
            Err(LineError::Nothing) => {}
            Err(error) => self.refuse_line(error),
        }
        if let Some(registering) = &mut self.registering
            && registering.one_line_more()
        {
            self.end("too many lines before NICK and USER were accepted");
        }
    }

    fn refuse_line(&mut self, error: LineError) {
        let text = error.to_string();
        match error {
            LineError::TooLong | LineError::TagsTooLong => self.numeric(ERR_INPUTTOOLONG, &[], Some(&text)),
            LineError::NotUtf8 => self.fail("*", "INVALID_UTF8", &[], &text),
            _ => self.fail("*", "INVALID_MESSAGE", &[], &text),
        }
    }

    fn command(&mut self, message: &Message<'_>) {
        let label = message.tags.get("label").filter(|label| {
            self.pen.caps.has(Cap::LabeledResponse) && !label.is_empty() && label.len() <= LABEL_BYTES_MAX
        });
        self.gather = label.is_some();
        self.current = Some(Current { label: label.map(std::borrow::Cow::into_owned), ..Current::default() });
        match commands::find(message.command, self.registered()) {
            Some(command) if message.params().len() < command.params => {
                self.numeric(ERR_NEEDMOREPARAMS, &[command.name], Some("Not enough parameters"));
            }
            Some(command) => (command.run)(self, message),
            None if self.registered() => {
                let name = message.command.to_owned();
                self.numeric(ERR_UNKNOWNCOMMAND, &[&name], Some("Unknown command"));
            }
            None => self.numeric(
                ERR_NOTREGISTERED,
                &[],
                Some("You have not registered: NICK and USER come first"),
            ),
        }
        self.finish();
    }

    /// The command's answer is complete when nothing it asked for is open.
    fn finish(&mut self) {
        self.gather = false;
        let Some(Current { label, lines, open: 0 }) = &mut self.current else { return };
        if let Some(label) = label.take() {
            let lines = std::mem::take(lines);
            labels::answer(&mut self.pen, &mut self.out, &label, &lines);
        }
        self.current = None;
    }

    /// Where replies are written, and how.
    pub(super) fn sink(&mut self) -> (&mut Pen, &mut Vec<u8>) {
        let out = match &mut self.current {
            Some(current) if self.gather => &mut current.lines,
            _ => &mut self.out,
        };
        (&mut self.pen, out)
    }

    /// Where what comes from others is written: never part of an answer.
    pub(super) fn news(&mut self) -> (&mut Pen, &mut Vec<u8>) {
        (&mut self.pen, &mut self.out)
    }

    /// A numbered reply.
    pub(super) fn numeric(&mut self, number: &str, words: &[&str], text: Option<&str>) {
        let (pen, out) = self.sink();
        let line = words.iter().fold(pen.numeric(out, number), |line, word| line.param(word));
        match text {
            Some(text) => line.text(text).end(),
            None => line.end(),
        }
    }

    /// A refusal in words for programs and people (IRCv3 standard-replies).
    pub(super) fn fail(&mut self, command: &str, code: &str, context: &[&str], text: &str) {
        self.standard("FAIL", command, code, context, text);
    }

    /// Likewise: nothing was lost, but the client should know.
    pub(super) fn warn(&mut self, command: &str, code: &str, context: &[&str], text: &str) {
        if self.pen.caps.has(Cap::StandardReplies) {
            self.standard("WARN", command, code, context, text);
        } else {
            self.notice(text);
        }
    }

    /// Likewise: something worth knowing.
    pub(super) fn note(&mut self, command: &str, code: &str, context: &[&str], text: &str) {
        self.standard("NOTE", command, code, context, text);
    }

    fn standard(&mut self, kind: &str, command: &str, code: &str, context: &[&str], text: &str) {
        let (pen, out) = self.sink();
        let line = pen.server(out, kind).param(command).param(code);
        context.iter().fold(line, |line, word| line.param(word)).text(text).end();
    }

    /// Words of the server to this one.
    pub(super) fn notice(&mut self, text: &str) {
        let (pen, out) = self.sink();
        let nick = Arc::clone(&pen.nick);
        pen.server(out, "NOTICE").param(&nick).text(text).end();
    }

    /// Asks for something on behalf of the command that is being done.
    pub(super) fn ask(&mut self, ask: impl Into<Ask>, then: Then) {
        let ask = ask.into();
        let tag = self.expect(then, true, Some(ask.clone()));
        self.todo.push(Todo::Ask(tag, ask));
    }

    /// Asks for something that no command waits for.
    pub(super) fn ask_aside(&mut self, ask: impl Into<Ask>, then: Then) {
        let tag = self.expect(then, false, None);
        self.todo.push(Todo::Ask(tag, ask.into()));
    }

    pub(super) fn hello(&mut self, claim: Claim) {
        let tag = self.expect(Then::Hello, true, None);
        self.todo.push(Todo::Hello(tag, claim));
    }

    /// Goes on with a login; the command waits for [`Machine::authenticated`].
    pub(super) fn login(&mut self, attempt: Attempt) {
        if let Some(current) = &mut self.current {
            current.open += 1;
        }
        self.todo.push(Todo::Login(attempt));
    }

    fn expect(&mut self, then: Then, front: bool, again: Option<Ask>) -> u64 {
        self.tags += 1;
        // Without a command nothing waits for it.
        let front = front && self.current.is_some();
        if let Some(current) = self.current.as_mut().filter(|_| front) {
            current.open += 1;
        }
        self.waiting.push(Waiting { tag: self.tags, then, front, again });
        self.tags
    }

    /// The login's next step.
    pub fn authenticated(&mut self, step: Step, now_ms: u64) {
        self.pen.now_ms = now_ms;
        self.gather = self.current.as_ref().is_some_and(|current| current.label.is_some());
        register::authenticated(self, step);
        self.closed_one();
    }

    /// The answer to what was asked with this tag.
    pub fn answered(&mut self, tag: u64, outcome: &Result<Reply, Refusal>, now_ms: u64) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.tag == tag) else { return };
        self.pen.now_ms = now_ms;
        let Waiting { then, front, again, .. } = self.waiting.swap_remove(at);
        self.gather = front && self.current.as_ref().is_some_and(|current| current.label.is_some());
        match (outcome, again) {
            // A room's slow mode is no haste of this client: that is told, not waited for.
            (Err(refusal @ (Refusal::TooFast { again_ms } | Refusal::Busy { again_ms })), Some(ask))
                if *again_ms <= HOLD_MS_MAX =>
            {
                self.hold(ask, then, refusal, *again_ms);
                return;
            }
            _ => self.then(then, outcome),
        }
        if front {
            self.closed_one();
        } else {
            self.gather = false;
        }
        if !self.early.is_empty() && !self.waiting.iter().any(Waiting::writes) {
            let early = std::mem::take(&mut self.early);
            early.iter().for_each(|event| self.tell(event));
        }
    }

    /// It is asked again later, with everything behind it waiting: the command stays open.
    fn hold(&mut self, ask: Ask, then: Then, refusal: &Refusal, again_ms: u64) {
        if self.pen.now_ms.saturating_sub(self.warned_ms) > WARN_AGAIN_MS {
            self.warned_ms = self.pen.now_ms;
            self.gather = false;
            self.warn("*", "RATE_LIMITED", &[], &format!("{refusal}; what you send waits its turn"));
        }
        self.held.push((ask, then));
        self.todo.push(Todo::Hold(again_ms.max(1)));
    }

    /// The time of [`Todo::Hold`] is over.
    pub fn go_on(&mut self, now_ms: u64) {
        self.pen.now_ms = now_ms;
        for (ask, then) in std::mem::take(&mut self.held) {
            self.ask(ask, then);
            // It was open all the time.
            self.current.iter_mut().for_each(|current| current.open -= 1);
        }
    }

    fn closed_one(&mut self) {
        if let Some(current) = &mut self.current {
            current.open = current.open.saturating_sub(1);
        }
        self.finish();
    }

    fn then(&mut self, then: Then, outcome: &Result<Reply, Refusal>) {
        match then {
            Then::Hello => register::welcomed(self, outcome),
            Then::Joined { wanted } => channel::joined(self, &wanted, outcome),
            Then::Names { room } => channel::named(self, &room, outcome),
            Then::Parted { room, why } => channel::parted(self, &room, why.as_deref(), outcome),
            Then::Sent { target, command } => match outcome {
                Ok(Reply::Kept(kept)) if kept.duplicate => message::said_before(self, kept, command),
                Ok(Reply::Kept(kept)) => self.kept(kept, self.pen.caps.has(Cap::EchoMessage)),
                // A NOTICE is never answered by a program (RFC 2812 3.3.2).
                Err(_) if command == "NOTICE" => {}
                Ok(_) => {}
                Err(refusal) => channel::refused(self, command, &target, refusal),
            },
            Then::Changed { room, command } => match outcome {
                Ok(Reply::Kept(kept)) => {
                    self.kept(kept, command != "TAGMSG" || self.pen.caps.has(Cap::EchoMessage))
                }
                Ok(_) => {}
                Err(refusal) => channel::refused(self, command, &shown(&room), refusal),
            },
            Then::Inviting { room, who } => channel::inviting(self, &room, &who, outcome),
            Then::Redacted { target, id } => message::redacted(self, &target, &id, outcome),
            Then::Counted => channel::counted(self, outcome),
            Then::Listed { only } => channel::listed(self, &only, outcome),
            Then::Who { wanted, fields, of } => person::who_is(self, &wanted, fields, of, outcome),
            Then::Whois { wanted } => person::whois_is(self, &wanted, outcome),
            Then::IsOn { wanted, found, form } => person::is_on(self, wanted, found, form, outcome),
            Then::Away { here } => own::is_away(self, here, outcome),
            Then::Watched { asked } => monitor::watched(self, &asked, outcome),
            Then::Whowas { wanted, most } => person::was(self, &wanted, most, outcome),
            Then::Renamed { wanted } => own::renamed(self, &wanted, outcome),
            Then::Described { text } => own::described(self, text, outcome),
            Then::Bans { room } => mode::bans(self, &room, outcome),
            Then::Marked(marking) => marks::marked(self, marking, outcome),
            Then::Past(search) => history::past(self, *search, outcome),
            Then::Targets(targets) => history::targets(self, &targets, outcome),
            Then::Nothing => {}
        }
    }

    /// An entry of a conversation this connection is in.
    pub fn published(&mut self, event: &Event, now_ms: u64) {
        self.pen.now_ms = now_ms;
        // Kept and told are said by the server in either order: whose own it is has to be known first.
        let unclear = self.pen.is_me(&event.by) && self.waiting.iter().any(Waiting::writes);
        if (unclear || !self.early.is_empty()) && self.early.len() < EARLY_MAX {
            self.early.push(event.clone());
        } else {
            let early = std::mem::take(&mut self.early);
            early.iter().chain([event]).for_each(|event| self.tell(event));
        }
    }

    /// Something of one's own is kept. If it is told when it comes back, it bears the command's label.
    pub(super) fn kept(&mut self, kept: &Kept, told: bool) {
        // What was sent twice has come back before: there is nothing to wait for.
        if kept.duplicate {
            return;
        }
        let silent = self.current.as_ref().is_some_and(|current| current.lines.is_empty());
        let label = if told && silent { self.take_label() } else { None };
        if self.own.len() >= OWN_MAX {
            self.own.remove(0);
        }
        self.own.push(Own { room: Arc::clone(&kept.room), offset: kept.offset, label });
    }

    /// The command's answer is given by a later one.
    pub(super) fn take_label(&mut self) -> Option<String> {
        self.current.as_mut().and_then(|current| current.label.take())
    }

    /// What is answered from now on is the answer to an earlier command.
    pub(super) fn put_label(&mut self, label: Option<String>) {
        self.gather = label.is_some();
        if let Some(current) = &mut self.current {
            current.label = label;
        }
    }

    /// Whether this event is one's own, and with which label it was asked for.
    pub(super) fn take_own(&mut self, room: &str, offset: u64) -> Option<Option<String>> {
        let at = self.own.iter().position(|own| own.offset == offset && *own.room == *room)?;
        Some(self.own.remove(at).label)
    }

    /// Nothing comes back from this room any more.
    pub(super) fn forget_own(&mut self, room: &str) {
        self.own.retain(|own| *own.room != *room);
    }

    /// A name for something that is sent, which no other has.
    pub(super) fn nonce(&mut self) -> String {
        self.nonces += 1;
        format!("{}{}", self.nonce, self.nonces)
    }

    /// Whether an answer of this kind is open.
    pub(super) fn awaits(&self, what: impl Fn(&Then) -> bool) -> bool {
        self.waiting.iter().any(|waiting| what(&waiting.then)) || self.held.iter().any(|(_, then)| what(then))
    }

    /// A sign of life is wanted: the client's PONG, or anything else it says, is one.
    pub fn ping(&mut self) {
        let server = Arc::clone(&self.pen.net.server);
        self.pen.server(&mut self.out, "PING").param(&server).end();
    }

    /// The end, with its reason.
    pub fn end(&mut self, why: &str) {
        if !self.ended {
            self.ended = true;
            Line::new(&mut self.out).command("ERROR").text(why).end();
            self.todo.push(Todo::End);
        }
    }

    /// The server ends it.
    pub fn cut(&mut self, why: Cut) {
        self.end(why.text());
    }
}

/// A conversation as a client calls it.
fn shown(room: &str) -> String {
    room.strip_prefix('@').map_or_else(|| format!("#{room}"), str::to_owned)
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Machine({})", self.pen.nick)
    }
}
