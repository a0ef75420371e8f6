//! The house's telemetry: joins `host::telemetry` with the settings and the roles.
//!
//! **Job.** One handle for the control side, one per worker; records of requests become counts and lines here.
//! **Called by** `house` (workers), `run`. **Calls** `host::telemetry`.
//!
//! Invariants
//! 1. A worker's lines wait in its own buffer until the sweep or 32 KiB; then they go to the writer or are counted as dropped.
//!
//! Not here: forms (`host::telemetry::access`), files (`host::telemetry::writer`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use madang_balance::stream::end::{Ended, StreamObserver};
use madang_host::clock;
use madang_host::config::{AccessForm, Level, LogSettings, Server};
use madang_host::connection::Connection;
use madang_host::gate::Refusal;
use madang_host::telemetry::access::Record;
use madang_host::telemetry::error_log::{ACCESS_LOG, Log};
use madang_host::telemetry::metrics::{Metrics, SiteBlock, WorkerBlock};
use madang_host::telemetry::rotate::Rotation;
use madang_host::telemetry::stream_access::StreamRecord;
use madang_host::telemetry::streams::StreamBlock;
use madang_host::telemetry::writer::{LogSender, Target};
use madang_host::worker::{AcceptObserver, Worker};
use madang_http::exchange::{Exchange, Outcome};
use madang_web::verdict::{Blame, Failure};

const BUFFER_BYTES: usize = 32 * 1024;

/// The control side's handle.
pub struct Telemetry {
    /// Counters of everything.
    pub metrics: Metrics,
    /// The error log.
    pub log: Log,
    sender: LogSender,
    access: Arc<RwLock<Access>>,
}

/// What of the settings the workers need.
#[derive(Debug, Clone, Copy)]
struct Access {
    form: AccessForm,
    colour: bool,
    slow: Duration,
}

impl Telemetry {
    /// Starts the writer.
    pub fn start(log: &LogSettings, server: &Server) -> io::Result<Arc<Self>> {
        let sender = LogSender::start(targets(log, server))?;
        let errors = Log::new(sender.clone(), log.level);
        errors.set_json(log.errors_json);
        Ok(Arc::new(Self {
            metrics: Metrics::default(),
            log: errors,
            access: Arc::new(RwLock::new(access(log))),
            sender,
        }))
    }

    /// New settings.
    pub fn reload(&self, log: &LogSettings, server: &Server, old: &LogSettings) {
        self.log.set_level(log.level);
        self.log.set_json(log.errors_json);
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = access(log);
        if log != old {
            self.sender.retarget(targets(log, server));
        }
    }

    /// Opens log files anew.
    pub fn reopen(&self) {
        self.sender.reopen();
    }

    /// Everything told so far reaches its file.
    pub fn flush(&self) {
        self.sender.flush(Duration::from_secs(2));
    }

    /// What a worker takes along to its thread.
    pub fn worker(self: &Arc<Self>) -> Seed {
        Seed { telemetry: Arc::clone(self), block: self.metrics.worker() }
    }
}

/// Before the worker's thread runs.
pub struct Seed {
    telemetry: Arc<Telemetry>,
    block: Arc<WorkerBlock>,
}

impl Seed {
    /// On the worker's thread.
    pub fn here(self, worker: &Rc<Worker>) -> Rc<WorkerTelemetry> {
        let access = *self.telemetry.access.read().unwrap_or_else(PoisonError::into_inner);
        let this = Rc::new(WorkerTelemetry {
            access: Cell::new(access),
            telemetry: self.telemetry,
            block: self.block,
            buffer: RefCell::new(Vec::new()),
            lines: Cell::new(0),
            sites: RefCell::default(),
        });
        let at_sweep = Rc::clone(&this);
        worker.at_sweep(Rc::new(move || at_sweep.sweep()));
        this
    }
}

