//! Bench: appends to a SQLite store, each acknowledged when it is on disk.
//!
//! Question: how many appends a second does one file take from 1, 10 and 100 callers that each wait for their answer
//! before they send the next; and so, what does group commit gain?
//! Expected: 1 caller pays a sync each time; 100 callers share them, at least 10 times as many a second.
#![allow(clippy::unwrap_used)] // a bench may stop at what it did not expect

use divan::Bencher;
use divan::counter::ItemsCount;
use madang_store::Store;
use madang_store::log::{Batch, Key, StreamId};

const APPENDS: usize = 2000;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 10, 100], sample_count = 3, sample_size = 1)]
fn appends_of_128_bytes(bencher: Bencher, callers: usize) {
    run(bencher, callers, |caller, number| {
        let key = Key::new(&caller.to_string(), &number.to_string());
        Batch::one(vec![7; 128], "").keyed(key)
    });
}

#[divan::bench(args = [1, 10, 100], sample_count = 3, sample_size = 1)]
fn appends_that_search_finds(bencher: Bencher, callers: usize) {
    run(bencher, callers, |caller, number| {
        let text = format!("message {number} of {caller}: 내일 회의는 세 시에 시작합니다, see you there");
        Batch::one(vec![7; 64], text).keyed(Key::new(&caller.to_string(), &number.to_string()))
    });
}

fn run(bencher: Bencher, callers: usize, batch: impl Fn(usize, usize) -> Batch + Sync) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut file = 0;
    bencher
        .counter(ItemsCount::new(APPENDS))
        .with_inputs(|| {
            file += 1;
            Store::sqlite(&folder.path().join(format!("{callers}-{file}.db")), None).unwrap()
        })
        .bench_local_values(|store| {
            std::thread::scope(|scope| {
                for caller in 0..callers {
                    let (store, batch) = (&store, &batch);
                    scope.spawn(move || {
                        let room = StreamId::new(&format!("room {}", caller % 10)).unwrap();
                        for number in 0..APPENDS / callers {
                            store.log().append(&room, batch(caller, number)).wait().unwrap();
                        }
                    });
                }
            });
        });
}
