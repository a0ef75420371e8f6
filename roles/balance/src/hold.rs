//! Requests that wait for servers instead of failing.
//!
//! **Job.** While a pool is held by the operator, or nobody in it can be reached and it has a `hold` time, let requests wait in
//! bounded number and time. **Called by** `proxy`. **Reads** the pool's settings and wish.
//!
//! Invariants
//! 1. Only requests that no server had wait here.
//! 2. At most `queue.length` wait so, per worker; nobody longer than the hold time in all.
//! 3. A client that leaves makes room: the wait is part of its future.
//!
//! Not here: requests that wait because all servers are full (`here`, by `queue.wait`), who holds (`keeper`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;

use crate::here::Here;
use crate::pool::Pool;
use crate::proxy::Refusal;

/// How long requests of a pool that the operator holds wait, where its settings say nothing.
pub(crate) const HELD_WAIT: Duration = Duration::from_secs(30);
/// How often those who wait look again. Servers come up, and operators release, on another thread that does not tell.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A request that waits, and until when.
pub(crate) struct Hold {
    here: Rc<Here>,
    pool: Arc<Pool>,
    until: Instant,
}

/// Whether requests wait when nobody is up.
pub(crate) fn holds(pool: &Pool) -> bool {
    pool.settings().hold.is_some()
}

/// What a request is told that finds its pool held, when it cannot wait.
pub(crate) fn held(pool: &str) -> Refusal {
    Refusal { status: 503, name: "pool-held", detail: format!("pool {pool}: held by the operator") }
}

/// Waits until it is worth trying again. `hold` is empty before a request's first wait.
///
/// # Errors
/// `why`, where the pool does not hold; `pool-hold-full` and `pool-hold-timeout` where it does.
pub(crate) async fn wait(
    hold: &mut Option<Hold>,
    here: &Rc<Here>,
    pool: &Arc<Pool>,
    why: Refusal,
) -> Result<(), Refusal> {
    let settings = pool.settings();
    let now = clock::now();
    let stand = match hold {
        Some(stand) => stand,
        none => {
            let Some(time) = settings.hold.or_else(|| pool.is_held().then_some(HELD_WAIT)) else {
                return Err(why);
            };
            if here.held().get() >= settings.queue.length {
                pool.tally().hold_refused.up();
                let detail = format!("pool {}: as many wait as queue.length; {}", settings.name, why.detail);
                return Err(Refusal { status: 503, name: "pool-hold-full", detail });
            }
            here.held().set(here.held().get() + 1);
            pool.tally().held.up();
            pool.tally().waiting.up();
            none.insert(Hold { here: Rc::clone(here), pool: Arc::clone(pool), until: now + time })
        }
    };
    if now >= stand.until {
        pool.tally().hold_refused.up();
        let detail = format!("pool {}: the hold time is over; {}", settings.name, why.detail);
        return Err(Refusal { status: 503, name: "pool-hold-timeout", detail });
    }
    // Boxed: a request that never waits must not pay for the timer's room.
    Box::pin(tokio::time::sleep(LOOK_EVERY.min(stand.until - now))).await;
    Ok(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.here.held().set(self.here.held().get() - 1);
        self.pool.tally().waiting.down();
    }
}
