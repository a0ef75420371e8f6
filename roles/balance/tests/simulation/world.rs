//! A world in which time is a number: clients, workers, servers that die, hang, slow down and lie; driven by one seed.
//!
//! What is real: pool, pickers, health, retries. What is played: servers, network, time. After every step the laws are
//! checked; a broken one stops the run and names the seed.
#![allow(unreachable_pub)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_balance::config::{Balance, PoolSettings};
use madang_balance::health::{Action, Event, Health, ProbeFailure, Wish};
use madang_balance::pick::{Ask, Pick, Picker, Tier, Tried, hash::key_of};
use madang_balance::pool::Pool;
use madang_balance::retry::{Attempt, BUDGET_SPAN, Failure, RETRIES_FREE, RetryBudget, Verdict, judge};
use madang_balance::server::{InFlight, Outcome, State};

use crate::support::{Seeded, ms, settings, start};

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Fine,
    /// Nothing listens.
    Dead,
    /// It takes connections and never answers.
    Hung,
    /// So many times slower.
    Slow(u64),
    /// So many percent of answers are 503, to requests only.
    Errors(u64),
    /// 503 to everybody.
    Sick,
}

/// How long a proxy waits for an answer here.
const PATIENCE: Duration = ms(1000);
const LOOK_EVERY: Duration = ms(200);

#[derive(Debug)]
enum What {
    Arrive,
    Try(usize),
    Done { request: usize, attempt: u8, end: Result<(), Failure> },
    Probed { server: usize, answer: Result<(), ProbeFailure> },
    Turn { server: usize, mode: Mode },
    Wish { server: usize, wish: Wish },
    Look,
    Wake,
}

#[derive(Debug)]
struct Request {
    worker: usize,
    started: Instant,
    waiting_since: Option<Instant>,
    idempotent: bool,
    attempts: u8,
    tried: Tried,
    open: Option<(usize, Instant, InFlight)>,
}

/// One client's end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub at: Duration,
    pub took: Duration,
    pub idempotent: bool,
    pub good: bool,
    pub attempts: u8,
}

/// One attempt.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub at: Duration,
    pub server: usize,
}

/// What is played.
pub struct Script {
    pub servers: usize,
    pub rule: Balance,
    pub per_second: u64,
    pub service: Duration,
    /// When, who, how.
    pub turns: Vec<(Duration, usize, Mode)>,
    pub wishes: Vec<(Duration, usize, Wish)>,
    pub change: Box<dyn Fn(&mut PoolSettings)>,
}

pub struct World {
    pub pool: Pool,
    health: Health,
    seed: u64,
    seeded: Seeded,
    begun: Instant,
    now: Instant,
    pickers: Vec<Picker>,
    budgets: Vec<RetryBudget>,
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: Vec<Option<What>>,
    requests: Vec<Request>,
    modes: Vec<Mode>,
    busy_until: Vec<Instant>,
    gap: Duration,
    service: Duration,
    fed: bool,
    /// Requests and retries of each worker, with their times: the budget's law is checked from these.
    asked: Vec<Vec<Instant>>,
    retried: Vec<Vec<Instant>>,
    pub ends: Vec<End>,
    pub sent: Vec<Sent>,
    pub events: Vec<(Duration, usize, Event)>,
}

const WORKERS: usize = 2;

