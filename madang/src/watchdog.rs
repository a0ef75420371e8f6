//! Telling the service manager that the house turns, only when it does.
//!
//! **Job.** As often as the manager asks, have every worker take a turn, and then say so. **Called by** `run`.
//! **Calls** `host::notify`, the workers' pulses.
//!
//! Invariants
//! 1. A worker that hangs silences the watchdog: the manager then restarts the server.
//!
//! Not here: what a worker does in its turn.

use std::rc::Rc;

use madang_host::notify::Notifier;
use madang_host::worker::Pulse;

/// Begins, if the manager watches; ends with the runtime.
pub fn start<S: 'static>(notifier: &Rc<Notifier>, pulses: Vec<Pulse<S>>) {
    let Some(every) = notifier.alive_every() else { return };
    let notifier = Rc::clone(notifier);
    tokio::task::spawn_local(async move {
        let mut turn = tokio::time::interval(every);
        loop {
            turn.tick().await;
            for pulse in &pulses {
                if !pulse.beat().await {
                    return;
                }
            }
            // Lost: the next one says the same.
            let _ = notifier.alive();
        }
    });
}
