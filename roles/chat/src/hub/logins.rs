//! Logins that end while their connections are open.
//!
//! **Job.** End the connections of a user who was logged out everywhere, disabled or removed, or whose session or key was taken back.
//! **Run by** `hub`, as long as it lives. **Calls** the directory of users, the logins that connections came by.
//!
//! Invariants
//! 1. From the moment at which it is heard, nothing that such a connection asks is done.
//! 2. Only the connections that came by what was taken back end: others of the same user stay.
//!
//! What it costs: each revocation has every user's connection looked at, which waits for nobody (about 50 ns each); those that come
//! while it looks are looked for together.
//!
//! Not here: hearing of it (`engine/identity`), ending a connection ([`crate::floor::Face::cut`]).

use std::rc::Rc;

use super::Hub;
use super::state::State;
use crate::floor::Cut;
use crate::login::Held;
use crate::post::{SessionId, ToWorker};

impl Hub {
    /// Hears of revocations. To be spawned.
    pub(super) async fn hear_revoked(self: Rc<Self>) {
        let Some(mut revoked) = self.directory.as_ref().map(|directory| directory.revoked()) else { return };
        while revoked.changed().await.is_ok() {
            let over = self.state.borrow().logins(|login| !login.holds());
            self.end_logins(&over.into_iter().map(|(session, _)| session).collect::<Vec<_>>());
        }
    }

    /// Hears that revocations may have been missed, and asks of each login. To be spawned.
    pub(super) async fn hear_doubts(self: Rc<Self>) {
        let Some(mut doubted) = self.directory.as_ref().map(|directory| directory.doubted()) else { return };
        while doubted.changed().await.is_ok() {
            let all = self.state.borrow().logins(|_| true);
            // One after another: the store has just come back, and everybody wants something of it.
            for (session, login) in all {
                if !login.asked().await {
                    self.end_logins(&[session]);
                }
            }
        }
    }

    fn end_logins(&self, over: &[SessionId]) {
        if over.is_empty() {
            return;
        }
        let mut state = self.state.borrow_mut();
        for session in over {
            state.end_login(*session);
        }
        drop(state);
        self.flush();
    }
}

impl State {
    /// The connections of users whose login is such.
    fn logins(&self, such: impl Fn(&Held) -> bool) -> Vec<(SessionId, Held)> {
        let of = self.sessions.iter().filter_map(|(id, session)| Some((*id, session.login.as_ref()?)));
        of.filter(|(_, login)| such(login)).map(|(id, login)| (id, login.clone())).collect()
    }

    fn end_login(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // Found once: it is gone when its worker has ended it.
        session.login = None;
        session.over = true;
        self.post(id.worker, ToWorker::Cut { session: id, why: Cut::LoggedOut });
    }
}