impl World {
    pub fn new(script: &Script, seed: u64) -> Self {
        let begun = start();
        let mut settings = settings(&vec![1; script.servers]);
        settings.balance = script.rule;
        (script.change)(&mut settings);
        let pool = Pool::new(Arc::new(settings), begun);
        let health = Health::new(&pool, seed, begun);
        let mut world = Self {
            health,
            seed,
            seeded: Seeded(seed),
            begun,
            now: begun,
            pickers: (0..WORKERS).map(|worker| Picker::new(seed ^ worker as u64)).collect(),
            budgets: (0..WORKERS).map(|_| RetryBudget::new(begun)).collect(),
            heap: BinaryHeap::new(),
            happenings: Vec::new(),
            requests: Vec::new(),
            modes: vec![Mode::Fine; script.servers],
            busy_until: vec![begun; script.servers],
            gap: Duration::from_secs(1) / u32::try_from(script.per_second).unwrap(),
            service: script.service,
            fed: false,
            asked: vec![Vec::new(); WORKERS],
            retried: vec![Vec::new(); WORKERS],
            ends: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            pool,
        };
        for (at, server, mode) in &script.turns {
            world.at(begun + *at, What::Turn { server: *server, mode: *mode });
        }
        for (at, server, wish) in &script.wishes {
            world.at(begun + *at, What::Wish { server: *server, wish: *wish });
        }
        world.at(begun, What::Arrive);
        world.at(begun, What::Look);
        world.at(begun, What::Wake);
        world
    }

    fn at(&mut self, at: Instant, what: What) {
        self.heap.push(Reverse((at, self.happenings.len() as u64)));
        self.happenings.push(Some(what));
    }