/// One worker's handle.
pub struct WorkerTelemetry {
    telemetry: Arc<Telemetry>,
    block: Arc<WorkerBlock>,
    access: Cell<Access>,
    buffer: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    sites: RefCell<HashMap<Rc<str>, Arc<SiteBlock>>>,
}

impl WorkerTelemetry {
    fn sweep(&self) {
        self.access.set(*self.telemetry.access.read().unwrap_or_else(PoisonError::into_inner));
        self.flush();
    }

    /// Hands buffered lines to the writer.
    pub fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut *buffer);
        let count = self.lines.replace(0);
        if !self.telemetry.sender.send(ACCESS_LOG, lines) {
            self.block.lines_dropped.add(count);
        }
    }

    /// One more line waits.
    fn line_written(&self) {
        self.lines.set(self.lines.get() + 1);
        if self.buffer.borrow().len() > BUFFER_BYTES {
            self.flush();
        }
    }

    fn site(&self, name: &Rc<str>) -> Arc<SiteBlock> {
        if let Some(block) = self.sites.borrow().get(name) {
            return Arc::clone(block);
        }
        let block = self.block.site(name);
        self.sites.borrow_mut().insert(Rc::clone(name), Arc::clone(&block));
        block
    }
}

impl madang_web::Recorder for WorkerTelemetry {
    fn record(&self, exchange: &Exchange, outcome: Outcome) {
        let duration = exchange.started.elapsed();
        let status = exchange.response.status;
        match &exchange.notes.site {
            Some(site) => self.site(site).record(
                status,
                exchange.head.version(),
                duration,
                outcome.bytes_in,
                outcome.bytes_out,
            ),
            None => self.block.refused(exchange.notes.error.unwrap_or("no-site")),
        }
        if let Some(limit) = exchange.notes.limit {
            self.block.limited(limit);
        }
        let access = self.access.get();
        // The client got the beginning of a good answer and not its end: nobody hears of it but from here.
        let broken = status < 400 && !outcome.complete && exchange.notes.error.is_some();
        let told = status >= 500 || duration > access.slow || broken;
        if access.form == AccessForm::Off && !told {
            return;
        }
        let head = &exchange.head;
        if told {
            let what = match (status, broken) {
                (500.., _) => "request-failed",
                (_, true) => "answer-broken",
                _ => "request-slow",
            };
            let detail = format!(
                "{} {} {} answered {status} after {:.1} s{}",
                exchange.connection.peer().ip(),
                head.method_str(),
                head.target(),
                duration.as_secs_f64(),
                exchange.notes.error.map(|error| format!(" ({error})")).unwrap_or_default(),
            );
            self.telemetry.log.tell(if status >= 500 { Level::Error } else { Level::Warn }, what, &detail);
        }
        if access.form == AccessForm::Off {
            return;
        }
        let record = Record {
            at: clock::wall(),
            peer: exchange.connection.peer().ip(),
            user: exchange.notes.user.as_deref(),
            method: head.method_str(),
            host: head.host(),
            target: head.target(),
            protocol: head.version().as_str(),
            status,
            bytes_in: outcome.bytes_in,
            bytes_out: outcome.bytes_out,
            duration,
            complete: outcome.complete,
            referer: head.get("referer"),
            user_agent: head.get("user-agent"),
            site: exchange.notes.site.as_deref().unwrap_or("-"),
            route: exchange.notes.route,
            request_id: exchange.notes.request_id.as_deref(),
            error: exchange.notes.error,
            upstream: exchange.notes.upstream.as_deref(),
        };
        record.write(access.form, access.colour, &mut self.buffer.borrow_mut());
        self.line_written();
    }

    fn refused(&self, connection: &Connection, status: u16, what: &'static str) {
        self.block.refused(what);
        if status != 0 {
            let detail = format!("{} got {status}: {what}", connection.peer().ip());
            self.telemetry.log.tell(Level::Info, "request-refused", &detail);
        }
    }

