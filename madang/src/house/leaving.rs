//! How a server leaves: first nobody new comes, then whoever is there is served, then whoever stays too long is cut.
//!
//! **Job.** Stop accepting, drain, cut. **Called by** `run`. **Calls** the workers.
//!
//! Invariants
//! 1. Whoever stood in a queue when accepting stopped is served: closing the socket would reset them.
//! 2. Drain is counted, never slept: connections and sessions of UDP alike.
//!
//! Not here: the chats, whose clients are asked to leave before the drain (`run`), apps (`run`).

use std::time::Duration;

use super::House;

/// How long connections that were cut have to notice.
const CUT_WITHIN: Duration = Duration::from_secs(1);

impl House {
    /// Stops accepting, once whoever is in a queue was accepted. Who comes now is another process's, if it has the sockets.
    pub async fn stop_accepting(&mut self) {
        let mut queues = Vec::new();
        for worker in &self.workers {
            // A worker that is gone accepts nothing.
            let stopping = worker.ask(|_, room| room.stop_accepting()).await.unwrap_or_default();
            queues.extend(stopping.queues);
            self.sessions.extend(stopping.sessions);
        }
        for served in queues {
            let _ = served.await;
        }
    }

    /// Stops accepting and lets every open request end; cuts what is left after `deadline`. True when nothing was cut.
    pub async fn drain(&mut self, idle_too: bool, deadline: Duration) -> bool {
        // Whoever still was in a queue has to be counted below.
        self.stop_accepting().await;
        for over in std::mem::take(&mut self.sessions) {
            let _ = over.await;
        }
        let clean = tokio::time::timeout(deadline, self.drained(idle_too)).await.is_ok();
        if !clean {
            for worker in &self.workers {
                let _ = worker.cut_all().await;
            }
            let _ = tokio::time::timeout(CUT_WITHIN, self.drained(true)).await;
        }
        for worker in &self.workers {
            let _ = worker.ask(|_, room| room.flush()).await;
        }
        clean
    }

    /// Has all workers drain at once and waits for the last.
    async fn drained(&self, idle_too: bool) {
        let mut waits = Vec::new();
        for worker in &self.workers {
            // A worker that is gone has no connections.
            waits.extend(worker.drain(idle_too).await);
        }
        for empty in waits {
            // Likewise.
            let _ = empty.await;
        }
    }
}
