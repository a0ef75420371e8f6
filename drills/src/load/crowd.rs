//! Everybody's connections on one epoll.
//!
//! **Job.** Seat people, write what they say, read what they hear. One thread, one buffer for reading; a connection keeps
//! memory of its own only for what is not whole yet. **Called by** `load`. **Calls** `speak`, the kernel.
//!
//! Invariants
//! 1. One read for each readiness: what a server wrote in one piece is read in one.
//! 2. At most [`OPENING_MAX`] connections are on their way to their seats.
//! 3. The n-th connection opened has seat n: the floor counts on it.
//!
//! Not here: when something is said (`pace`), what it counts for (`tally`).

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use madang_host::clock;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::sockopt;

use super::orders::Orders;
use super::tally::Tally;
use super::{Failure, Options};
use crate::speak::{Protocol, Seat, Talk, What, stamp};

const OPENING_MAX: u32 = 64;
const EVENTS_MAX: usize = 1024;
/// What the kernel takes for somebody who does not read.
const STALLED_BYTES: usize = 4 * 1024;
/// What is no connection's place.
const ORDERS: usize = usize::MAX;
const SCRATCH_BYTES: usize = 256 * 1024;
/// Without anybody being seated for so long, nobody will be.
const SEATING: Duration = Duration::from_secs(30);
/// The last of a wait is not slept: the kernel wakes up to a millisecond late.
const SPIN: Duration = Duration::from_micros(1_200);

struct Person {
    socket: TcpStream,
    seat: Seat,
    talk: Talk,
    /// What was read and is not whole.
    rest: Vec<u8>,
    /// What the kernel did not take yet.
    unsent: Vec<u8>,
    ready: bool,
    open: bool,
}

/// All connections.
pub(super) struct Crowd {
    epoll: OwnedFd,
    people: Vec<Person>,
    protocol: Protocol,
    members: u32,
    /// From this seat on nobody reads.
    stalled_from: usize,
    trickle: usize,
    /// Turns of slow readers so far, since the beginning.
    trickled: u64,
    bytes: usize,
    began: Instant,
    seated: u32,
    ended: u32,
    said: u32,
    scratch: Vec<u8>,
    out: Vec<u8>,
    events: Vec<epoll::Event>,
    orders: Orders,
}

