//! What topics promise.
//!
//! **Job.** The behaviours of topics, each over two places. **Called by** the battery.

use bytes::Bytes;
use madang_bus::mailbox::{Gap, Limits, What};
use madang_bus::{MESSAGE_MAX, NAME_MAX};

use super::Places;
use super::reader::Reader;

pub fn in_order(places: &Places) {
    let (mut near, mut far) = (Reader::new(&places.here), Reader::new(&places.there));
    let (_a, _b) = (near.read("town", 1), far.read("town", 2));
    let writer = Reader::new(&places.here);
    for number in 0..2000 {
        writer.publish("town", &number.to_string());
    }
    for number in 0..2000 {
        assert_eq!(near.message(), (1, number.to_string()));
        assert_eq!(far.message(), (2, number.to_string()));
    }
}

pub fn their_topics_alone(places: &Places) {
    let mut reader = Reader::new(&places.there);
    // Names with everything that means something to somebody: separators, wildcards, Korean, spaces, percent signs.
    let names = ["town", "town/room", "town.room", "town.*", ">", "마당/방 1", "%2F", "*"];
    let _reading: Vec<_> = (0..).zip(names).map(|(tag, name)| reader.read(name, tag)).collect();
    let writer = Reader::new(&places.here);
    for name in names {
        writer.publish(name, name);
        writer.publish(&format!("{name}/other"), "nobody reads this");
    }
    for (tag, name) in (0..).zip(names) {
        assert_eq!(reader.message(), (tag, name.to_owned()));
    }
}

pub fn no_echo(places: &Places) {
    let (mut one, mut other) = (Reader::new(&places.here), Reader::new(&places.there));
    let (_a, _b) = (one.read("town", 1), other.read("town", 2));
    one.publish("town", "from one");
    assert_eq!(other.message(), (2, "from one".to_owned()));
    other.publish("town", "from the other");
    assert_eq!(one.message(), (1, "from the other".to_owned()), "and not its own before it");
}

pub fn nothing_after_the_end(places: &Places) {
    let mut reader = Reader::new(&places.there);
    let first = reader.read("town", 1);
    let _end = reader.read("end", 9);
    let writer = Reader::new(&places.here);
    writer.publish("town", "heard");
    assert_eq!(reader.message(), (1, "heard".to_owned()));
    drop(first);
    writer.publish("town", "not heard");
    writer.publish("end", "1");
    assert_eq!(reader.message(), (9, "1".to_owned()));
    // The same topic again, with another number: nothing of before comes with it.
    let _again = reader.read("town", 2);
    writer.publish("town", "heard again");
    loop {
        match reader.event() {
            // The number that a writer begins with is news to this reader.
            (2, What::Gap(Gap::Missed)) => {}
            (2, What::Message(bytes)) => break assert_eq!(bytes, "heard again"),
            other => panic!("{other:?}"),
        }
    }
}

pub fn lagging(places: &Places) {
    let limits = Limits { messages_max: 100, ..Limits::default() };
    let mut reader = Reader::with(&places.there, limits);
    let mut witness = Reader::new(&places.there);
    let (_quiet, _loud, _seen) = (reader.read("quiet", 1), reader.read("loud", 2), witness.read("loud", 3));
    let writer = Reader::new(&places.here);
    for number in 0..1000 {
        writer.publish("loud", &number.to_string());
    }
    for number in 0..1000 {
        assert_eq!(witness.message(), (3, number.to_string()));
    }
    let mut quiet = Reader::new(&places.there);
    let _seen = quiet.read("quiet", 4);
    writer.publish("quiet", "hello");
    assert_eq!(quiet.message().0, 4, "when it has come here it has come there");
    // All it may hold, one gap, and its neighbour's message unharmed.
    for number in 0..100 {
        assert_eq!(reader.message(), (2, number.to_string()));
    }
    assert_eq!(reader.event(), (2, What::Gap(Gap::Lagging)));
    assert_eq!(reader.message(), (1, "hello".to_owned()));
    writer.publish("loud", "after the gap");
    assert_eq!(reader.message(), (2, "after the gap".to_owned()));
}

pub fn many_writers(places: &Places) {
    const EACH: usize = 500;
    let mut reader = Reader::new(&places.there);
    let _reading = reader.read("town", 0);
    let threads: Vec<_> = (0..4)
        .map(|who: usize| {
            let bus = if who.is_multiple_of(2) { places.here.clone() } else { places.there.clone() };
            madang_host::thread::start("writer", move || {
                let (handle, _mailbox) = bus.open(Limits::default());
                let topic = handle.topic("town").unwrap();
                for first in (0..EACH).step_by(10) {
                    let mut batch = handle.batch();
                    for number in first..first + 10 {
                        batch.publish(&topic, Bytes::from(format!("{who} {number}"))).unwrap();
                    }
                }
            })
            .unwrap()
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..4 * EACH {
        let (_, message) = reader.message();
        let (who, number) = message.split_once(' ').unwrap();
        let next = &mut next[who.parse::<usize>().unwrap()];
        assert_eq!(number, next.to_string(), "{message}");
        *next += 1;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

pub fn refusals(places: &Places) {
    let writer = Reader::new(&places.here);
    check_name(&writer, "", false);
    check_name(&writer, &"x".repeat(NAME_MAX), true);
    check_name(&writer, &"x".repeat(NAME_MAX + 1), false);
    check_name(&writer, "line\nfeed", false);
    let topic = writer.handle.topic("town").unwrap();
    let error = writer.handle.publish(&topic, Bytes::from(vec![0; MESSAGE_MAX + 1])).unwrap_err();
    assert_eq!(error.to_string(), "message of 524289: at most 524288");
    // The largest arrives whole.
    let mut reader = Reader::new(&places.there);
    let _reading = reader.read("town", 0);
    writer.publish("town", &"y".repeat(MESSAGE_MAX));
    assert_eq!(reader.message().1.len(), MESSAGE_MAX);

    #[track_caller]
    fn check_name(reader: &Reader, name: &str, fine: bool) {
        assert_eq!(reader.handle.topic(name).is_ok(), fine, "{name:?}");
    }
}
