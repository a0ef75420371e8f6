//! A crowd in rooms, sending at a pace, counted delivery by delivery.
//!
//! **Job.** Seat everybody, then do what is ordered on standard input, one line each, and tell what came of it.
//! **Called by** `main`. **Calls** `crowd`, `pace`, `tally`.
//!
//! Orders: `go RATE SECONDS` sends RATE messages a second, waits for their deliveries, and prints one line of JSON. The end of
//! the input ends everything. Before the first order it prints `{"ready":PEOPLE,...}`: whoever measures the server knows
//! exactly which part of its time belongs to what.
//!
//! Invariants
//! 1. The pace does not wait for the server: a delivery's time counts from when the message was due.
//! 2. A result is valid only when every message sent came to everybody who should hear it, exactly once each.
//!
//! Not here: the server, and what it spends (`benches/chat/bench.py`).

mod crowd;
mod orders;
mod pace;
mod tally;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, io};

use madang_host::clock;
use serde::Serialize;

use crate::speak::{Protocol, Trouble, stamp};
use crowd::Crowd;
use pace::Pace;
use tally::{Second, Tally};

/// How long deliveries may be missing after the last message was sent.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a crowd is.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What the server speaks
    #[arg(long)]
    pub protocol: Protocol,
    /// Where it listens
    #[arg(long)]
    pub address: SocketAddr,
    /// The websocket's path
    #[arg(long, default_value = "/chat/ws")]
    pub path: String,
    /// How many rooms
    #[arg(long, default_value_t = 1)]
    pub rooms: u32,
    /// How many people sit in each
    #[arg(long, default_value_t = 5)]
    pub members: u32,
    /// The number of the first person, which its name bears: a second crowd at the same server needs other names
    #[arg(long, default_value_t = 0)]
    pub first: u32,
    /// Bytes of a message's text, 27 at least
    #[arg(long, default_value_t = 128)]
    pub bytes: usize,
    /// Of the people so many never read once they are seated; they send nothing, and nothing is expected of them
    #[arg(long, default_value_t = 0)]
    pub stalled: u32,
    /// What a stalled connection reads each second, in bytes
    #[arg(long, default_value_t = 0)]
    pub trickle: usize,
}

/// Why nothing more can be measured.
#[derive(Debug)]
pub enum Failure {
    /// The options do not fit together.
    Options {
        /// What is asked for.
        why: &'static str,
    },
    /// The kernel said no.
    Io {
        /// To what.
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// A connection was refused, ended or spoke nonsense.
    Spoken {
        /// Whose.
        number: u32,
        /// What came.
        trouble: Trouble,
    },
    /// A connection was closed by the server.
    Closed {
        /// Whose.
        number: u32,
    },
    /// Not everybody was seated in time.
    Seating {
        /// So many were.
        seated: u32,
        /// Of so many.
        of: u32,
    },
    /// An order that is none.
    Order {
        /// As it came.
        line: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options { why } => write!(f, "{why}"),
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
            Self::Spoken { number, trouble } => write!(f, "connection {number}: {trouble}"),
            Self::Closed { number } => write!(f, "connection {number}: the server closed it"),
            Self::Seating { seated, of } => {
                write!(f, "{seated} of {of} connections sat in their rooms when patience ended")
            }
            Self::Order { line } => {
                write!(f, "no order: {line:?}; there is `go RATE SECONDS`, for example `go 40 5`")
            }
        }
    }
}

/// What came of one order.
#[derive(Debug, Serialize)]
struct Outcome {
    sent: u32,
    acked: u64,
    expected: u64,
    delivered: u64,
    /// Messages that did not come exactly as often as they should.
    wrong: u32,
    valid: bool,
    seconds: f64,
    deliveries_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    longest_ms: f64,
    /// How late the generator itself was at most: with more than a few ms the rest says little.
    late_ms: f64,
    /// Connections of readers that ended.
    ended: u32,
    /// The same second by second, of the messages that were due in each.
    by_second: Vec<Second>,
}

