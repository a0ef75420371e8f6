//! What machines with the same logins tell each other: that something was revoked, and tries at passwords.
//!
//! **Job.** Say on the bus that there is something new in the store's list of revocations, and look at the list when another machine says
//! so; tell what happened to passwords here, and have counted what happened elsewhere. **Run by** `logins`. **Calls** the bus,
//! `madang_identity`.
//!
//! Invariants
//! 1. What is revoked is read from the store, never from the bus: whoever can publish there can at most make us look.
//! 2. What waits to be told is bounded.
//!
//! Not here: looking every two seconds, for machines without a bus and for what it loses (`engine/identity/src/keep.rs`).

use bytes::{Bytes, BytesMut};
use madang_bus::Bus;
use madang_bus::mailbox::{Limits, What};
use madang_identity::{Identity, TryNews};
use tokio::sync::mpsc;

const REVOKED: (&str, u64) = ("identity/revoked", 0);
const TRIES: (&str, u64) = ("identity/tries", 1);
/// Tries that wait to be told.
const TRIES_MAX: usize = 1024;

/// Tells and hears, for ever.
pub async fn share(identity: Identity, bus: Bus) {
    let (handle, mut mailbox) = bus.open(Limits::default());
    // It lives as long as its owner wants: it is not to be kept open from here.
    drop(bus);
    let (Ok(revoked), Ok(tried)) = (handle.topic(REVOKED.0), handle.topic(TRIES.0)) else { return };
    let _hearing = [handle.subscribe(&revoked, REVOKED.1), handle.subscribe(&tried, TRIES.1)];
    let mut written = identity.written();
    let (to, mut tries) = mpsc::channel::<TryNews>(TRIES_MAX);
    identity.tell_tries(to);
    let mut events = Vec::new();
    loop {
        tokio::select! {
            told = written.changed() => {
                if told.is_err() {
                    return;
                }
                // Others look by themselves at what is not told them now.
                let _ = handle.publish(&revoked, Bytes::new());
            }
            Some(first) = tries.recv() => {
                let mut all = BytesMut::from(first.as_ref());
                while let Ok(more) = tries.try_recv() {
                    all.extend_from_slice(more.as_ref());
                }
                let _ = handle.publish(&tried, all.freeze());
            }
            () = mailbox.next(&mut events) => {
                let mut is_news = false;
                for event in events.drain(..) {
                    match event.what {
                        What::Message(bytes) if event.tag == TRIES.1 => identity.hear_tries(&bytes),
                        // News, or perhaps some that were missed: the same look.
                        _ => is_news |= event.tag == REVOKED.1,
                    }
                }
                if is_news {
                    // `keep` tells of a store that is away.
                    let _ = identity.look().await;
                }
            }
        }
    }
}
