//! `[app.NAME]`: as checked.
//!
//! **Job.** Read apps. An [`AppSettings`] in hand is the proof that its program was found, its files were read and every
//! bound in `keys` holds. **Called by** `madang` (config). **Calls** `settings`, `environment`, `rules`, `schedule`.
//!
//! Not here: what the values do (`restart`, `deploy`, `scale`, `instance`), whether a pool has the same name (`madang`).

mod environment;
mod keys;
mod order;
mod per_connection;
mod program;
mod rules;
mod scale;
mod scaler;

use std::sync::Arc;
use std::time::Duration;

use madang_http::check::{Check, HEALTH, HealthSettings};
use madang_settings::reader::Reader;
use madang_settings::tree::Value;

pub use self::environment::Environment;
pub use self::keys::{APP, DEPLOY, HARDEN, IMAGE, INSTANCES, LIMITS, LOG, RESTART, SCALE, SCALER, STOP};
pub use self::order::check_order;
pub use self::per_connection::{PerConnection, QUEUE};
pub use self::program::{Give, ImageSettings, Limits, Program};
pub use self::rules::{AtMost, DeploySettings, RestartSettings, StopSettings, StopSignal};
pub use self::scale::{ScaleBy, ScaleSettings, Target};
pub use self::scaler::ScalerSettings;
use crate::scale::Rules;
use crate::schedule::Schedule;

/// An app, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // `keys` documents each
pub struct AppSettings {
    pub name: Arc<str>,
    /// What a new version is made of: a difference here is a deploy.
    pub program: Arc<Program>,
    pub kind: Kind,
    /// 0 to 64.
    pub instances_min: u32,
    /// 1 to 64.
    pub instances_max: u32,
    /// Requests open at once at one instance; 0: no limit.
    pub max_connections: u32,
    pub ready: Ready,
    pub health: HealthSettings,
    pub start_within: Duration,
    pub restart: RestartSettings,
    pub stop: StopSettings,
    pub after: Vec<String>,
    pub deploy: DeploySettings,
    pub scale: ScaleSettings,
    /// Bytes.
    pub log_keep: u64,
    /// 2 to 100.
    pub log_files: u32,
    /// Bytes a second.
    pub log_rate: u64,
    /// A program for each connection; `None`: one that takes many, or a job.
    pub per_connection: Option<PerConnection>,
}

/// When it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Always.
    Service,
    /// Once at each start.
    Once,
    /// From the end of one run, so long.
    Every(Duration),
    /// At these times.
    At(Schedule),
}

impl Kind {
    /// Whether it ends by itself and takes no requests.
    pub const fn is_job(&self) -> bool {
        !matches!(self, Self::Service)
    }
}

/// When an instance gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Once its health check passes.
    Health,
    /// Once it has also said so.
    Notify,
    /// It gets none: it is well as long as it runs.
    Running,
}

