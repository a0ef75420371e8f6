//! What all clients of a drill write into together.
//!
//! **Job.** Hold the stage of the drill, what was sent and acknowledged, and what was found on the way.
//! **Called by** the clients and `crash`, all on one thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::ledger::{Conversation, Finding, Logs, Number, Print, Promise, Seen, View};

/// How far the drill is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Everybody says hello.
    Enter,
    /// Everybody joins where it belongs.
    Join,
    /// Messages, cuts and kills.
    Send,
    /// The first member of each conversation reads its log.
    Audit,
    /// Everybody hears the rest, up to these ends.
    Finish(Rc<BTreeMap<Conversation, End>>),
}

/// Where a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// The offset behind its last entry.
    pub(super) offset: u64,
    /// How many messages it has.
    pub(super) messages: usize,
}

/// Numbers for the report.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(super) struct Counts {
    /// Messages sent for the first time.
    pub sent: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Sent again.
    pub resent: u64,
    /// Of those so many had been written before, and the answer said so.
    pub duplicates: u64,
    /// Nobody knows whether they arrived, where a face has no way to send the same message again: they may be in the log, once.
    pub given_up: u64,
    /// Refused for now, and sent again.
    pub put_off: u64,
    /// Connections that were opened again.
    pub reconnects: u64,
    /// Of those that ended, so many were cut by their client.
    pub cuts: u64,
    /// Entries that came to clients.
    pub delivered: u64,
    /// From the end of a connection until everything missed had come.
    pub slowest_resume_ms: u64,
}

/// The book.
#[derive(Debug)]
pub(super) struct Book {
    /// The clients watch it.
    pub stage: watch::Sender<Stage>,
    /// Somebody is a step further.
    pub moved: Notify,
    /// Clients that have done what the stage asks for.
    pub there: Cell<u32>,
    /// The report's numbers.
    pub counts: RefCell<Counts>,
    /// So many messages may be sent by now.
    allowed: Cell<u64>,
    sent: RefCell<HashMap<Print, Number>>,
    acked: RefCell<BTreeMap<Number, Promise>>,
    logs: RefCell<Logs>,
    audited: Cell<usize>,
    findings: RefCell<Vec<Finding>>,
}

/// More findings than that tell nothing more.
const FINDINGS_MAX: usize = 1_000;

impl Book {
    /// An empty one.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            stage: watch::Sender::new(Stage::Enter),
            moved: Notify::new(),
            there: Cell::new(0),
            counts: RefCell::default(),
            allowed: Cell::new(0),
            sent: RefCell::default(),
            acked: RefCell::default(),
            logs: RefCell::default(),
            audited: Cell::new(0),
            findings: RefCell::default(),
        })
    }

    /// One client has done what this stage asks for.
    pub(super) fn arrived(&self) {
        self.there.set(self.there.get() + 1);
        self.moved.notify_one();
    }

    /// So many messages of all clients together may be sent from now on: faults come while there is something to lose.
    pub(super) fn allow(&self, count: u64) {
        self.allowed.set(self.allowed.get().max(count));
        // Those who wait look again.
        self.stage.send_modify(|_| ());
    }

    /// Whether a message may go out: again it may always.
    pub(super) fn may_send(&self, print: Print) -> bool {
        self.counts.borrow().sent < self.allowed.get() || self.sent.borrow().contains_key(&print)
    }

    /// A message goes out; whether for the first time.
    pub(super) fn sending(&self, print: Print, number: Number) {
        let again = self.sent.borrow_mut().insert(print, number).is_some();
        let mut counts = self.counts.borrow_mut();
        if again { counts.resent += 1 } else { counts.sent += 1 }
    }

    /// A message was acknowledged.
    pub(super) fn acked(&self, number: Number, promise: Promise, duplicate: bool) {
        self.acked.borrow_mut().insert(number, promise);
        let mut counts = self.counts.borrow_mut();
        counts.acked += 1;
        counts.duplicates += u64::from(duplicate);
        self.moved.notify_one();
    }

    /// Nobody will ever know whether this message arrived.
    pub(super) fn given_up(&self) {
        self.counts.borrow_mut().given_up += 1;
        self.moved.notify_one();
    }

    /// How many messages are done with.
    pub(super) fn settled_count(&self) -> u64 {
        let counts = self.counts.borrow();
        counts.acked + counts.given_up
    }

    /// Something is wrong.
    pub(super) fn found(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() < FINDINGS_MAX {
            findings.push(finding);
        }
    }

    /// A client is back where it was.
    pub(super) fn resumed(&self, took: Duration) {
        let mut counts = self.counts.borrow_mut();
        counts.slowest_resume_ms =
            counts.slowest_resume_ms.max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    /// A conversation's log was read.
    pub(super) fn audited(&self, conversation: &str, entries: &[Seen]) {
        let findings = self.logs.borrow_mut().put(conversation, entries);
        findings.into_iter().for_each(|finding| self.found(finding));
        self.audited.set(self.audited.get() + 1);
        self.moved.notify_one();
    }

    /// How many logs were read.
    pub(super) fn audited_count(&self) -> usize {
        self.audited.get()
    }

    /// Where the logs end.
    pub(super) fn ends(
        &self,
        conversations: impl Iterator<Item = Conversation>,
    ) -> BTreeMap<Conversation, End> {
        let logs = self.logs.borrow();
        let end = |conversation: &str| End {
            offset: logs.end(conversation),
            messages: logs.messages(conversation),
        };
        conversations.map(|conversation| (conversation.clone(), end(&conversation))).collect()
    }

    /// What a client heard in the end.
    pub(super) fn judge_heard(&self, client: u32, conversation: &str, heard: &[Print]) {
        if let Some(finding) = self.logs.borrow().judge_heard(client, conversation, heard) {
            self.found(finding);
        }
    }

    /// What a client heard over one connection that cannot resume.
    pub(super) fn judge_piece(&self, client: u32, conversation: &str, heard: &[Print]) {
        let finding = self.logs.borrow().judge_piece(client, conversation, heard, &self.sent.borrow());
        if let Some(finding) = finding {
            self.found(finding);
        }
    }

    /// What one client saw in the end.
    pub(super) fn judge_view(&self, client: u32, conversation: &str, view: &View) {
        if let Some(finding) = self.logs.borrow().judge_view(client, conversation, view) {
            self.found(finding);
        }
    }

    /// Everything that was found, what was promised included.
    pub(super) fn judged(&self) -> Vec<Finding> {
        let mut findings = self.findings.borrow().clone();
        findings.extend(self.logs.borrow().judge_promises(&self.sent.borrow(), &self.acked.borrow()));
        findings
    }
}
