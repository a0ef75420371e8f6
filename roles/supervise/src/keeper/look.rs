//! A look at an app: how its instances do, and how much there is to do.
//!
//! **Job.** Tell the app what the pool and the kernel say of it. **Called by** `keeper`, some times a second. **Calls** `meter`, `ailment`,
//! [`crate::around::Around`].
//!
//! Not here: what an app makes of it (`app`, `scale`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use madang_host::process::cpu::Processes;

use super::{Keeper, Kept, Run, ailment};
use crate::app::InstanceNumber;
use crate::config::{Ready, ScaleBy};
use crate::life::Look;
use crate::scale::Load;

impl Keeper {
    /// CPU time of an app's instances by their address, in percent of one core; from now on it is always known.
    pub fn cpu_of(&self, app: &str) -> Vec<(String, f64)> {
        let mut apps = self.apps.borrow_mut();
        let Some(kept) = apps.get_mut(app) else { return Vec::new() };
        kept.metered = true;
        let used = |run: &Run| Some((run.address.clone(), run.meter.percent()?));
        kept.runs.values().filter_map(used).collect()
    }

    /// Tells an app how its instances do. True: somebody waits for something.
    pub(super) fn look(
        &self,
        name: &Arc<str>,
        kept: &mut Kept,
        processes: &mut Option<Processes>,
        now: Instant,
    ) -> bool {
        let mut busy = false;
        let states: BTreeMap<InstanceNumber, &'static str> =
            kept.app.view(now).instances.iter().map(|view| (view.instance, view.state)).collect();
        let settings = Arc::clone(kept.app.settings());
        let by_cpu = kept.metered || (settings.scales() && settings.scale.looks_at(ScaleBy::Cpu));
        let mut cpu_percent = None;
        for (number, run) in &mut kept.runs {
            let state = states.get(number).copied().unwrap_or_default();
            let moving = !matches!(state, "ready" | "running");
            busy |= moving;
            run.meter.read(&run.group, run.running.identity().number, processes, by_cpu, now);
            // What starting costs is no load.
            if state != "starting"
                && let Some(percent) = run.meter.percent()
            {
                *cpu_percent.get_or_insert(0.0) += percent;
            }
            let seen = self.around.look(name, &run.address, matches!(state, "starting" | "sick"));
            if matches!(state, "starting" | "sick") || seen.fit == Some(false) {
                let seen = ailment::Seen {
                    address: &run.address,
                    process: run.running.identity().number,
                    notified: run.notified,
                    check: seen.check.as_deref(),
                    closely: kept.app.is_nearly_late(*number, now),
                };
                if let Some(why) = ailment::of(&settings, &seen) {
                    kept.app.explain(*number, why);
                }
            }
            // Nobody asks a worker: it runs, so it is well.
            let fit = if settings.ready == Ready::Running { Some(true) } else { seen.fit };
            let look = Look { fit, notified: run.notified, in_flight: seen.in_flight };
            kept.app.see(*number, look);
        }
        if settings.scales() {
            let load = Load { cpu_percent, places: settings.max_connections, ..self.around.load(name) };
            if load.queued > 0 {
                kept.app.wake(now);
            }
            kept.app.load(&load, now);
        }
        busy
    }
}
