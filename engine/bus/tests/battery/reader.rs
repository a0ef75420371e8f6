//! A reader of a test: a mailbox with a thread's runtime.
//!
//! **Job.** Wait for events with an end to the waiting. **Called by** the behaviours.

use std::time::Duration;

use bytes::Bytes;
use madang_bus::mailbox::{Event, Limits, Mailbox, What};
use madang_bus::{Bus, Handle, Subscription};

/// No behaviour takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Reader {
    runtime: tokio::runtime::Runtime,
    pub handle: Handle,
    mailbox: Mailbox,
    waiting: std::collections::VecDeque<Event>,
}

impl Reader {
    pub fn new(bus: &Bus) -> Self {
        Self::with(bus, Limits::default())
    }

    pub fn with(bus: &Bus, limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (handle, mailbox) = bus.open(limits);
        Self { runtime, handle, mailbox, waiting: std::collections::VecDeque::new() }
    }

    /// Subscribes and waits until nothing can be missed any more.
    pub fn read(&mut self, topic: &str, tag: u64) -> Subscription {
        let subscription = self.handle.subscribe(&self.handle.topic(topic).unwrap(), tag);
        assert_eq!(self.event(), (tag, What::Live));
        subscription
    }

    /// The next event.
    pub fn event(&mut self) -> (u64, What) {
        if self.waiting.is_empty() {
            let mut events = Vec::new();
            self.runtime
                .block_on(async { tokio::time::timeout(PATIENCE, self.mailbox.next(&mut events)).await })
                .expect("nothing came");
            self.waiting.extend(events);
        }
        let event = self.waiting.pop_front().unwrap();
        (event.tag, event.what)
    }

    /// The next message; a gap is a failure.
    pub fn message(&mut self) -> (u64, String) {
        match self.event() {
            (tag, What::Message(bytes)) => (tag, text(&bytes)),
            other => panic!("no message but {other:?}"),
        }
    }

    pub fn publish(&self, topic: &str, message: &str) {
        self.handle.publish(&self.handle.topic(topic).unwrap(), Bytes::from(message.to_owned())).unwrap();
    }
}

pub fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