    pub fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.begun)
    }

    pub fn state(&self, server: usize) -> State {
        self.pool.members()[server].server.standing().state
    }

    /// A law: whoever breaks it is told how to see it again.
    #[track_caller]
    pub fn law(&self, holds: bool, law: &str) {
        assert!(holds, "seed {} at {:?}: {law}; last events: {:#?}", self.seed, self.since(self.now), {
            let from = self.events.len().saturating_sub(6);
            self.events[from..]
                .iter()
                .map(|(at, who, e)| format!("{at:?} {who} {} -> {}: {}", e.from, e.to, e.why))
                .collect::<Vec<_>>()
        });
    }

    /// Plays until `span` after the beginning.
    pub fn run(&mut self, span: Duration) {
        let end = self.begun + span;
        while let Some(Reverse((at, number))) = self.heap.peek().copied() {
            if at > end {
                break;
            }
            self.heap.pop();
            self.now = at;
            let what = self.happenings[usize::try_from(number).unwrap()].take().unwrap();
            // Requests alone give health nothing to do, unless it was told of a failure.
            self.fed = !matches!(what, What::Arrive | What::Try(_) | What::Done { .. });
            self.step(what);
            if self.fed {
                self.obey();
            }
        }
        self.now = end;
    }

    fn step(&mut self, what: What) {
        match what {
            What::Arrive => self.arrive(),
            What::Try(request) => self.attempt(request),
            What::Done { request, attempt, end } => self.done(request, attempt, end),
            What::Probed { server, answer } => {
                self.health.probe(self.pool.members()[server].server.id(), answer, self.now);
            }
            What::Turn { server, mode } => self.turn(server, mode),
            What::Wish { server, wish } => {
                self.health.wish(self.pool.members()[server].server.id(), wish, self.now);
            }
            What::Look => {
                for member in self.pool.members() {
                    self.health.passive(member.server.id(), member.server.counts(), self.now);
                }
                self.at(self.now + LOOK_EVERY, What::Look);
            }
            What::Wake => {}
        }
    }

    /// Does what health wants, and comes back when it wants to be asked.
    fn obey(&mut self) {
        let mut acted = false;
        for round in 0.. {
            self.law(round < 1000, "health comes to rest");
            let Some(action) = self.health.poll(self.now) else { break };
            acted = true;
            match action {
                Action::Publish { server, standing } => self.pool.publish(server, standing),
                Action::Panic { on, up, of } => {
                    self.pool.set_panic(on);
                    let below = up * 100 < of * usize::from(self.pool.settings().panic_below);
                    self.law(!on || below, "a panic has its reason");
                }
                Action::Probe { server, .. } => self.probe(server),
                Action::Event(event) => self.happened(event),
            }
        }
        if let Some(next) = self.health.next_deadline() {
            self.law(next > self.now, "a deadline lies ahead");
            if acted || self.heap.peek().is_none_or(|Reverse((at, _))| *at > next) {
                self.at(next, What::Wake);
            }
        }
    }

    fn happened(&mut self, event: Event) {
        let index = self.pool.members().iter().position(|m| m.server.id() == event.server).unwrap();
        self.events.push((self.since(event.at), index, event));
        if event.to == State::Ejected && event.from != State::Probing {
            let backup = self.pool.members()[index].backup;
            let kind = self.pool.members().iter().filter(|member| member.backup == backup);
            let states = kind.map(|member| member.server.standing().state);
            let states: Vec<State> = states.filter(|state| !state.is_taken_out()).collect();
            let out = states.iter().filter(|state| **state != State::Up).count();
            self.law(out * 2 <= states.len(), &format!("ejection leaves at least half up, not {states:?}"));
        }
    }

    fn probe(&mut self, id: madang_balance::server::ServerId) {
        let server = self.pool.members().iter().position(|m| m.server.id() == id).unwrap();
        let (after, answer) = match self.modes[server] {
            Mode::Dead => (ms(1), Err(ProbeFailure::NotConnected)),
            Mode::Hung => (PATIENCE, Err(ProbeFailure::Late)),
            Mode::Sick => (ms(2), Err(ProbeFailure::Status(503))),
            Mode::Fine | Mode::Slow(_) | Mode::Errors(_) => (ms(2), Ok(())),
        };
        self.at(self.now + after, What::Probed { server, answer });
    }

    fn turn(&mut self, server: usize, mode: Mode) {
        self.modes[server] = mode;
        self.busy_until[server] = self.now;
        if mode == Mode::Dead {
            // Killed: what is open there breaks at once.
            let open = |request: &Request| request.open.as_ref().is_some_and(|(at, ..)| *at == server);
            let broken: Vec<usize> = (0..self.requests.len()).filter(|r| open(&self.requests[*r])).collect();
            for request in broken {
                let attempt = self.requests[request].attempts;
                self.done(request, attempt, Err(Failure::Broken));
            }
        }
    }

    fn arrive(&mut self) {
        let worker = usize::try_from(self.seeded.below(WORKERS as u64)).unwrap();
        let request = Request {
            worker,
            started: self.now,
            waiting_since: None,
            idempotent: self.seeded.percent(90),
            attempts: 0,
            tried: Tried::default(),
            open: None,
        };
        self.budgets[worker].request(self.now);
        self.asked[worker].push(self.now);
        self.requests.push(request);
        self.attempt(self.requests.len() - 1);
        let gap = self.gap / 2
            + ms(1).mul_f64(self.seeded.below(1000) as f64 / 1000.0 * self.gap.as_secs_f64() * 1000.0);
        self.at(self.now + gap, What::Arrive);
    }

    fn attempt(&mut self, number: usize) {
        let (random, now) = (self.seeded.next(), self.now);
        let request = &mut self.requests[number];
        let key = Some(key_of(&(number as u64 % 997).to_be_bytes()));
        let ask = Ask { key, sticky: None, tried: &request.tried, random };
        match self.pickers[request.worker].pick(&self.pool, &ask, now) {
            Pick::Server(chosen) => {
                request.attempts += 1;
                let (attempt, index) = (request.attempts, chosen.index);
                let again = request.tried.holds(chosen.place.server().id());
                request.tried.add(chosen.place.server().id());
                request.open = Some((index, now, chosen.place));
                let member = &self.pool.members()[index];
                let state = member.server.standing().state;
                let fit = match state {
                    State::Up => true,
                    State::Probing => self.pool.settings().health.is_none() && member.server.in_flight() == 1,
                    _ => false,
                };
                self.law(fit || (self.pool.is_in_panic() && !state.is_taken_out()), "nobody unfit is chosen");
                let max = member.max_connections;
                self.law(max == 0 || member.server.in_flight() <= max, "limits hold");
                self.law(!again || chosen.why.tier == Tier::Again, "nobody is tried twice while another can");
                self.sent.push(Sent { at: self.since(now), server: index });
                let (at, end) = self.serve(index);
                self.at(at, What::Done { request: number, attempt, end });
            }
            Pick::Wait => {
                let since = *request.waiting_since.get_or_insert(now);
                if now.saturating_duration_since(since) < self.pool.settings().queue.wait {
                    self.at(now + ms(5), What::Try(number));
                } else {
                    self.end(number, false);
                }
            }
            Pick::NoneUp(_) => self.end(number, false),
        }
    }

    /// When and how a server answers: one request at a time, each for its service time.
    fn serve(&mut self, server: usize) -> (Instant, Result<(), Failure>) {
        let factor = match self.modes[server] {
            Mode::Dead => return (self.now + ms(1), Err(Failure::NotConnected)),
            Mode::Hung => return (self.now + PATIENCE, Err(Failure::Late)),
            Mode::Sick => return (self.now + ms(1), Err(Failure::Status(503))),
            Mode::Errors(share) if self.seeded.percent(share) => {
                return (self.now + ms(1), Err(Failure::Status(503)));
            }
            Mode::Slow(factor) => factor,
            Mode::Fine | Mode::Errors(_) => 1,
        };
        let spread = 0.5 + self.seeded.below(1000) as f64 / 1000.0;
        let work = self.service.mul_f64(spread) * u32::try_from(factor).unwrap();
        let done = self.busy_until[server].max(self.now) + work;
        self.busy_until[server] = done;
        if done > self.now + PATIENCE { (self.now + PATIENCE, Err(Failure::Late)) } else { (done, Ok(())) }
    }

    fn done(&mut self, number: usize, attempt: u8, end: Result<(), Failure>) {
        let now = self.now;
        let request = &mut self.requests[number];
        if request.attempts != attempt {
            return;
        }
        // A request that broke when its server was killed is over already.
        let Some((index, sent, place)) = request.open.take() else { return };
        let outcome = end.map_or_else(Failure::outcome, |()| Outcome::Good);
        let id = place.server().id();
        if self.pool.finish(place, outcome, now - sent, now).look_now {
            self.health.passive(id, self.pool.members()[index].server.counts(), now);
            self.fed = true;
        }
        let Err(failure) = end else { return self.end(number, true) };
        let request = &self.requests[number];
        let another = self.pool.has_another(&request.tried);
        let judged = Attempt {
            failure,
            idempotent: request.idempotent,
            sent: failure != Failure::NotConnected,
            body_kept: true,
            answer_begun: false,
            idle_connection: false,
            refused: false,
            retry_after: None,
            attempts: request.attempts,
            started: request.started,
            another,
        };
        let worker = request.worker;
        let random = self.seeded.next();
        match judge(&self.pool.settings().retry, &mut self.budgets[worker], &judged, random, now) {
            Verdict::Again { wait, .. } => {
                self.law(judged.idempotent || !judged.sent, "only what is safe is repeated");
                self.retried[worker].push(now);
                self.budget_holds(worker);
                self.at(now + wait, What::Try(number));
            }
            Verdict::No(_) => self.end(number, false),
        }
    }

    fn budget_holds(&self, worker: usize) {
        let young = |list: &[Instant], span: Duration| {
            list.iter().rev().take_while(|at| self.now.saturating_duration_since(**at) < span).count() as u64
        };
        let percent = u64::from(self.pool.settings().retry.budget_percent);
        let most = (young(&self.asked[worker], BUDGET_SPAN + ms(1)) * percent / 100).max(RETRIES_FREE);
        self.law(young(&self.retried[worker], BUDGET_SPAN * 9 / 10) <= most, "retries stay in the budget");
    }

    fn end(&mut self, number: usize, good: bool) {
        let request = &self.requests[number];
        let (at, took) = (self.since(self.now), self.now - request.started);
        self.ends.push(End { at, took, idempotent: request.idempotent, good, attempts: request.attempts });
    }
}
