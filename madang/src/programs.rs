//! Apps with a program for each connection, joined to streams.
//!
//! **Job.** Make the pool whose one server is such an app, and give workers their way to its programs. **Called by** `apps`,
//! `house`, `room`. **Calls** `supervise::keeper`, `balance::stream`.
//!
//! Not here: starting programs (`roles/supervise`), passing bytes (`roles/balance`).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use madang_balance::config::{Address, Place, PoolSettings, Protocol, ServerSettings};
use madang_balance::stream::program::{Bond, Program, Programs};
use madang_host::connection::Ends;
use madang_host::net::stream::Plain;
use madang_supervise::config::PerConnection;
use madang_supervise::keeper::Caller;

/// How long starting one may take, behind others that are being started.
const START_WITHIN: Duration = Duration::from_secs(30);

/// The pool of such an app.
pub fn pool(name: &str, settings: &PerConnection) -> PoolSettings {
    let address = Address { protocol: Protocol::Http, place: Place::Program(name.into()) };
    let server =
        ServerSettings { max_connections: settings.connections_max, ..ServerSettings::plain(address) };
    let mut pool = PoolSettings::of(name, vec![server]);
    pool.queue.length = settings.queue_length;
    pool.queue.wait = settings.queue_wait;
    pool.timeouts.connect = START_WITHIN;
    pool.retry.attempts = 1;
    // One that cannot be started now may be startable in a moment, and nobody else could serve instead.
    pool.passive.failures = 0;
    pool.passive.success_rate = 0;
    pool.panic_below = 0;
    pool
}

/// A worker's way to programs.
pub struct ToApps(pub Caller);

impl Programs for ToApps {
    fn open(&self, app: Arc<str>, ends: Ends) -> Pin<Box<dyn Future<Output = io::Result<Program>>>> {
        let caller = self.0.clone();
        Box::pin(async move {
            let lent = caller.call(app, ends).await?;
            let socket = tokio::net::UnixStream::from_std(lent.socket)?;
            let bond = Bond { ended: lent.ended, held: lent.held, gone: false };
            Ok(Program { socket: Plain::Unix(socket), bond })
        })
    }
}
