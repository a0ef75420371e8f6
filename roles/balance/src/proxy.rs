//! Requests to a pool: picked, sent, tried again, answered.
//!
//! **Job.** Carry out what `pick` and `retry` decide, with the upstream client. **Called by** the web role, as the service
//! of a route. **Calls** `http::upstream`, `here`.
//!
//! Invariants
//! 1. A place at a server is held from the pick until the answer has been read whole, whatever happens in between.
//! 2. What the server may have acted on is never sent again unless it is idempotent (`retry`).
//! 3. A client that leaves takes its attempt with it: the future is dropped, the connection closed, the place given back.
//!
//! Not here: decisions (`pick`, `retry`), health (`keeper`), error pages (the web role).

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::deadline::Deadline;
use madang_http::exchange::{Exchange, Outcome as Recorded, Reply, Service};
use madang_http::upstream::request_head::{self, Forward, HostPolicy};
use madang_http::upstream::{Fault, FaultKind, Replay, Step, Watch};
use madang_wire::request::{Method, RequestHead};

use crate::config::{HashBy, PoolSettings};
use crate::hedge::{self, Leg};
use crate::here::Here;
use crate::hold;
use crate::location::{self, Sides};
use crate::mirror::Mirror;
use crate::pick::hash::key_of;
use crate::pick::{Ask, Chosen, NoneUp, Pick, Tried};
use crate::pool::Pool;
use crate::retry::{self, Attempt, Failure, Verdict};
use crate::server::{InFlight, Outcome, Server};
use crate::whole::{self, WHOLE_TIMEOUT};

/// What a route says about requests on their way to a pool.
#[derive(Debug, Clone, Default)]
pub struct ProxyRoute {
    /// A prefix of whole segments that the servers do not have.
    pub strip: Option<String>,
    /// The host the servers are told; `None`: the client's.
    pub host: Option<String>,
    /// Fields to set.
    pub set: Vec<(String, String)>,
    /// Fields to take out.
    pub remove: Vec<String>,
    /// Redirects of the servers are passed on as they are.
    pub keep_location: bool,
}

/// A route's way to a pool on one worker.
pub struct Proxy {
    me: Weak<Self>,
    here: Rc<Here>,
    route: ProxyRoute,
    mirror: Option<Mirror>,
}

/// Why the client gets an error.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) name: &'static str,
    pub(crate) detail: String,
}

impl Proxy {
    /// A route to this pool, and what is copied to another.
    pub fn new(here: &Rc<Here>, route: ProxyRoute, mirror: Option<Mirror>) -> Rc<Self> {
        Rc::new_cyclic(|me| Self { me: Weak::clone(me), here: Rc::clone(here), route, mirror })
    }

    /// The pool on this worker.
    pub(crate) fn here(&self) -> &Rc<Here> {
        &self.here
    }

    async fn answer(self: Rc<Self>, mut exchange: Box<Exchange>) -> Box<Exchange> {
        let whole = self.here.pool().settings().timeouts.whole;
        let mut deadline = None;
        let outcome = match whole {
            None => self.attempts(&mut exchange).await,
            Some(whole) => {
                let deadline = deadline.insert(self.here.deadline(whole));
                Box::pin(self.within(deadline, &mut exchange)).await
            }
        };
        if let Err(Refusal { status, name, detail }) = outcome {
            exchange.response.clear();
            exchange.response.status = status;
            if status == 503 {
                exchange.response.fields.set("retry-after", "1");
            }
            exchange.notes.error = Some(name);
            exchange.notes.error_detail = Some(detail);
        } else if let Some(deadline) = deadline {
            exchange.response.body = whole::until(deadline, std::mem::take(&mut exchange.response.body));
        }
        exchange
    }