/// Seats the crowd and obeys.
///
/// # Errors
/// [`Failure`]: the crowd is not what was asked for any more.
pub fn run(options: &Options) -> Result<(), Failure> {
    if options.stalled >= options.members.saturating_mul(options.rooms) {
        return Err(Failure::Options { why: "somebody has to read: --stalled below rooms times members" });
    }
    if options.stalled > 0 && options.rooms != 1 {
        return Err(Failure::Options { why: "stalled readers are counted in one room: --rooms 1" });
    }
    if options.bytes < stamp::BYTES_MIN {
        return Err(Failure::Options { why: "a text holds at least its stamp: --bytes 27 or more" });
    }
    let began = clock::now();
    let mut crowd = Crowd::open(options, began)?;
    tell(&serde_json::json!({ "ready": crowd.people(), "seconds": began.elapsed().as_secs_f64() }));
    while let Some(line) = crowd.order()? {
        let Some((rate, seconds)) = order(&line) else { return Err(Failure::Order { line }) };
        let outcome = send(&mut crowd, options, rate, seconds)?;
        tell(&outcome);
    }
    Ok(())
}

fn order(line: &str) -> Option<(f64, f64)> {
    let mut words = line.strip_prefix("go ")?.split_whitespace();
    let (rate, seconds) = (words.next()?.parse::<f64>().ok()?, words.next()?.parse::<f64>().ok()?);
    ((0.0..=1e6).contains(&rate) && (0.0..=600.0).contains(&seconds) && words.next().is_none())
        .then_some((rate, seconds))
}

fn send(crowd: &mut Crowd, options: &Options, rate: f64, seconds: f64) -> Result<Outcome, Failure> {
    let heard_by = options.members - options.stalled - u32::from(!options.protocol.echoes());
    let began_ns = crowd.now_ns();
    let mut pace = Pace::new(began_ns, rate, seconds, options.rooms, options.members - options.stalled);
    let mut tally = Tally::new(crowd.said());
    while let Some(due_ns) = pace.due_ns() {
        let now_ns = crowd.now_ns();
        if now_ns < due_ns {
            crowd.turn(Duration::from_nanos(due_ns - now_ns), &mut tally)?;
            continue;
        }
        let (room, member) = pace.take();
        tally.sent(now_ns - due_ns);
        crowd.say(room, member, due_ns)?;
        // Deliveries are read while a pace that is due at once goes on.
        crowd.turn(Duration::ZERO, &mut tally)?;
    }
    let expected = u64::from(tally.messages()) * u64::from(heard_by);
    let deadline_ns = crowd.now_ns() + nanoseconds(PATIENCE);
    while tally.delivered < expected && crowd.now_ns() < deadline_ns {
        crowd.turn(Duration::from_millis(100), &mut tally)?;
    }
    // What came twice comes now.
    crowd.turn(Duration::from_millis(20), &mut tally)?;
    let wrong = tally.wrong(heard_by);
    let spent = (crowd.now_ns() - began_ns) as f64 / 1e9;
    Ok(Outcome {
        sent: tally.messages(),
        acked: tally.acked,
        expected,
        delivered: tally.delivered,
        wrong,
        valid: wrong == 0 && tally.delivered == expected,
        seconds: spent,
        deliveries_per_second: tally.delivered as f64 / spent.min(seconds.max(0.001)),
        p50_ms: tally.percentile_ms(0.50),
        p99_ms: tally.percentile_ms(0.99),
        p999_ms: tally.percentile_ms(0.999),
        longest_ms: tally.percentile_ms(1.0),
        late_ms: tally.late_ms(),
        ended: crowd.ended(),
        by_second: tally.by_second(rate),
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One line of JSON, at once.
fn tell(value: &impl Serialize) {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    let _ = io::stdout().write_all(line.as_bytes()); // who listens no more needs no line
    let _ = io::stdout().flush();
}
