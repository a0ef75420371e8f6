//! What chats show of themselves.
//!
//! **Job.** Add up the counters of hub and workers for `madang status` and `/metrics`. **Called by** `status`, `run` (every second).
//!
//! Not here: counting (`madang_chat`), text (`cli::show`).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use madang_chat::hub::Counts;
use madang_host::clock;
use madang_host::telemetry::metrics::{Durations, Gauge};
use serde::Serialize;

use super::{Chats, Running};

/// A chat as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct ChatView {
    /// Its name.
    pub chat: String,
    /// Connections open.
    pub connections: u64,
    /// People who are connected.
    pub people: u64,
    /// Conversations somebody is in.
    pub rooms: u64,
    /// Events written since the start.
    pub messages: u64,
    /// In the last second.
    pub messages_per_second: u64,
    /// Events handed to connections since the start.
    pub deliveries: u64,
    /// In the last second.
    pub deliveries_per_second: u64,
    /// Events on their way to the disk.
    pub writing: u64,
    /// Requests that wait for the hub.
    pub waiting: u64,
    /// Requests refused since the start.
    pub refused: u64,
    /// Events the store did not take, since the start.
    pub store_failures: u64,
    /// Times a connection had no room and fell behind.
    pub behind: u64,
    /// Pages of the log that were read for those who fell behind or came back.
    pub pages: u64,
    /// Connections that ended, by why.
    pub ended: BTreeMap<&'static str, u64>,
}

/// The last second's worth of two counters.
#[derive(Default)]
pub(super) struct Pulse {
    /// When, and what they were.
    before: Cell<Option<(Instant, u64, u64)>>,
    rates: Cell<(u64, u64)>,
}

impl Pulse {
    fn beat(&self, messages: u64, deliveries: u64) {
        let now = clock::now();
        if let Some((at, old_messages, old_deliveries)) =
            self.before.replace(Some((now, messages, deliveries)))
        {
            let ms = u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = |new: u64, old: u64| new.saturating_sub(old).saturating_mul(1000) / ms;
            self.rates.set((rate(messages, old_messages), rate(deliveries, old_deliveries)));
        }
    }
}

impl Running {
    fn view(&self) -> ChatView {
        let Counts { people, sessions: _, rooms, writing, events, refused, store_failures, pages } =
            self.hub.look();
        let sum = |of: &dyn Fn(&madang_chat::floor::FloorCounts) -> u64| -> u64 {
            self.floors.iter().map(|floor| of(floor)).sum()
        };
        let mut ended = BTreeMap::new();
        for (why, count) in self.floors.iter().flat_map(|floor| floor.ends()) {
            *ended.entry(why).or_default() += count;
        }
        let (messages_per_second, deliveries_per_second) = self.pulse.rates.get();
        ChatView {
            chat: self.settings.name.to_string(),
            connections: sum(&|floor| floor.connections.load(Relaxed)),
            people,
            rooms,
            messages: events,
            messages_per_second,
            deliveries: sum(&|floor| floor.deliveries.load(Relaxed)),
            deliveries_per_second,
            writing,
            waiting: self.link.waiting() as u64,
            refused,
            store_failures,
            behind: sum(&|floor| floor.behind.load(Relaxed)),
            pages,
            ended,
        }
    }
}

impl Chats {
    /// To be called every second.
    pub fn beat(&self) {
        for running in &self.running {
            let view = running.view();
            running.pulse.beat(view.messages, view.deliveries);
        }
        self.sweep();
    }

    /// All of them, in the order in which they were started.
    pub fn views(&self) -> Vec<ChatView> {
        self.running.iter().map(Running::view).collect()
    }

    /// Numbers and times for `/metrics`: of the chats, and of the store and the bus below them.
    pub fn families(&self) -> (Vec<Gauge>, Vec<Durations>) {
        let Some(store) = &self.store else { return Default::default() };
        let (mut gauges, durations) = store.metrics();
        gauges.extend(self.bus().into_iter().flat_map(madang_bus::Bus::metrics));
        let views = self.views();
        #[allow(clippy::cast_precision_loss)] // Prometheus numbers are floats
        let mut gauge = |name, help, of: &dyn Fn(&ChatView) -> u64| {
            let row = |view: &ChatView| (vec![("chat", view.chat.clone())], of(view) as f64);
            gauges.push(Gauge { name, help, values: views.iter().map(row).collect() });
        };
        gauge("madang_chat_connections", "Connections open.", &|view| view.connections);
        gauge("madang_chat_people", "People who are connected.", &|view| view.people);
        gauge("madang_chat_rooms", "Conversations somebody is in.", &|view| view.rooms);
        gauge("madang_chat_messages_total", "Events written.", &|view| view.messages);
        gauge("madang_chat_deliveries_total", "Events handed to connections.", &|view| view.deliveries);
        gauge("madang_chat_writing", "Events on their way to the disk.", &|view| view.writing);
        gauge("madang_chat_waiting", "Requests that wait for the hub.", &|view| view.waiting);
        gauge("madang_chat_refused_total", "Requests refused.", &|view| view.refused);
        gauge("madang_chat_store_failures_total", "Events the store did not take.", &|view| {
            view.store_failures
        });
        gauge("madang_chat_behind_total", "Times a connection fell behind.", &|view| view.behind);
        let help = "Pages of the log read for connections that fell behind or came back.";
        gauge("madang_chat_pages_total", help, &|view| view.pages);
        let mut values = Vec::new();
        for view in &views {
            for (why, count) in &view.ended {
                #[allow(clippy::cast_precision_loss)] // likewise
                let count = *count as f64;
                values.push((vec![("chat", view.chat.clone()), ("why", (*why).to_owned())], count));
            }
        }
        gauges.extend(self.hook_families());
        let help = "Connections that ended, by why.";
        gauges.push(Gauge { name: "madang_chat_ended_total", help, values });
        (gauges, durations)
    }
}
