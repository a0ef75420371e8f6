//! `scale`: as checked, of an app and of a scaler of machines alike.
//!
//! **Job.** Read what is looked at, what each should have of it, and how fast. **Called by** `config`. **Calls** `settings`.
//!
//! Not here: following the load (`crate::scale`), the keys (`keys`).

use std::time::Duration;

use madang_settings::reader::Reader;
use madang_settings::unit;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleBy {
    /// Requests open.
    InFlight,
    /// Time to the first byte.
    Latency,
    /// CPU time.
    Cpu,
    /// Requests waiting in line.
    Queue,
}

impl ScaleBy {
    /// Each, with its word, its default target and how one is written.
    const ALL: [(Self, &'static str, f64, &'static str); 4] = [
        (Self::InFlight, "in-flight", 16.0, "\"16\""),
        (Self::Latency, "latency", 200_000.0, "\"200ms\""),
        (Self::Cpu, "cpu", 70.0, "\"70%\""),
        (Self::Queue, "queue", 1.0, "\"1\""),
    ];

    /// As written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(by, ..)| *by == self).map_or("", |(_, name, ..)| name)
    }

    fn read(self, text: &str) -> Option<f64> {
        let count = |text: &str, max: u32| {
            text.parse::<u32>().ok().filter(|count| (1..=max).contains(count)).map(f64::from)
        };
        match self {
            Self::InFlight | Self::Queue => count(text, 1_000_000),
            Self::Cpu => count(text.strip_suffix('%')?, 10_000),
            Self::Latency => {
                let latency = unit::duration(text).filter(|latency| !latency.is_zero())?;
                Some(latency.as_secs_f64() * 1e6)
            }
        }
    }
}

/// What one instance should have of something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Of what.
    pub by: ScaleBy,
    /// Requests, microseconds, percent of one core, waiting requests; above 0.
    pub each: f64,
}

/// `scale`, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // `keys` documents each
pub struct ScaleSettings {
    /// At least one, each by something else; the one that wants the most decides.
    pub targets: Vec<Target>,
    pub up: Duration,
    pub down: Duration,
    pub idle: Duration,
}

impl ScaleSettings {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let targets = read_targets(r);
        Self { targets, up: r.duration("up"), down: r.duration("down"), idle: r.duration("idle") }
    }

    /// Whether this is among what is looked at.
    pub fn looks_at(&self, by: ScaleBy) -> bool {
        self.targets.iter().any(|target| target.by == by)
    }
}

/// `by` and `target`, one target for each in the same order.
pub(super) fn read_targets(r: &mut Reader<'_>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    let mut examples = Vec::new();
    for (node, text) in r.texts_with_nodes("by") {
        let Some((by, _, each, example)) = ScaleBy::ALL.into_iter().find(|(_, name, ..)| *name == text)
        else {
            let key = r.key_path("by");
            let help = Some(
                "\"in-flight\", \"latency\", \"cpu\", \"queue\", or several of them in a list".to_owned(),
            );
            r.report.error(node.mark, &key, format!("{text:?} is nothing to scale by"), help);
            continue;
        };
        if targets.iter().any(|target| target.by == by) {
            let key = r.key_path("by");
            r.report.error(node.mark, &key, format!("{text:?} is there twice"), None);
            continue;
        }
        targets.push(Target { by, each });
        examples.push(example);
    }
    if targets.is_empty() {
        let (by, _, each, example) = ScaleBy::ALL[0];
        targets.push(Target { by, each });
        examples.push(example);
    }
    let written = r.texts_with_nodes("target");
    let example = match examples.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("[{}]", several.join(", ")),
    };
    let help = Some(format!("with this `by` for example target = {example}"));
    if !written.is_empty() && written.len() != targets.len() {
        let message = format!(
            "{} for {}: each thing in `by` has its target, in the same order",
            counted(written.len(), "target"),
            counted(targets.len(), "thing"),
        );
        r.error("target", message, help);
        return targets;
    }
    for (target, (node, text)) in targets.iter_mut().zip(written) {
        match target.by.read(&text) {
            Some(each) => target.each = each,
            None => {
                let key = r.key_path("target");
                r.report.error(node.mark, &key, format!("{text:?} is no target"), help.clone());
            }
        }
    }
    targets
}

fn counted(count: usize, of: &str) -> String {
    if count == 1 { format!("1 {of}") } else { format!("{count} {of}s") }
}