    /// Attempts until the deadline.
    async fn within(&self, deadline: &Deadline, exchange: &mut Exchange) -> Result<(), Refusal> {
        let mut attempts = std::pin::pin!(self.attempts(exchange));
        std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(outcome) = attempts.as_mut().poll(cx) {
                return std::task::Poll::Ready(outcome);
            }
            deadline.poll(cx).map(|()| {
                let detail = "timeouts.whole is over".to_owned();
                Err(Refusal { status: 504, name: WHOLE_TIMEOUT, detail })
            })
        })
        .await
    }

    /// Attempts until one answers or no more may be made.
    async fn attempts(&self, exchange: &mut Exchange) -> Result<(), Refusal> {
        let mut started = clock::now();
        self.here.budget().request(started);
        let pool = self.here.pool();
        let keep = usize::try_from(pool.settings().body_buffer).unwrap_or(usize::MAX);
        let mut body = Replay::new(std::mem::take(&mut exchange.body), keep);
        let mut tried = Tried::default();
        let (mut attempts, mut head, mut hold, mut now) = (0_u8, self.here.buffer(), None, started);
        let result = loop {
            let mut pool = self.here.pool();
            let chosen = match self.choose(&pool, exchange, &tried, now) {
                Ok(Some(chosen)) => Ok(chosen),
                // Rare and large: kept out of the future that every request carries.
                Ok(None) => match Box::pin(self.stand_in_line(&pool, exchange, &tried)).await {
                    Ok((its, chosen)) => {
                        (pool, now) = (its, clock::now());
                        Ok(chosen)
                    }
                    Err(next) => Err(next),
                },
                Err(next) => Err(next),
            };
            let again = match chosen {
                Ok(chosen) => {
                    attempts = attempts.saturating_add(1);
                    let so_far = (&mut tried, attempts, started, now);
                    self.attempt(&pool, chosen, exchange, &mut head, &mut body, so_far).await
                }
                Err(next) => Err(next),
            };
            match again {
                Ok(()) => break Ok(()),
                Err(Next::Give(refusal)) => break Err(refusal),
                Err(Next::Hold(why)) => {
                    if let Err(refusal) = Box::pin(hold::wait(&mut hold, &self.here, &pool, why)).await {
                        break Err(refusal);
                    }
                    // Nobody had the request: it begins anew.
                    body.rewind();
                    started = clock::now();
                    (tried, attempts, now) = (Tried::default(), 0, started);
                }
                Err(Next::Again { wait }) => {
                    if !wait.is_zero() {
                        Box::pin(tokio::time::sleep(wait)).await;
                    }
                    body.rewind();
                    now = clock::now();
                }
            }
        };
        self.here.give_buffer(head);
        if let Some(mirror) = &self.mirror {
            mirror.copy(exchange, &body, self.here.random());
        }
        result
    }

    /// A server with a place for us, if there is one at this moment; `None`: all places are taken.
    fn choose(
        &self,
        pool: &Pool,
        exchange: &Exchange,
        tried: &Tried,
        now: Instant,
    ) -> Result<Option<Chosen>, Next> {
        let settings = pool.settings();
        if pool.is_held() {
            return Err(Next::Hold(hold::held(&settings.name)));
        }
        let key = hash_key(settings, exchange);
        let sticky = self.here.sticky_of(&exchange.head);
        let ask = Ask { key, sticky, tried, random: self.here.random() };
        match self.here.pick(pool, &ask, now) {
            Pick::Server(chosen) => Ok(Some(chosen)),
            Pick::NoneUp(why) => Err(Next::Hold(nobody(why, &settings.name))),
            Pick::Wait => Ok(None),
        }
    }

    /// A server with a place for us, after standing in line for it.
    async fn stand_in_line(
        &self,
        pool: &Pool,
        exchange: &Exchange,
        tried: &Tried,
    ) -> Result<(Arc<Pool>, Chosen), Next> {
        let settings = pool.settings();
        let Some(mut line) = self.here.stand_in_line(settings.queue.length, settings.queue.wait) else {
            let detail = format!("pool {}: every place is taken and so is the queue", settings.name);
            return Err(Next::Give(Refusal { status: 503, name: "pool-queue-full", detail }));
        };
        while line.next().await {
            // Anew each time: the wait may be for servers that come.
            let pool = self.here.pool();
            if let Some(chosen) = self.choose(&pool, exchange, tried, clock::now())? {
                return Ok((pool, chosen));
            }
        }
        let detail = format!("pool {}: no place within queue.wait", settings.name);
        Err(Next::Give(Refusal { status: 503, name: "pool-queue-timeout", detail }))
    }

    async fn attempt(
        &self,
        pool: &Arc<Pool>,
        chosen: Chosen,
        exchange: &mut Exchange,
        head: &mut Vec<u8>,
        body: &mut Replay,
        (tried, attempts, started, mut begun): (&mut Tried, u8, Instant, Instant),
    ) -> Result<(), Next> {
        let mut server = Arc::clone(chosen.place.server());
        let (name, upstream) = self.here.way_to(pool, &server);
        exchange.notes.upstream = Some(name);
        let upstream = match upstream {
            Ok(upstream) => upstream,
            Err(detail) => {
                return Err(Next::Give(Refusal { status: 502, name: "upstream-tls-setup", detail }));
            }
        };
        head.clear();
        self.write_head(head, exchange, &server);
        let hedge_at = retry::hedge_at(&pool.settings().retry, hedge::is_harmless(exchange, body), begun);
        let mut fresh = false;
        let mut place = Some(chosen.place);
        loop {
            // By a fresh connection to the same server: its place was given back and may be another's by now.
            let limit = pool.members().get(chosen.index).map_or(0, |member| member.max_connections);
            let Some(held) = place.take().or_else(|| server.begin(limit)) else {
                return Err(Next::Again { wait: Duration::ZERO });
            };
            let result = match hedge_at.filter(|_| !fresh) {
                None => {
                    let watch = self.watch(pool, held, begun);
                    upstream.send(exchange, head, body, watch, fresh).await
                }
                Some(at) => {
                    let first = Leg { server, upstream: Rc::clone(&upstream), place: held, begun };
                    // Boxed: a request of a pool that does not hedge must not pay for its room.
                    let raced = Box::pin(self.hedged(pool, first, exchange, head, tried, at)).await;
                    (server, begun) = (raced.server, raced.begun);
                    raced.result
                }
            };
            let now = clock::now();
            let took = now.saturating_duration_since(begun);
            self.here.place_given_back();
            let (failure, fault) = match result {
                Ok(()) if exchange.response.status == 101 && !offers_upgrade(&exchange.head) => {
                    (Failure::Nonsense, None)
                }
                Ok(()) => {
                    let status = exchange.response.status;
                    let outcome = if status >= 500 { Outcome::Error } else { Outcome::Good };
                    self.here.note(pool, &server, outcome, took, now);
                    if outcome == Outcome::Good || !self.may_retry(pool, status, exchange, body, attempts) {
                        self.here.stick(exchange, &server);
                        self.relocate(exchange, &server);
                        return Ok(());
                    }
                    (Failure::Status(status), None)
                }
                Err(fault) => match failure_of(&fault) {
                    Some(failure) => (failure, Some(fault)),
                    None => return Err(Next::Give(ours(&fault))),
                },
            };
            let stale = fault.as_ref().is_some_and(Fault::was_stale);
            if !matches!(failure, Failure::Status(_)) && !stale {
                self.here.note(pool, &server, failure.outcome(), took, now);
            }
            tried.add(server.id());
            let attempt = Attempt {
                failure,
                idempotent: exchange.head.method().is_idempotent(),
                sent: fault.as_ref().is_none_or(|fault| fault.sent),
                body_kept: body.can_rewind(),
                answer_begun: false,
                idle_connection: stale,
                refused: fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::Refused),
                retry_after: retry_after(exchange),
                attempts,
                started,
                another: pool.has_another(tried),
            };
            let rules = &pool.settings().retry;
            let verdict = self.here.judge(rules, &attempt, now);
            match verdict {
                Verdict::Again { fresh_connection: true, .. } if !fresh => {
                    body.rewind();
                    fresh = true;
                }
                Verdict::Again { wait, .. } => {
                    exchange.response.clear();
                    return Err(Next::Again { wait });
                }
                // The answer of the server is better than one of ours.
                Verdict::No(_) if matches!(failure, Failure::Status(_)) => return Ok(()),
                Verdict::No(why) => {
                    let name = fault.as_ref().map_or("upstream-nonsense", Fault::name);
                    let told =
                        fault.map_or_else(|| "it switched protocols unasked".to_owned(), |f| f.to_string());
                    let status = if failure == Failure::Late { 504 } else { 502 };
                    let detail = format!("{}: {told}; not tried again: {why}", server.name());
                    let refusal = Refusal { status, name, detail };
                    // Nobody listens there yet: where the pool holds, that is a restart.
                    let nobody = failure == Failure::NotConnected && body.can_rewind();
                    return Err(if nobody && hold::holds(pool) {
                        Next::Hold(refusal)
                    } else {
                        Next::Give(refusal)
                    });
                }
            }
        }
    }

    /// Whether an answer of this status may be asked for again, before any of it is given away.
    fn may_retry(&self, pool: &Pool, status: u16, exchange: &Exchange, body: &Replay, attempts: u8) -> bool {
        let rules = &pool.settings().retry;
        let listed = rules
            .on
            .iter()
            .any(|on| matches!(on, crate::config::RetryOn::Status(range) if range.holds(status)));
        listed && attempts < rules.attempts && exchange.head.method().is_idempotent() && body.can_rewind()
    }

    /// What is held until an answer was read whole.
    pub(crate) fn watch(
        &self,
        pool: &Arc<Pool>,
        place: InFlight,
        begun: Instant,
    ) -> impl FnOnce() -> Box<dyn Watch> + use<> {
        let (here, pool) = (Rc::clone(&self.here), Arc::clone(pool));
        move || Box::new(OnItsWay { here, pool, place: Some(place), begun })
    }

    /// A redirect that only makes sense to the servers becomes one that the client can follow.
    fn relocate(&self, exchange: &mut Exchange, server: &Server) {
        if !matches!(exchange.response.status, 201 | 300..=399) || self.route.keep_location {
            return;
        }
        let location = exchange.response.fields.get("location");
        let Some(location) = location.and_then(|value| std::str::from_utf8(value).ok()) else { return };
        let (told, own) = (self.route.host.as_deref().unwrap_or(""), server.address().place.to_string());
        let prefix = &exchange.head.path()[..self.path_from(exchange)];
        let sides = Sides { prefix, outside: exchange.head.authority(), inside: [told, &own] };
        if let Some(outside) = location::rewritten(location, &sides) {
            exchange.response.fields.set("location", outside);
        }
    }

    /// Where the path begins that the servers see.
    fn path_from(&self, exchange: &Exchange) -> usize {
        let strip = self.route.strip.as_deref().unwrap_or("");
        match exchange.head.path().strip_prefix(strip) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => strip.len(),
            _ => 0,
        }
    }

    /// A request came here by a split.
    pub(crate) fn count_split(&self) {
        self.here.pool().tally().split.up();
    }

    fn write_head(&self, out: &mut Vec<u8>, exchange: &Exchange, server: &Server) {
        let head = &exchange.head;
        // A client of HTTP/1.0 need not name a host, and servers of HTTP/1.1 refuse an empty one: it is told its own.
        let own = head.authority().is_empty().then(|| server.address().authority());
        let told = self.route.host.as_deref().or(own.as_deref());
        let path_from = self.path_from(exchange);
        let forward = Forward {
            host: told.map_or(HostPolicy::Client, HostPolicy::Fixed),
            path_from,
            peer: exchange.connection.peer().ip(),
            trusted: exchange.notes.client.is_some(),
            set: &self.route.set,
            remove: &self.route.remove,
            request_id: exchange.notes.request_id.as_deref(),
            upgrade: true,
        };
        request_head::write(out, head, &forward);
    }
}

