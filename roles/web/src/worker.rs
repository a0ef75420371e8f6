//! The web role on one worker: what its listeners' sites share there.
//!
//! **Job.** Hold caches and the way to the record; make a service for the sites of a listener.
//! **Made by** `madang` (room). **Calls** `files`, `web`.
//!
//! Not here: the pipeline.

use std::rc::Rc;
use std::sync::Arc;

use ipnet::IpNet;
use madang_host::config::{Limits, Listen};
use madang_host::connection::Connection;
use madang_host::worker::Worker;
use madang_http::exchange::{Exchange, Outcome, Reply, Service};

use crate::config::{Action, Site};
use crate::files::{CacheLimits, Caches, Files, FilesOptions};
use crate::verdict::Verdict;

/// Who is told about answered and refused requests.
pub trait Recorder {
    /// Once per answered request.
    fn record(&self, exchange: &Exchange, outcome: Outcome);
    /// Once per connection or request that was refused before it became an exchange.
    fn refused(&self, connection: &Connection, status: u16, what: &'static str);
    /// Once per TLS handshake.
    fn secured(&self, connection: &Connection);
}

/// What all workers share: limits that hold for the machine.
pub struct WebShared {}

impl WebShared {
    /// Nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {})
    }
}

/// One worker's part of the role.
pub struct WebWorker {
    caches: Rc<Caches>,
    recorder: Rc<dyn Recorder>,
}

impl WebWorker {
    /// Empty caches.
    pub fn new(
        worker: &Rc<Worker>,
        limits: &Limits,
        _: Vec<IpNet>,
        _: Arc<WebShared>,
        recorder: Rc<dyn Recorder>,
    ) -> Rc<Self> {
        let clock = Rc::clone(worker);
        let caches = Caches::new(
            CacheLimits {
                entries_max: limits.open_files_max,
                bytes_max: limits.file_cache_bytes,
                compressed_bytes_max: limits.compressed_cache_bytes,
            },
            move || clock.clock.ms(),
        );
        Rc::new(Self { caches, recorder })
    }

    /// New limits.
    pub fn set_limits(&self, _: &Limits) {}

    /// The service of a listener.
    pub fn serve(&self, _: &Listen, sites: &[Arc<Site>]) -> Rc<dyn Service> {
        let site = Arc::clone(&sites[0]);
        let files = site.routes.iter().find_map(|route| match &route.action {
            Action::Files(files) => Files::new(FilesOptions::from(files), &self.caches).ok(),
            _ => None,
        });
        Rc::new(First { files, site: site.name.as_ref().into(), recorder: Rc::clone(&self.recorder) })
    }
}

struct First {
    files: Option<Files>,
    site: Rc<str>,
    recorder: Rc<dyn Recorder>,
}

impl Service for First {
    fn call(&self, mut exchange: Box<Exchange>) -> Reply {
        exchange.notes.site = Some(Rc::clone(&self.site));
        let Some(files) = &self.files else { return Reply::Now(exchange) };
        match files.answer_from(&mut exchange, 0) {
            Verdict::Wait(resume) => Reply::Later(Box::pin(async move { resume(exchange).await.0 })),
            Verdict::Fail(failure) => {
                exchange.response.text(failure.status, format!("{} {}\n", failure.status, failure.name));
                Reply::Now(exchange)
            }
            Verdict::Next | Verdict::Answer => Reply::Now(exchange),
        }
    }
    fn record(&self, exchange: &Exchange, outcome: Outcome) {
        self.recorder.record(exchange, outcome);
    }
    fn refused(&self, connection: &Connection, status: u16, what: &'static str) {
        self.recorder.refused(connection, status, what);
    }
    fn secured(&self, connection: &Connection) {
        self.recorder.secured(connection);
    }
}

/// An argon2id hash (RFC 9106) of a password as a PHC string.
pub fn hash_password(_: &str) -> Result<String, String> {
    Err("in work".to_owned())
}
