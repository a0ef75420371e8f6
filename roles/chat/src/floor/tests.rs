//! What a worker does for those who take nothing, and for those who are behind. Method: a hub that nobody reads counts what it is asked.

use std::cell::Cell;

use bytes::Bytes;

use super::*;
use crate::event::Event;

/// A face that can be deaf, and counts what it is called for.
#[derive(Default)]
struct Ear {
    deaf: Cell<bool>,
    heard: Cell<u64>,
    flushed: Cell<u64>,
}

impl Face for Ear {
    fn takes(&self) -> bool {
        !self.deaf.get()
    }
    fn published(&self, published: &Published) {
        self.heard.set(self.heard.get() + published.count);
    }
    fn answered(&self, _: u64, _: &Result<Reply, Refusal>) {}
    fn told(&self, _: &Notice) {
        self.heard.set(self.heard.get() + 1);
    }
    fn flush(&self) {
        self.flushed.set(self.flushed.get() + 1);
    }
    fn cut(&self, _: Cut) {}
}

const ROOM: RoomId = RoomId(2);

fn published(first: u64, count: u64) -> Arc<Published> {
    let events: Vec<Event> = Vec::new();
    Arc::new(Published { room: ROOM, name: "hall".into(), first, count, frames: Bytes::new(), events })
}

fn enters(floor: &Rc<Floor>, deaf: bool) -> (Rc<Ear>, Session) {
    let ear = Rc::new(Ear { deaf: Cell::new(deaf), ..Ear::default() });
    let session = floor.enter(Rc::clone(&ear) as Rc<dyn Face>);
    let session_id = session.id();
    let joined = ToWorker::Joined {
        session: session_id,
        room: ROOM,
        tag: None,
        joined: None,
        next: 1,
        end: 1,
        stays: false,
    };
    floor.take(vec![joined]);
    ear.flushed.set(0);
    (ear, session)
}

// Goal: who takes nothing costs nothing until it takes again: no write, no page of the log, whatever is said meanwhile.
#[test]
fn who_takes_nothing_costs_nothing() {
    let (hub, _inbox) = HubLink::new();
    let floor = Floor::new(0, hub, Arc::default());
    let (reader, _reads) = enters(&floor, false);
    let (stalled, session) = enters(&floor, true);
    for first in 1..=1_000 {
        let notice = Arc::new(Notice::Gap { room: "hall".into(), from: 1, to: 2 });
        floor.take(vec![
            ToWorker::Published(published(first, 1)),
            ToWorker::Around { room: ROOM, notice, except: None },
        ]);
    }
    assert_eq!((reader.heard.get(), reader.flushed.get()), (2_000, 1_000));
    assert_eq!((stalled.heard.get(), stalled.flushed.get()), (0, 0), "nothing is offered");
    assert_eq!(floor.hub().waiting(), 0, "no page is read");
    assert_eq!(floor.counts().behind.load(Ordering::Relaxed), 1, "it fell behind once");

    // It has room for one page, and no more: one page is read, and nothing for what is said while it comes.
    stalled.deaf.set(false);
    session.caught_up();
    session.caught_up();
    assert_eq!(floor.hub().waiting(), 1);
    stalled.deaf.set(true);
    let page = ToWorker::Page { session: session.id(), published: published(1, 200), from: 1, end: 1_001 };
    floor.take(vec![page, ToWorker::Published(published(1_001, 1))]);
    assert_eq!((stalled.heard.get(), floor.hub().waiting()), (200, 1));
}

// Goal: whoever is behind in many rooms has one page on its way, of each room in turn; also when it leaves the room of that page.
#[test]
fn one_page_at_a_time_of_each_room_in_turn() {
    let (hub, _inbox) = HubLink::new();
    let floor = Floor::new(0, hub, Arc::default());
    let ear = Rc::new(Ear::default());
    let session = floor.enter(Rc::clone(&ear) as Rc<dyn Face>);
    let id = session.id();
    let joins = [2, 4, 6].map(|room| ToWorker::Joined {
        session: id,
        room: RoomId(room),
        tag: None,
        joined: None,
        next: 1,
        end: 100,
        stays: false,
    });
    floor.take(joins.into());
    assert_eq!((floor.hub().waiting(), reading(&floor, id)), (1, Some((RoomId(2), 1))));
    floor.take(vec![page(id, 2, 1)]);
    assert_eq!((floor.hub().waiting(), reading(&floor, id)), (2, Some((RoomId(4), 1))));
    floor.take(vec![page(id, 2, 1)]);
    assert_eq!(floor.hub().waiting(), 2, "a page that nobody asked for changes nothing");
    floor.take(vec![ToWorker::Left { session: id, room: RoomId(4), notice: None }]);
    assert_eq!((floor.hub().waiting(), reading(&floor, id)), (3, Some((RoomId(6), 1))));
    floor.take(vec![page(id, 4, 1), page(id, 6, 1)]);
    assert_eq!((floor.hub().waiting(), reading(&floor, id)), (4, Some((RoomId(2), 11))));
    assert_eq!(ear.heard.get(), 20, "of the room it left it hears nothing");

    fn page(session: SessionId, room: u64, from: u64) -> ToWorker {
        let published = Published {
            room: RoomId(room),
            name: "hall".into(),
            first: from,
            count: 10,
            frames: Bytes::new(),
            events: Vec::new(),
        };
        ToWorker::Page { session, published: Arc::new(published), from, end: 100 }
    }

    fn reading(floor: &Floor, id: SessionId) -> Option<(RoomId, u64)> {
        slot_of(&mut floor.state.borrow_mut(), id).unwrap().reading
    }
}

// Goal: what is said now does not wait for the pages of a crowd that comes back.
#[tokio::test]
async fn what_is_said_now_goes_before_pages() {
    let (hub, _inbox) = HubLink::new();
    let floor = Floor::new(0, hub, Arc::default());
    let session = floor.enter(Rc::new(Ear::default()));
    let (sender, inbox) = mpsc::channel(8);
    let mut post = Post::new(inbox);
    let pages: Vec<ToWorker> = (0..40)
        .map(|_| ToWorker::Page { session: session.id(), published: published(1, 1), from: 1, end: 2 })
        .collect();
    sender.send(pages).await.unwrap();
    sender.send(vec![ToWorker::Published(published(7, 1))]).await.unwrap();
    assert_eq!(told(post.next().await), (1, 0));
    assert_eq!(told(post.next().await), (0, 16));
    sender.send(vec![ToWorker::Published(published(8, 1))]).await.unwrap();
    assert_eq!(told(post.next().await), (1, 0));
    assert_eq!(told(post.next().await), (0, 16));
    assert_eq!(told(post.next().await), (0, 8));
    drop(sender);
    assert!(post.next().await.is_none());

    /// How much is said now, and how many pages.
    fn told(batch: Option<Vec<ToWorker>>) -> (usize, usize) {
        let batch = batch.unwrap();
        let pages = batch.iter().filter(|one| matches!(one, ToWorker::Page { .. })).count();
        (batch.len() - pages, pages)
    }
}
