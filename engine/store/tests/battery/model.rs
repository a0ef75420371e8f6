//! A log against a model in memory.
//!
//! Goal: any sequence of appends, retries, changes, trims and reads gives what a plain list would give.
//! Method: sequences from a seed; after each step the answer is compared, at the end the whole log.

use std::collections::HashMap;

use bytes::Bytes;
use madang_host::draws::Draws;
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::log::{Batch, Change, Entry, History, Keep, Key, NewEntry, Read, StreamId};

const SEEDS: u64 = 6;
const STEPS: usize = 150;

#[derive(Default)]
struct Model {
    epoch: u64,
    first: u64,
    next: u64,
    entries: Vec<(u64, String, u32, bool)>,
    sent: HashMap<u64, u64>,
}

pub fn a_log_behaves_as_its_model(store: &Store) {
    for seed in 0..SEEDS {
        let stream = StreamId::new(&format!("model/{seed}")).unwrap();
        let mut model = Model { first: 1, next: 1, ..Model::default() };
        let mut draws = Draws::new(seed);
        for step in 0..STEPS {
            let at = format!("seed {seed} step {step}");
            match draws.below(10) {
                0..=4 => append(store, &stream, &mut model, &mut draws, step, &at),
                5..=6 => change(store, &stream, &mut model, &mut draws, step, &at),
                7 => trim(store, &stream, &mut model, &mut draws),
                _ => read(store, &stream, &model, &mut draws, &at),
            }
        }
        if model.epoch > 0 {
            let History::Page(page) = store.log().read(&stream, Read::from(0)).wait().unwrap() else {
                panic!()
            };
            assert_eq!(seen(&page.entries), model.entries, "seed {seed}");
            assert_eq!(
                page.position.bytes,
                model.entries.iter().map(|one| one.1.len() as u64 * 2).sum::<u64>()
            );
        }
    }
}

fn seen(entries: &[Entry]) -> Vec<(u64, String, u32, bool)> {
    entries.iter().map(|one| (one.offset, one.text.clone(), one.edits, one.removed)).collect()
}

fn new_entry(text: String) -> NewEntry {
    NewEntry { data: Bytes::from(text.clone()), text }
}

fn append(store: &Store, stream: &StreamId, model: &mut Model, draws: &mut Draws, step: usize, at: &str) {
    let count = 1 + draws.below(4);
    let nonce = draws.below(30);
    let entries = (0..count).map(|one| new_entry(format!("step {step} 말 {one}"))).collect::<Vec<_>>();
    let keyed = draws.below(2) == 0;
    let expect = (draws.below(4) == 0).then(|| model.next + draws.below(2));
    let key = keyed.then(|| Key::new("model", &nonce.to_string()));
    let told = store.log().append(stream, Batch { entries: entries.clone(), key, expect }).wait();
    if let Some(first) = model.sent.get(&nonce).filter(|_| keyed) {
        let told = told.unwrap();
        assert_eq!((told.first, told.duplicate, told.epoch), (*first, true, model.epoch), "{at}");
        return;
    }
    if expect.is_some_and(|expect| expect != model.next) {
        assert_eq!(told, Err(StoreError::Moved { epoch: model.epoch, next: model.next }), "{at}");
        return;
    }
    let told = told.unwrap();
    assert_eq!((told.first, told.count, told.duplicate), (model.next, count, false), "{at}");
    model.epoch = told.epoch;
    if keyed {
        model.sent.insert(nonce, told.first);
    }
    for entry in entries {
        model.entries.push((model.next, entry.text, 0, false));
        model.next += 1;
    }
}

fn change(store: &Store, stream: &StreamId, model: &mut Model, draws: &mut Draws, step: usize, at: &str) {
    let offset = draws.below(model.next + 2);
    let remove = draws.below(2) == 0;
    let text = format!("changed {step}");
    let change = if remove { Change::Remove } else { Change::Edit(new_entry(text.clone())) };
    let told = store.log().change(stream, offset, change).wait();
    match model.entries.iter_mut().find(|one| one.0 == offset) {
        Some(one) if !one.3 => {
            one.2 += 1;
            (one.1, one.3) = if remove { (String::new(), true) } else { (text, false) };
            assert_eq!(seen(&[told.unwrap()])[0], *one, "{at}");
        }
        Some(one) if remove => assert_eq!(seen(&[told.unwrap()])[0], *one, "{at}"),
        _ => assert_eq!(told.unwrap_err().name(), "missing", "{at}"),
    }
}

fn trim(store: &Store, stream: &StreamId, model: &mut Model, draws: &mut Draws) {
    let keep = draws.below(60);
    let told = store.log().trim(stream, Keep { entries_max: Some(keep), ..Keep::default() }).wait();
    if model.epoch > 0 {
        model.first = model.first.max(model.next.saturating_sub(keep));
        model.entries.retain(|one| one.0 >= model.first);
        assert_eq!(told.unwrap().first, model.first);
    }
}

fn read(store: &Store, stream: &StreamId, model: &Model, draws: &mut Draws, at: &str) {
    let (offset, most) = (draws.below(model.next + 2), 1 + draws.below(20));
    let most = usize::try_from(most).unwrap();
    let backwards = draws.below(2) == 0;
    let read =
        if backwards { Read::before(offset, most) } else { Read::after(model.epoch, offset).entries(most) };
    match store.log().read(stream, read).wait().unwrap() {
        History::NoStream => assert_eq!(model.epoch, 0, "{at}"),
        History::TooOld(place) => {
            assert!(!backwards && offset + 1 < model.first, "{at}");
            assert_eq!((place.first, place.next), (model.first, model.next), "{at}");
        }
        History::OtherEpoch(_) => assert!(offset >= model.next, "{at}"),
        History::Page(page) => {
            let mut want: Vec<_> = if backwards {
                let mut want: Vec<_> =
                    model.entries.iter().rev().filter(|one| one.0 < offset).cloned().collect();
                want.truncate(most);
                want.reverse();
                want
            } else {
                assert!(offset + 1 >= model.first && offset < model.next, "{at}");
                model.entries.iter().filter(|one| one.0 > offset).cloned().collect()
            };
            want.truncate(most);
            assert_eq!(seen(&page.entries), want, "{at}");
        }
    }
}
