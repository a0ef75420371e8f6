//! `[scaler.NAME]`: as checked.
//!
//! **Job.** Read who is asked for servers beyond this machine, and how. **Called by** `madang` (config). **Calls** `settings`,
//! `environment`, `program`, `scale`.
//!
//! Not here: asking (`crate::scaler`), whether a pool or an app has this name (`madang`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use madang_settings::reader::Reader;

use super::environment::Environment;
use super::program::check_run;
use super::scale::{ScaleSettings, read_targets};

/// A scaler, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // `keys` documents each
pub struct ScalerSettings {
    /// Of the pool or the app.
    pub name: Arc<str>,
    pub run: Vec<String>,
    pub dir: PathBuf,
    pub environment: Environment,
    pub every: Duration,
    pub timeout: Duration,
    /// 0 to 64.
    pub min: u32,
    /// 1 to 64.
    pub max: u32,
    pub drain: Duration,
    pub scale: ScaleSettings,
}

impl ScalerSettings {
    /// Reads one scaler.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Self {
        let dir = r.path_or_default("dir");
        let environment = Environment::read(r);
        let run = r.texts("run");
        if dir.is_dir() {
            check_run(r, &run, &dir, &environment);
        } else {
            let help = Some(format!("make it: mkdir -p {}", dir.display()));
            r.error("dir", format!("there is no folder {}", dir.display()), help);
        }
        let (min, max) = (r.count_u32("min"), r.count_u32("max"));
        if min > max {
            r.error(
                if r.has("min") { "min" } else { "max" },
                format!("min = {min} is more than max = {max}"),
                None,
            );
        }
        let targets = read_targets(r);
        // There is always a server beside those that are asked for: none of them sleeps.
        let scale =
            ScaleSettings { targets, up: r.duration("up"), down: r.duration("down"), idle: Duration::MAX };
        Self {
            name: name.into(),
            run,
            dir,
            environment,
            every: r.duration("every"),
            timeout: r.duration("timeout"),
            min: min.min(max),
            max,
            drain: r.duration("drain"),
            scale,
        }
    }
}