    fn failed(&self, exchange: &Exchange, failure: &Failure) {
        // What went wrong behind us is the operator's to repair too; the load that a limit refuses is not.
        if matches!(failure.blame, Blame::Us | Blame::Operator | Blame::Upstream) {
            let detail = format!("{} {}: {failure}", exchange.head.method_str(), exchange.head.target());
            self.telemetry.log.tell(Level::Error, failure.name, &detail);
        }
    }

    fn trouble(&self, what: &'static str, detail: &str) {
        self.telemetry.log.tell(Level::Error, what, detail);
    }

    fn secured(&self, connection: &Connection) {
        if let Some(tls) = connection.tls() {
            self.block.handshake(tls.version, tls.resumed);
        }
    }
}

impl StreamObserver for WorkerTelemetry {
    fn block(&self, stream: &str) -> Arc<StreamBlock> {
        self.block.stream(stream)
    }

    fn secured(&self, connection: &Connection) {
        madang_web::Recorder::secured(self, connection);
    }

    fn ended(&self, ended: &Ended<'_>) {
        let Ended { stream, client, protocol, name, server, end, bytes, took } = *ended;
        if let Some(what) = end.warning() {
            let server = server.map(|server| format!(" to {server}")).unwrap_or_default();
            self.telemetry.log.tell(
                Level::Warn,
                what,
                &format!("{} on {stream}{server}: {end}", client.ip()),
            );
        }
        let access = self.access.get();
        if access.form == AccessForm::Off {
            return;
        }
        let record = StreamRecord {
            at: clock::wall(),
            peer: client.ip(),
            protocol,
            stream,
            name,
            server,
            status: end.status(),
            end: end.name(),
            bytes_in: bytes.0,
            bytes_out: bytes.1,
            duration: took,
        };
        record.write(access.form, access.colour, &mut self.buffer.borrow_mut());
        self.line_written();
    }
}

impl madang_chat::listen::Porter for WorkerTelemetry {
    fn secured(&self, connection: &Connection) {
        madang_web::Recorder::secured(self, connection);
    }
    fn refused(&self, _: &Connection, what: &'static str) {
        self.block.refused(what);
    }
}

impl AcceptObserver for WorkerTelemetry {
    fn accepted(&self, listener: &str) {
        self.block.accepted(listener);
    }
    fn refused(&self, listener: &str, peer: Option<SocketAddr>, why: Refusal) {
        self.block.limited(why.name());
        let who = peer.map_or_else(|| "a local program".to_owned(), |peer| peer.ip().to_string());
        self.telemetry.log.tell(Level::Warn, "connection-refused", &format!("{who} on {listener}: {why}"));
    }
    fn failed(&self, listener: &str, error: &io::Error) {
        self.block.refused("accept-failed");
        self.telemetry.log.tell(
            Level::Error,
            "accept-failed",
            &format!("{listener}: {error}; accepting goes on as soon as it can"),
        );
    }
}

fn access(log: &LogSettings) -> Access {
    let to_terminal =
        log.access_file.as_deref().is_some_and(|path| path.as_os_str() == "-") && io::stdout().is_terminal();
    let colour = to_terminal && std::env::var_os("NO_COLOR").is_none();
    Access { form: log.access, colour, slow: log.slow }
}

fn targets(log: &LogSettings, server: &Server) -> Vec<Target> {
    let rotation =
        Rotation { size: log.rotate_size, age: log.rotate_age, keep: log.keep, bytes_max: log.bytes_max };
    let file = |path: PathBuf| Target::File(path, rotation);
    let error = log.error_file.clone().map_or(Target::Stderr, file);
    let access = match &log.access_file {
        _ if log.access == AccessForm::Off => Target::Off,
        Some(path) if path.as_os_str() == "-" => Target::Stdout,
        Some(path) => file(path.clone()),
        None => file(server.data.join("logs/access.log")),
    };
    vec![error, access]
}
