//! Goal: NATS going down under load loses nothing in silence: gaps are told, nothing comes twice, order is kept, and when it
//! is back everything goes on by itself; a house that starts before NATS joins it when it comes.
//! Method: two machines' buses and a real nats-server that is killed and started again while both publish; the log that
//! readers look into at a gap is what each publisher kept.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use madang_bus::mailbox::{Event, Gap, Limits, Mailbox, What};
use madang_bus::{Bus, Handle, Reach};
use madang_host::clock;

use support::{Server, acquainted, until};

const TOPICS: usize = 20;
const CRASHES: usize = 5;

/// What a publisher published, by topic: the log.
type Log = Arc<Mutex<Vec<Vec<u32>>>>;

struct Publisher {
    handle: Handle,
    log: Log,
}

impl Publisher {
    fn new(bus: &Bus) -> Self {
        Self { handle: bus.open(Limits::default()).0, log: Arc::new(Mutex::new(vec![Vec::new(); TOPICS])) }
    }

    /// Into the log first, then to the bus.
    fn publish(&self, topic: usize) {
        let number = {
            let mut log = self.log.lock().unwrap();
            let number = u32::try_from(log[topic].len()).unwrap();
            log[topic].push(number);
            number
        };
        let line = self.handle.topic(&format!("room/{topic}")).unwrap();
        self.handle.publish(&line, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
    }
}

struct Reader {
    mailbox: Mailbox,
    /// What was read of each topic, in order.
    have: Vec<Vec<u32>>,
    log: Log,
    gaps: usize,
}

impl Reader {
    fn take(&mut self) {
        let mut events: Vec<Event> = Vec::new();
        self.mailbox.take(&mut events);
        for event in events {
            let topic = usize::try_from(event.tag).unwrap();
            let have = &mut self.have[topic];
            match event.what {
                What::Message(bytes) => {
                    let number = u32::from_be_bytes(bytes[..].try_into().unwrap());
                    let next = u32::try_from(have.len()).unwrap();
                    // After a look into the log, what was on its way comes as well: the log's own offsets tell.
                    assert!(
                        number <= next,
                        "topic {topic}: {number} came where {next} is next, and no gap was told"
                    );
                    if number == next {
                        have.push(number);
                    }
                }
                // What was published before may not come.
                What::Live => have.clone_from(&self.log.lock().unwrap()[topic]),
                What::Gap(why) => {
                    assert_ne!(why, Gap::Lagging);
                    self.gaps += 1;
                    have.clone_from(&self.log.lock().unwrap()[topic]);
                }
            }
        }
    }
}

#[test]
fn a_server_that_comes_and_goes_loses_nothing_in_silence() {
    let mut server = Server::start();
    let (one, other) = (server.bus("town"), server.bus("town"));
    acquainted(&[&one, &other]);
    let publisher = Publisher::new(&one);
    let (handle, mailbox) = other.open(Limits::default());
    let topics = (0..TOPICS).map(|topic| handle.topic(&format!("room/{topic}")).unwrap());
    let _reading: Vec<_> = (0..).zip(topics).map(|(tag, topic)| handle.subscribe(&topic, tag)).collect();
    let mut reader =
        Reader { mailbox, have: vec![Vec::new(); TOPICS], log: Arc::clone(&publisher.log), gaps: 0 };
    let mut kept: Vec<_> = (0..TOPICS).map(|topic| handle.topic(&format!("room/{topic}")).unwrap()).collect();
    kept.extend((0..TOPICS).map(|topic| publisher.handle.topic(&format!("room/{topic}")).unwrap()));

    let mut round = 0;
    let mut load = |reader: &mut Reader, rounds: usize| {
        for _ in 0..rounds {
            for topic in 0..TOPICS {
                // The last topics are spoken in rarely: their losses are told without a next message.
                if topic < 10 || round % 50 == topic {
                    publisher.publish(topic);
                }
            }
            round += 1;
            reader.take();
        }
    };
    load(&mut reader, 200);
    for _ in 0..CRASHES {
        load(&mut reader, 100);
        server.crash();
        load(&mut reader, 200);
        until("both notice", || {
            load(&mut reader, 1);
            one.reach() == Reach::Away && other.reach() == Reach::Away
        });
        server.up();
        until("both are back", || {
            load(&mut reader, 1);
            one.reach() == Reach::Connected && other.reach() == Reach::Connected
        });
        load(&mut reader, 100);
    }
    // Nothing more is published. All that was is there in the end.
    until("the reader has everything", || {
        reader.take();
        reader.have == *publisher.log.lock().unwrap()
    });
    assert!(reader.gaps >= TOPICS * CRASHES, "{} gaps", reader.gaps);
    let (there, here) = (other.numbers().1.unwrap(), one.numbers().1.unwrap());
    assert_eq!((here.connects, there.connects), (1 + CRASHES as u64, 1 + CRASHES as u64));
    // And once the beats of that time were judged, nothing is missed any more.
    let (mut gaps, mut since) = (reader.gaps, clock::now());
    until("gaps come to an end", || {
        load(&mut reader, 1);
        if reader.gaps != gaps {
            (gaps, since) = (reader.gaps, clock::now());
        }
        since.elapsed() > Duration::from_millis(2500)
    });
    until("the reader has everything", || {
        reader.take();
        reader.have == *publisher.log.lock().unwrap()
    });
}

#[test]
fn a_house_that_starts_before_nats_joins_it_when_it_comes() {
    let mut server = Server::start();
    server.crash();
    let bus = server.bus("town");
    let (handle, mut mailbox) = bus.open(Limits::default());
    let (neighbour, _) = bus.open(Limits::default());
    let topic = handle.topic("room").unwrap();
    let _reading = handle.subscribe(&topic, 1);
    assert_eq!(bus.reach(), Reach::Away);
    // Its own threads hear each other all the time.
    neighbour.publish(&topic, Bytes::from_static(b"alone")).unwrap();
    let mut events = Vec::new();
    mailbox.take(&mut events);
    assert_eq!(
        events.iter().map(|event| event.what.clone()).collect::<Vec<_>>(),
        [What::Message(Bytes::from_static(b"alone"))]
    );
    server.up();
    until("it is live", || {
        mailbox.take(&mut events);
        events.iter().any(|event| event.what == What::Live)
    });
    assert_eq!(bus.reach(), Reach::Connected);
}

// Goal: a way that is cut without a word is told within seconds, and so is that it is there again.
#[test]
fn a_server_that_stands_still_is_away() {
    let server = Server::start();
    let bus = server.bus("town");
    until("it is connected", || bus.reach() == Reach::Connected);
    server.signal("STOP");
    until("it is away", || bus.reach() == Reach::Away);
    server.signal("CONT");
    until("it is back", || bus.reach() == Reach::Connected);
}

#[test]
fn a_wrong_login_is_told_and_a_right_one_works() {
    let server = Server::with("authorization { user: mina, password: \"s@cret\" }");
    let told = Arc::new(Mutex::new(Vec::new()));
    let bus = |login: &str| {
        let address = format!("nats://{login}@127.0.0.1:{}", server.port);
        let mut settings = server.settings("town");
        settings.servers = vec![madang_bus::config::Address::new(&address).unwrap()];
        let told = Arc::clone(&told);
        let settings = madang_bus::config::BusSettings::Nats(Box::new(settings));
        Bus::start(&settings, move |what| told.lock().unwrap().push(what)).unwrap()
    };
    let right = bus("mina:s%40cret");
    until("the right one is in", || right.reach() == Reach::Connected);
    told.lock().unwrap().clear();
    let wrong = bus("mina:hunter2");
    until("the wrong one is told", || {
        told.lock().unwrap().iter().any(|what| format!("{what:?}").contains("authorization violation"))
    });
    assert_eq!(wrong.reach(), Reach::Away);
    assert!(!format!("{told:?}").contains("hunter2"));
}

// Goal: a machine holds many rooms with few subscriptions, and gets what it wants of all of them.
#[test]
fn a_machine_with_a_hundred_thousand_rooms_hears_each() {
    const ROOMS: u64 = 100_000;
    let server = Server::start();
    let (one, other) = (server.bus("town"), server.bus("town"));
    acquainted(&[&one, &other]);
    let (handle, mut mailbox) = other.open(Limits::default());
    let reading: Vec<_> = (0..ROOMS)
        .map(|room| handle.subscribe(&handle.topic(&format!("room/{room}")).unwrap(), room))
        .collect();
    let (mut events, mut live) = (Vec::new(), 0);
    until("all are live", || {
        mailbox.take(&mut events);
        live += events.iter().filter(|event| event.what == What::Live).count() as u64;
        live == ROOMS
    });
    let (writer, _) = one.open(Limits::default());
    let mut batch = writer.batch();
    for room in (0..ROOMS).step_by(97) {
        let topic = writer.topic(&format!("room/{room}")).unwrap();
        batch.publish(&topic, Bytes::from(room.to_string())).unwrap();
    }
    drop(batch);
    let mut heard = Vec::new();
    until("all came", || {
        mailbox.take(&mut events);
        for event in &events {
            match &event.what {
                What::Message(bytes) => {
                    assert_eq!(*bytes, event.tag.to_string());
                    heard.push(event.tag);
                }
                other => panic!("{other:?}"),
            }
        }
        heard.len() as u64 == ROOMS.div_ceil(97)
    });
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len() as u64, ROOMS.div_ceil(97), "each once");
    drop(reading);
}