impl Crowd {
    /// Connects everybody and waits until all are seated.
    pub(super) fn open(options: &Options, began: Instant) -> Result<Self, Failure> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(kernel("make an epoll"))?;
        let of = options.rooms * options.members;
        let mut crowd = Self {
            epoll,
            people: Vec::with_capacity(of as usize),
            protocol: options.protocol,
            members: options.members,
            stalled_from: (of - options.stalled) as usize,
            trickle: options.trickle,
            trickled: 0,
            bytes: options.bytes,
            began,
            seated: 0,
            ended: 0,
            said: 0,
            scratch: vec![0; SCRATCH_BYTES],
            out: Vec::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            orders: Orders::default(),
        };
        let orders = epoll::EventData::new_u64(ORDERS as u64);
        epoll::add(&crowd.epoll, io::stdin(), orders, epoll::EventFlags::IN)
            .map_err(kernel("wait for orders on standard input, a pipe or a terminal"))?;
        let mut unheard = Tally::new(0);
        let mut last_seated = (0, clock::now());
        while crowd.seated < of {
            while crowd.people() < of && crowd.people() - crowd.seated < OPENING_MAX {
                crowd.connect(options)?;
            }
            crowd.turn(Duration::from_millis(100), &mut unheard)?;
            if crowd.seated != last_seated.0 {
                last_seated = (crowd.seated, clock::now());
            } else if last_seated.1.elapsed() > SEATING {
                return Err(Failure::Seating { seated: crowd.seated, of });
            }
        }
        Ok(crowd)
    }

    fn connect(&mut self, options: &Options) -> Result<(), Failure> {
        let number = self.people();
        let seat = Seat { number: options.first + number, room: number / options.members };
        let socket = TcpStream::connect(options.address)
            .and_then(|socket| socket.set_nodelay(true).and(socket.set_nonblocking(true)).map(|()| socket))
            .map_err(|error| Failure::Io { doing: "connect", error })?;
        let data = epoll::EventData::new_u64(self.people.len() as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)
            .map_err(kernel("watch a connection"))?;
        if number as usize >= self.stalled_from {
            // Else the kernel would read for a while in its place. Who reads slowly finds what it takes in a second.
            let bytes = STALLED_BYTES.max(options.trickle * 2);
            let _ = sockopt::set_socket_recv_buffer_size(&socket, bytes); // a larger one stalls later
        }
        let ready = self.protocol.sits_at_once();
        let mut begin = Vec::new();
        self.protocol.begin(&options.path, seat, &mut begin);
        self.people.push(Person {
            socket,
            seat,
            talk: Talk::default(),
            rest: Vec::new(),
            unsent: Vec::new(),
            ready,
            open: true,
        });
        self.seated += u32::from(ready);
        self.write(number as usize, &begin)
    }

    /// How many connections there are.
    pub(super) fn people(&self) -> u32 {
        u32::try_from(self.people.len()).unwrap_or(u32::MAX)
    }

    /// How many of those that read have ended.
    pub(super) fn ended(&self) -> u32 {
        self.ended
    }

    /// How many messages were ever sent: the next one's number.
    pub(super) fn said(&self) -> u32 {
        self.said
    }

    /// Nanoseconds since the generator began.
    pub(super) fn now_ns(&self) -> u64 {
        super::nanoseconds(clock::now().duration_since(self.began))
    }

    /// One member of a room says the next message.
    pub(super) fn say(&mut self, room: u32, member: u32, due_ns: u64) -> Result<(), Failure> {
        let at = (room * self.members + member) as usize;
        let mut text = Vec::with_capacity(self.bytes);
        stamp::write(&mut text, stamp::Stamp { due_ns, number: self.said }, self.bytes);
        self.said += 1;
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let person = &mut self.people[at];
        self.protocol.say(person.seat, &mut person.talk, &text, &mut out);
        let written = self.write(at, &out);
        self.out = out;
        written
    }

    /// Waits for at most so long and reads what is there.
    pub(super) fn turn(&mut self, wait: Duration, tally: &mut Tally) -> Result<(), Failure> {
        self.trickle();
        let wait = wait.min(Duration::from_millis(100)).saturating_sub(SPIN);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(kernel("wait")(error)),
        }
        for event in &events {
            let at = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if at == ORDERS {
                self.orders.read()?;
                continue;
            }
            let flags = event.flags;
            if flags.contains(epoll::EventFlags::OUT) {
                self.write(at, b"")?;
            }
            if flags != epoll::EventFlags::OUT {
                self.read(at, tally)?;
            }
        }
        self.events = events;
        Ok(())
    }

    /// The next order; until it comes, servers that ask for a sign of life get it. `None`: there will be none.
    pub(super) fn order(&mut self) -> Result<Option<String>, Failure> {
        let mut unheard = Tally::new(self.said);
        loop {
            if let Some(line) = self.orders.take() {
                return Ok(Some(line));
            }
            if self.orders.ended {
                return Ok(None);
            }
            self.turn(Duration::from_millis(100), &mut unheard)?;
        }
    }

    fn read(&mut self, at: usize, tally: &mut Tally) -> Result<(), Failure> {
        let person = &mut self.people[at];
        let kept = person.rest.len();
        self.scratch[..kept].copy_from_slice(&person.rest);
        person.rest.clear();
        let got = match person.socket.read(&mut self.scratch[kept..]) {
            Ok(0) => return self.end(at, None),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return self.end(at, Some(error)),
        };
        let now_ns = super::nanoseconds(clock::now().duration_since(self.began));
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let (mut from, all) = (0, kept + got);
        loop {
            let heard = self.protocol.hear(person.seat, &mut person.talk, &self.scratch[from..all], &mut out);
            let heard = heard.map_err(|trouble| Failure::Spoken { number: person.seat.number, trouble })?;
            if heard.bytes == 0 {
                break;
            }
            from += heard.bytes;
            match heard.what {
                What::Nothing => {}
                What::Acked => tally.acked += 1,
                What::Delivered(stamp) => tally.came(stamp, now_ns),
                What::Ready => {
                    self.seated += u32::from(!person.ready);
                    person.ready = true;
                }
            }
        }
        person.rest.extend_from_slice(&self.scratch[from..all]);
        if person.rest.is_empty() {
            person.rest = Vec::new();
        }
        if person.ready && at >= self.stalled_from {
            // From here on nobody looks whether there is something to read.
            let _ = epoll::delete(&self.epoll, &person.socket); // once: it is not watched any more
        }
        if !out.is_empty() {
            self.write(at, &out)?;
        }
        self.out = out;
        Ok(())
    }

    /// What a slow reader takes each second, one after another: all at once they would hold up the others, whose delay is measured.
    fn trickle(&mut self) {
        let slow = self.people.len().saturating_sub(self.stalled_from);
        if self.trickle == 0 || slow == 0 {
            return;
        }
        let due = self.now_ns() / (1_000_000_000 / slow as u64).max(1);
        // Each has its turn at most once, however late it is.
        let first = self.trickled.max(due.saturating_sub(slow as u64));
        let taken = self.trickle.min(SCRATCH_BYTES);
        for turn in first..due {
            let at = self.stalled_from + usize::try_from(turn % slow as u64).unwrap_or(0);
            let person = &mut self.people[at];
            if person.ready {
                let _ = person.socket.read(&mut self.scratch[..taken]); // whatever comes of it: it is a slow reader
            }
        }
        self.trickled = due;
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Failure> {
        let person = &mut self.people[at];
        let waited = !person.unsent.is_empty();
        let mut left = bytes;
        if waited {
            person.unsent.extend_from_slice(bytes);
            left = &person.unsent;
        }
        let mut done = 0;
        while done < left.len() {
            match person.socket.write(&left[done..]) {
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return self.end(at, Some(error)),
            }
        }
        let rest = left[done..].to_vec();
        if waited == rest.is_empty() {
            let flags = epoll::EventFlags::IN;
            let flags = if rest.is_empty() { flags } else { flags | epoll::EventFlags::OUT };
            let data = epoll::EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, &person.socket, data, flags).map_err(kernel("watch a connection"))?;
        }
        person.unsent = rest;
        Ok(())
    }

    /// The server closed a connection. Whoever reads and is seated is counted; before that nothing can be measured.
    fn end(&mut self, at: usize, error: Option<io::Error>) -> Result<(), Failure> {
        let person = &mut self.people[at];
        let number = person.seat.number;
        if !person.ready {
            return Err(match error {
                Some(error) => Failure::Io { doing: "talk to the server", error },
                None => Failure::Closed { number },
            });
        }
        if person.open {
            person.open = false;
            self.ended += u32::from(at < self.stalled_from);
            let _ = epoll::delete(&self.epoll, &person.socket); // it may not have been watched
        }
        Ok(())
    }
}

fn kernel(doing: &'static str) -> impl Fn(rustix::io::Errno) -> Failure {
    move |error| Failure::Io { doing, error: error.into() }
}
