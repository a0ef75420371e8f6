//! Tries at passwords, counted here and on the other machines of the house.
//!
//! **Job.** Count what happens here, hand it to whoever can tell other machines, count what they tell. **Called by** `login`, `madang`
//! (the bus). **Calls** `guess`.
//!
//! Invariants
//! 1. No login waits for another machine: what cannot be told at once is not told.
//! 2. News are taken from machines of this house alone, for they name things by its secret; what else comes counts nothing that anybody
//!    could mean.
//!
//! Not here: how long a guesser waits (`guess`), carrying (`madang`).

use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::guess::{Guesses, NEWS_BYTES, News, Pair, Try};
use crate::identity::Identity;

/// What other machines have to count, as bytes: several may stand one behind another.
#[derive(Clone, Copy)]
pub struct TryNews([u8; NEWS_BYTES]);

impl AsRef<[u8]> for TryNews {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for TryNews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TryNews")
    }
}

impl Identity {
    /// What happens to passwords here is told there from now on; what finds no room is not.
    pub fn tell_tries(&self, to: mpsc::Sender<TryNews>) {
        *self.0.tries.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
    }

    /// Counts what another machine told. Bytes that are no news count nothing.
    pub fn hear_tries(&self, bytes: &[u8]) {
        let now_ms = self.now_ms();
        let mut guesses = self.guesses();
        let (all, _) = bytes.as_chunks::<NEWS_BYTES>();
        for news in all.iter().filter_map(News::from_bytes) {
            guesses.heard(news, now_ms);
        }
    }

    pub(crate) fn try_begun(&self, name_key: &str, from: IpAddr) -> Result<Try, Duration> {
        let pair = Pair::of(self.0.signer.tries(), name_key, from);
        let tried = self.guesses().begin(pair, self.now_ms())?;
        self.tell(tried.begun());
        Ok(tried)
    }

    pub(crate) fn try_right(&self, tried: Try) {
        let news = self.guesses().right(tried, self.now_ms());
        self.tell(news);
    }

    pub(crate) fn try_unseen(&self, tried: Try) {
        let news = self.guesses().unseen(tried, self.now_ms());
        self.tell(news);
    }

    fn tell(&self, news: News) {
        if let Some(to) = &*self.0.tries.lock().unwrap_or_else(PoisonError::into_inner) {
            // A machine that does not hear of one try counts one less.
            let _ = to.try_send(TryNews(news.to_bytes()));
        }
    }

    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.0.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
