//! Connections to PostgreSQL.
//!
//! **Job.** Connect with TLS where the way leads over a network, set the session up, try again with growing pauses.
//! **Called by** `lane`, `readers`, `postgres`. **Calls** tokio-postgres.
//!
//! Invariants
//! 1. A password travels over the network only inside TLS with a verified certificate, unless the address says
//!    `sslmode=disable`.
//! 2. What is committed is on the server's disk: `synchronous_commit` is never `off` in a session of ours.
//!
//! Not here: what is said over them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::draws::Draws;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::fault;
use super::tls::Tls;
use crate::error::StoreError;

/// One attempt may take so long.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest pause between attempts; the first is a fiftieth of it.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Statements prepared on one connection; more are prepared anew.
const STATEMENTS_MAX: usize = 500;

/// How to reach the database.
#[derive(Clone)]
pub(crate) struct Way {
    pub(super) config: Config,
    /// `None`: the way does not leave this machine, or the address says so.
    pub(super) tls: Option<Tls>,
}

/// One connection, its session set up.
pub(crate) struct Connected {
    pub(crate) client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

impl Way {
    /// From an address as people write it.
    pub(crate) fn of(address: &str, ca: Option<&std::path::Path>) -> Result<Self, StoreError> {
        let fail = |why: String| StoreError::Failed { why };
        let mut config: Config =
            address.parse().map_err(|error: tokio_postgres::Error| fail(fault::told(&error)))?;
        config
            .connect_timeout(CONNECT_MAX)
            .application_name("madang")
            .keepalives_idle(Duration::from_secs(30));
        config.tcp_user_timeout(Duration::from_secs(15));
        let near = |host: &Host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        };
        let stays_here = config.get_hosts().iter().all(near);
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            SslMode::Require => Some(Tls::new(ca)?),
            _ if stays_here && ca.is_none() => None,
            _ => Some(Tls::new(ca)?),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(Self { config, tls })
    }

    /// One attempt.
    pub(crate) async fn connect(&self, session: &str) -> Result<Connected, StoreError> {
        let unreachable = |error: &tokio_postgres::Error| match fault::meaning(error) {
            StoreError::Failed { why } => StoreError::Unreachable { why },
            other => other,
        };
        let client = match &self.tls {
            None => {
                let (client, connection) =
                    self.config.connect(NoTls).await.map_err(|error| unreachable(&error))?;
                tokio::spawn(connection);
                client
            }
            Some(tls) => {
                let (client, connection) =
                    self.config.connect(tls.clone()).await.map_err(|error| unreachable(&error))?;
                tokio::spawn(connection);
                client
            }
        };
        // Only `off` would answer before anything is on a disk; stricter settings of the server's stay.
        let durable = "SELECT set_config('synchronous_commit', \
                       CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
                       ELSE current_setting('synchronous_commit') END, false)";
        let set = format!("SET search_path = madang; SET TIME ZONE 'UTC'; {durable}; {session}");
        client.batch_execute(&set).await.map_err(|error| unreachable(&error))?;
        Ok(Connected { client, statements: Mutex::default() })
    }

    /// Tries until it succeeds or the time is up.
    pub(super) async fn connect_until(
        &self,
        session: &str,
        until: Instant,
        draws: &mut Draws,
    ) -> Result<Connected, StoreError> {
        let mut pause = PAUSE_MAX / 50;
        loop {
            match self.connect(session).await {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    let wait = draws.around(pause);
                    if clock::now() + wait >= until {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

impl Connected {
    /// A statement, prepared once on this connection.
    pub(super) async fn prepared(&self, sql: &'static str) -> Result<Statement, tokio_postgres::Error> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if statements.len() < STATEMENTS_MAX {
            statements.insert(sql, statement.clone());
        }
        Ok(statement)
    }
}
