//! `restart`, `stop` and `deploy` of an app: as checked.
//!
//! **Job.** Read the rules by which an app is kept. **Called by** `config`. **Calls** `settings`.
//!
//! Not here: applying them (`restart`, `instance`, `deploy`), `scale` (`config::scale`).

use std::time::Duration;

use madang_settings::reader::Reader;
use madang_settings::unit;

/// How many unasked ends are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtMost {
    /// So many in this time.
    Count(u32, Duration),
    /// The first one is too many.
    Never,
    /// None is.
    Always,
}

/// `restart`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct RestartSettings {
    pub after: Duration,
    pub longest: Duration,
    pub at_most: AtMost,
}

impl RestartSettings {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let (after, longest) = (r.duration("after"), r.duration("longest"));
        if longest < after && r.has("longest") {
            r.error("longest", "`longest` is shorter than `after`", None);
        }
        let text = r.text_or_default("at_most");
        let at_most = AtMost::parse(&text).unwrap_or_else(|| {
            let help = Some("for example \"10 per 10m\", \"never\", \"always\"".to_owned());
            r.error("at_most", format!("{text:?} is no count of restarts"), help);
            AtMost::Always
        });
        Self { after, longest: longest.max(after), at_most }
    }
}

impl AtMost {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "never" => return Some(Self::Never),
            "always" => return Some(Self::Always),
            _ => {}
        }
        let (count, window) = text.split_once(" per ")?;
        let count = count.trim().parse().ok().filter(|count| (1..=1000).contains(count))?;
        let window = unit::duration(window).filter(|window| !window.is_zero())?;
        Some(Self::Count(count, window))
    }
}

/// A signal that asks to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // as in signal(7)
pub enum StopSignal {
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
}

/// `stop`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct StopSettings {
    pub drain: Duration,
    pub signal: StopSignal,
    pub grace: Duration,
}

impl StopSettings {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let signal = match r.choice("signal") {
            "INT" => StopSignal::Int,
            "QUIT" => StopSignal::Quit,
            "HUP" => StopSignal::Hup,
            "USR1" => StopSignal::Usr1,
            "USR2" => StopSignal::Usr2,
            _ => StopSignal::Term,
        };
        Self { drain: r.duration("drain"), signal, grace: r.duration("grace") }
    }
}

/// `deploy`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct DeploySettings {
    /// Percent, growing, the last is 100.
    pub steps: Vec<u8>,
    pub pause: Duration,
    pub healthy_within: Duration,
    pub watch: Duration,
    pub keep: usize,
    /// Bytes.
    pub disk: u64,
}

/// More steps than anybody watches.
const STEPS_MAX: usize = 32;

impl DeploySettings {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let mut steps = Vec::new();
        for (node, text) in r.texts_with_nodes("steps") {
            let percent = text.strip_suffix('%').and_then(|number| number.parse::<u8>().ok());
            match percent.filter(|percent| (1..=100).contains(percent)) {
                Some(percent) => steps.push(percent),
                None => {
                    let key = r.key_path("steps");
                    let help = Some("for example [\"10%\", \"50%\", \"100%\"]".to_owned());
                    r.report.error(node.mark, &key, format!("{text:?} is no share of the requests"), help);
                }
            }
        }
        if !r.has("steps") {
            steps = vec![100];
        }
        if !steps.windows(2).all(|pair| pair[0] < pair[1]) || steps.last().is_some_and(|last| *last != 100) {
            let help = Some("for example [\"10%\", \"50%\", \"100%\"]".to_owned());
            r.error("steps", "the steps must grow and end with \"100%\"", help);
        } else if steps.len() > STEPS_MAX {
            r.error("steps", format!("{} steps, at most {STEPS_MAX} are taken", steps.len()), None);
        }
        let keep = r.count("keep").and_then(|keep| usize::try_from(keep).ok()).unwrap_or(3);
        Self {
            steps,
            pause: r.duration("pause"),
            healthy_within: r.duration("healthy_within"),
            watch: r.duration("watch"),
            keep,
            disk: r.size("disk"),
        }
    }
}
