//! A route that leads to more than one pool.
//!
//! **Job.** Ask the split and hand the request to the pool it names. **Called by** the web role, as the service of a route.
//! **Calls** `split`, `proxy`.
//!
//! Invariants
//! 1. One request goes one way: retries stay in the pool that was chosen.
//!
//! Not here: dividing (`split`), what happens on a way (`proxy`).

use std::net::IpAddr;
use std::rc::Rc;

use madang_host::connection::Connection;
use madang_http::exchange::{Exchange, Outcome, Reply, Service};
use madang_wire::request::RequestHead;

use crate::proxy::{Proxy, cookie};
use crate::split::{Marked, Split};

/// What percents are taken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitBy {
    /// The client's address; the first half of one of version 6.
    Ip,
    /// The value of a field, lower-case name. Who does not send it: the address.
    Header(String),
    /// The value of a cookie. Who has none: the address.
    Cookie(String),
}

/// Several pools on one worker.
pub struct Ways {
    split: Split,
    by: SplitBy,
    /// One for each rule of the split.
    arms: Vec<Rc<Proxy>>,
    rest: Rc<Proxy>,
}

impl Ways {
    /// `arms` in the order of the split's rules; `rest` takes who no rule takes.
    pub fn new(split: Split, by: SplitBy, arms: Vec<Rc<Proxy>>, rest: Rc<Proxy>) -> Rc<Self> {
        Rc::new(Self { split, by, arms, rest })
    }

    fn way(&self, exchange: &Exchange) -> &Rc<Proxy> {
        let head = &exchange.head;
        let named = match &self.by {
            SplitBy::Ip => None,
            SplitBy::Header(name) => head.get(name),
            SplitBy::Cookie(name) => cookie(head, name),
        };
        let place = match (named, exchange.client()) {
            (Some(value), _) => self.split.choose(&Read(head), value),
            (None, IpAddr::V4(v4)) => self.split.choose(&Read(head), &v4.octets()),
            (None, IpAddr::V6(v6)) => self.split.choose(&Read(head), &v6.octets()[..8]),
        };
        place.and_then(|place| self.arms.get(place)).unwrap_or(&self.rest)
    }
}

struct Read<'a>(&'a RequestHead);

impl Marked for Read<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name)
    }
    fn cookie(&self, name: &str) -> Option<&[u8]> {
        cookie(self.0, name)
    }
}

impl Service for Ways {
    fn call(&self, exchange: Box<Exchange>) -> Reply {
        let way = self.way(&exchange);
        way.count_split();
        way.call(exchange)
    }

    fn record(&self, _: &Exchange, _: Outcome) {}

    fn refused(&self, _: &Connection, _: u16, _: &'static str) {}
}
