//! Bench: publishing to other threads of this machine, the path of every message of a room.
//!
//! Question: what does a publication cost the publisher with 1 and 2 reading threads, and does it depend on how many topics
//! there are (1 to 1,000)? And what does it save to publish 50 messages as one batch? A sample publishes 1,000 messages.
//!
//! Each reader is a thread with a runtime of its own that takes batch after batch. What a publication costs is a lock per
//! reader and, when the reader sleeps, waking it (a write to an eventfd): batches share that.
#![allow(clippy::unwrap_used)] // a bench may stop at what it did not expect

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use madang_bus::mailbox::{Limits, What};
use madang_bus::{Bus, Handle, Topic};

fn main() {
    divan::main();
}

const MESSAGES: usize = 1000;

struct Town {
    writer: Handle,
    topics: Vec<Topic>,
    readers: Vec<JoinHandle<u64>>,
    end: Arc<AtomicBool>,
}

fn town(threads: usize, topics: usize) -> Town {
    let bus = Bus::local();
    let (writer, _) = bus.open(Limits::default());
    let topics: Vec<Topic> = (0..topics).map(|at| writer.topic(&format!("room/{at}")).unwrap()).collect();
    let end = Arc::new(AtomicBool::new(false));
    let readers = (0..threads)
        .map(|_| {
            let (handle, mut mailbox) = bus.open(Limits::default());
            let reading: Vec<_> = topics.iter().map(|topic| handle.subscribe(topic, 0)).collect();
            let end = Arc::clone(&end);
            madang_host::thread::start("reader", move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let (mut events, mut seen) = (Vec::new(), 0);
                    while !end.load(Ordering::Relaxed) {
                        mailbox.next(&mut events).await;
                        seen += events.iter().filter(|event| matches!(event.what, What::Message(_))).count()
                            as u64;
                    }
                    drop(reading);
                    seen
                })
            })
            .unwrap()
        })
        .collect();
    Town { writer, topics, readers, end }
}

impl Town {
    fn close(self) {
        self.end.store(true, Ordering::Relaxed);
        self.writer.publish(&self.topics[0], Bytes::from_static(b"end")).unwrap();
        for reader in self.readers {
            assert!(reader.join().unwrap() > 0, "readers must read, or we time an empty list");
        }
    }
}

#[divan::bench(args = [(1, 1), (1, 100), (1, 1000), (2, 1), (2, 100), (2, 1000)])]
fn one_by_one(bencher: Bencher, (threads, topics): (usize, usize)) {
    let town = town(threads, topics);
    let message = Bytes::from(vec![b'x'; 128]);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for at in 0..MESSAGES {
            town.writer.publish(&town.topics[at % topics], message.clone()).unwrap();
        }
    });
    town.close();
}

#[divan::bench(args = [(1, 1), (1, 100), (1, 1000), (2, 1), (2, 100), (2, 1000)])]
fn batches_of_50(bencher: Bencher, (threads, topics): (usize, usize)) {
    let town = town(threads, topics);
    let message = Bytes::from(vec![b'x'; 128]);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for first in (0..MESSAGES).step_by(50) {
            let mut batch = town.writer.batch();
            for at in first..first + 50 {
                batch.publish(&town.topics[at % topics], message.clone()).unwrap();
            }
        }
    });
    town.close();
}