impl Service for Proxy {
    fn call(&self, mut exchange: Box<Exchange>) -> Reply {
        exchange.connection.set_role("balance");
        let Some(this) = self.me.upgrade() else { return Reply::Now(exchange) };
        if exchange.head.method() == Method::Connect && exchange.head.protocol().is_none() {
            // Tunnels to anywhere are a forward proxy's business (RFC 9110 9.3.6).
            exchange.response.status = 405;
            exchange.response.fields.set("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            exchange.notes.error = Some("method-not-allowed");
            return Reply::Now(exchange);
        }
        Reply::Later(Box::pin(this.answer(exchange)))
    }

    fn record(&self, _: &Exchange, _: Recorded) {}

    fn refused(&self, _: &madang_host::connection::Connection, _: u16, _: &'static str) {}
}

enum Next {
    Again {
        wait: Duration,
    },
    /// Nobody had the request: it may wait where the pool holds.
    Hold(Refusal),
    Give(Refusal),
}

/// An answer that is still being read: the place is held, and a break tells against the server.
struct OnItsWay {
    here: Rc<Here>,
    pool: Arc<Pool>,
    place: Option<InFlight>,
    begun: Instant,
}

impl Watch for OnItsWay {
    fn ended(&mut self, whole: bool) {
        let Some(place) = self.place.take() else { return };
        if !whole {
            let now = clock::now();
            let took = now.saturating_duration_since(self.begun);
            self.here.note(&self.pool, place.server(), Outcome::Broken, took, now);
        }
        drop(place);
        self.here.place_given_back();
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if self.place.take().is_some() {
            self.here.place_given_back();
        }
    }
}

fn nobody(why: NoneUp, pool: &str) -> Refusal {
    Refusal { status: 503, name: "pool-nobody-up", detail: format!("pool {pool}: {why}") }
}

/// What a fault says about the server; `None`: it is not the server's.
pub(crate) fn failure_of(fault: &Fault) -> Option<Failure> {
    Some(match (&fault.kind, fault.step) {
        // Any client can ask any server to upgrade.
        (FaultKind::Client(_) | FaultKind::Exhausted | FaultKind::NoUpgrade(_), _) => return None,
        (FaultKind::Bad(_), _) => Failure::Nonsense,
        (FaultKind::Timeout, Step::Connect) => Failure::NotConnected,
        (FaultKind::Timeout, _) => Failure::Late,
        (_, Step::Connect) => Failure::NotConnected,
        _ => Failure::Broken,
    })
}

fn ours(fault: &Fault) -> Refusal {
    let status = match &fault.kind {
        FaultKind::Client(body) => body.status(),
        FaultKind::NoUpgrade(_) => 502,
        _ => 503,
    };
    Refusal { status, name: fault.name(), detail: fault.to_string() }
}

/// RFC 9110 7.8, and the extended CONNECT of RFC 8441.
fn offers_upgrade(head: &RequestHead) -> bool {
    head.upgrade().is_some() || head.protocol().is_some()
}

/// Seconds only: a date would have to be believed (RFC 9110 10.2.3).
fn retry_after(exchange: &Exchange) -> Option<Duration> {
    let value = exchange.response.fields.get("retry-after")?;
    std::str::from_utf8(value).ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The hash of what the pool hashes by, where it hashes.
pub(crate) fn hash_key(settings: &PoolSettings, exchange: &Exchange) -> Option<u64> {
    use crate::config::{Balance, Sticky};
    let by_ip = || match exchange.client() {
        std::net::IpAddr::V4(v4) => key_of(&v4.octets()),
        std::net::IpAddr::V6(v6) => key_of(&v6.octets()[..8]),
    };
    if settings.sticky == Sticky::Ip {
        return Some(by_ip());
    }
    if settings.balance != Balance::Hash {
        return None;
    }
    let head = &exchange.head;
    match &settings.hash_by {
        HashBy::Ip => Some(by_ip()),
        HashBy::Path => Some(key_of(head.path().as_bytes())),
        HashBy::Uri => {
            let query = key_of(head.query().unwrap_or("").as_bytes());
            Some(key_of(head.path().as_bytes()) ^ query.rotate_left(1))
        }
        HashBy::Header(name) => head.get(name).map(key_of),
        HashBy::Cookie(name) => cookie(head, name).map(key_of),
    }
}

/// The value of a cookie (RFC 6265 4.2.1).
pub(crate) fn cookie<'a>(head: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    let pairs = head.get("cookie")?.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.into_iter().find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}