impl AppSettings {
    /// Reads one app.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Self {
        check_name(r, name);
        let program = Arc::new(Program::read(r));
        let (instances_min, instances_max) = read_instances(r);
        let kind = read_kind(r);
        let scale = r.table_or_default("scale", &SCALE, ScaleSettings::read);
        if r.has("scale") && instances_min == instances_max {
            let help = Some("for example instances = { min = 1, max = 4 }".to_owned());
            r.error("scale", "there is nothing to scale: `instances` is one number", help);
        }
        let max_connections = r.count_u32("max_connections");
        if scale.looks_at(ScaleBy::Queue) && max_connections == 0 {
            let help =
                Some("say how many requests one instance takes at once: max_connections = 8".to_owned());
            r.error("scale", "by \"queue\": nobody ever waits, `max_connections` sets no limit", help);
        }
        if kind.is_job() {
            for key in [
                "instances",
                "max_connections",
                "give",
                "ready",
                "health",
                "deploy",
                "image",
                "scale",
                "start_within",
            ] {
                if r.has(key) {
                    r.error(key, format!("a job takes no requests: `{key}` has no effect on it"), None);
                }
            }
        }
        let health = r.table("health", &HEALTH, HealthSettings::read).flatten();
        if health.as_ref().is_some_and(|health| health.port.is_some()) && program.give == Give::Socket {
            r.error("health", "a unix socket has no port to ask at", None);
        }
        let ready = match r.choice("ready") {
            "notify" => Ready::Notify,
            "running" => Ready::Running,
            _ => Ready::Health,
        };
        if ready == Ready::Running {
            for key in ["give", "health", "scale", "start_within"] {
                if r.has(key) {
                    r.error(
                        key,
                        format!(
                            "ready = \"running\" is for what takes no requests: `{key}` has no effect on it"
                        ),
                        None,
                    );
                }
            }
        }
        let per_connection = PerConnection::read(r);
        let (log_keep, log_files, log_rate) =
            r.table_or_default("log", &LOG, |r| (r.size("keep"), r.count_u32("files"), r.size("rate")));
        Self {
            name: name.into(),
            program,
            kind,
            instances_min,
            instances_max,
            max_connections,
            ready,
            health: health.unwrap_or(CONNECTS),
            start_within: r.duration("start_within"),
            restart: r.table_or_default("restart", &RESTART, RestartSettings::read),
            stop: r.table_or_default("stop", &STOP, StopSettings::read),
            after: r.texts("after"),
            deploy: r.table_or_default("deploy", &DEPLOY, DeploySettings::read),
            scale,
            log_keep,
            log_files,
            log_rate,
            per_connection,
        }
    }

    /// How the load changes how many instances there are.
    pub fn scale_rules(&self) -> Rules {
        Rules { scale: self.scale.clone(), min: self.instances_min, max: self.instances_max }
    }

    /// Whether requests go there: jobs and workers take none.
    pub fn takes_requests(&self) -> bool {
        !self.kind.is_job() && self.ready != Ready::Running
    }

    /// Whether load changes how many instances there are.
    pub const fn scales(&self) -> bool {
        self.instances_min != self.instances_max
    }
}

/// What is asked of an app that says nothing about its health.
const CONNECTS: HealthSettings = HealthSettings {
    check: Check::Tcp,
    every: Duration::from_millis(500),
    timeout: Duration::from_secs(1),
    rise: 1,
    fall: 3,
    host: None,
    port: None,
    tls: None,
};

/// It becomes the name of folders, a pool and a control group.
fn check_name(r: &mut Reader<'_>, name: &str) {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fine) || name.starts_with('-') {
        let (mark, path) = (r.mark(), r.path().to_owned());
        let help = Some("letters, digits, - and _, at most 64".to_owned());
        r.report.error(mark, &path, format!("{name:?} cannot be the name of an app"), help);
    }
}

fn read_instances(r: &mut Reader<'_>) -> (u32, u32) {
    let Some(node) = r.node("instances") else { return (1, 1) };
    if let Value::Table(_) = node.value {
        let range = r.table("instances", &INSTANCES, |r| {
            let (min, max) = (r.count_u32("min"), r.count_u32("max"));
            if min > max {
                r.error("min", format!("min = {min} is more than max = {max}"), None);
            }
            (min.min(max), max)
        });
        return range.unwrap_or((1, 1));
    }
    // From the environment a number is text.
    let count = match &node.value {
        Value::Integer(count) => u32::try_from(*count).ok(),
        Value::Text(text) if node.substituted => text.parse().ok(),
        _ => None,
    };
    match count.filter(|count| (1..=64).contains(count)) {
        Some(count) => (count, count),
        None => {
            let help = Some("none while nobody asks: instances = { min = 0, max = 4 }".to_owned());
            let shown = node.shown();
            r.error("instances", format!("{shown} is not a number from 1 to 64"), help);
            (1, 1)
        }
    }
}

fn read_kind(r: &mut Reader<'_>) -> Kind {
    let once = r.bool("once");
    let written: Vec<&str> = ["every", "schedule"].into_iter().filter(|key| r.has(key)).collect();
    if written.len() + usize::from(once) > 1 {
        let key = written.first().copied().unwrap_or("once");
        r.error(key, "a job has one of `once`, `every` and `schedule`", None);
    }
    if once {
        return Kind::Once;
    }
    if r.has("every") {
        return Kind::Every(r.duration("every"));
    }
    let Some(text) = r.text("schedule") else { return Kind::Service };
    match Schedule::parse(&text) {
        Ok(schedule) => Kind::At(schedule),
        Err(error) => {
            let help = Some("minute hour day month weekday, for example \"30 4 * * mon-fri\"".to_owned());
            r.error("schedule", error.to_string(), help);
            Kind::Service
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
