//! `madang firewall`: a packet filter that opens what the settings listen on.
//!
//! **Job.** Print the rules, load them with a way back, take them away; for `install`, also at every start of the machine.
//! **Called by** `cli`, `install`, `doctor`. **Calls** the files beside it.
//!
//! Invariants
//! 1. Nothing is loaded for good without a "yes", on the terminal or as --yes.
//! 2. ssh stays open.
//!
//! Not here: other people's packet filters (`doctor` looks at them, nobody changes them).

mod apply;
pub(super) mod rules;
pub(super) mod ssh;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use madang_host::clock;

pub(super) use self::apply::loaded;
use super::install::{Did, Facts, Journal, Place, Stopped, Written, paths, stopped};
use super::{Ended, FileArg, colour_err, complain, listening};
use crate::config;

/// How long `install --firewall` waits for a yes.
const WITHIN: Duration = Duration::from_secs(60);

/// Options of `madang firewall`.
#[derive(Args, Clone)]
pub(super) struct FirewallArgs {
    #[command(flatten)]
    file: FileArg,
    /// Load the rules, until the next start of the machine (`madang install --firewall`: for good)
    #[arg(long, conflicts_with = "remove")]
    apply: bool,
    /// With --apply: keep them without asking
    #[arg(long)]
    yes: bool,
    /// With --apply: how long to wait for a yes, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    within: u64,
    /// Take the rules away
    #[arg(long)]
    remove: bool,
    #[arg(long, hide = true)]
    way_back: Option<u64>,
}

/// Prints, loads or takes away.
pub(super) fn firewall(args: &FirewallArgs) -> Ended {
    if let Some(seconds) = args.way_back {
        return apply::way_back(Duration::from_secs(seconds));
    }
    let told = |result: Result<bool, Stopped>| match result {
        Ok(true) => Ended::Done,
        Ok(false) => Ended::Failed,
        Err(stop) => {
            complain(&stop.to_string());
            Ended::Failed
        }
    };
    if args.remove {
        return told(apply::unload().map(|was| {
            say!(
                "{}",
                if was { "the packet filter of Madang is taken away" } else { "there was none of Madang's" }
            );
            true
        }));
    }
    let (settings, report) = config::load(&args.file.config, clock::wall());
    let Some(settings) = settings else {
        eprint!("{}", report.to_text(colour_err()));
        complain("the settings have errors: which ports to open is not known");
        return Ended::Usage;
    };
    let facts = Facts::of(&settings, &args.file.config);
    let place = Place::new(None, Path::new("/usr/local"));
    let open = rules::open(&facts, &ssh::ports(&place));
    let closed = rules::closed(&open, &listening::all());
    let words = rules::words(&open);
    if !args.apply {
        for one in &closed {
            say!("# closed by this, and somebody listens there now: {one}");
        }
        super::put(&words);
        return Ended::Done;
    }
    closes(&closed);
    told(if args.yes {
        apply::keep(&words).map(|()| true)
    } else {
        apply::ask(&words, Duration::from_secs(args.within))
    })
}

fn closes(closed: &[String]) {
    if !closed.is_empty() {
        eprintln!("madang: others will not reach any more: {}", closed.join(", "));
    }
}

/// What became of the rules and their unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Installed {
    /// They are loaded and will be at the next start.
    pub(super) kept: bool,
    /// The unit is another one now.
    pub(super) unit_changed: bool,
}

/// For `install` without: the rules that would fit.
pub(super) fn fitting(place: &Place, facts: &Facts) -> String {
    rules::words(&rules::open(facts, &ssh::ports(place)))
}

/// For `install --firewall`: loads the rules and leaves them where the next start of the machine finds them.
pub(super) fn install(
    journal: &mut Journal,
    place: &Place,
    facts: &Facts,
    yes: bool,
) -> Result<Installed, Stopped> {
    let open = rules::open(facts, &ssh::ports(place));
    let words = rules::words(&open);
    if place.is_here() && !journal.dry {
        let (there, have) = (apply::loaded()?, std::fs::read_to_string(paths::rules()).unwrap_or_default());
        let same = super::install::found(&have, &words) == super::install::Found::Same;
        if there.is_some() && same {
            journal.tell(Did::Unchanged, "nft table inet madang", "");
        } else {
            closes(&rules::closed(&open, &listening::all()));
            if yes {
                apply::keep(&words)?;
            } else if !apply::ask(&words, WITHIN)? {
                journal.tell(Did::Kept, "the packet filter as it was", "nobody said yes");
                return Ok(Installed { kept: false, unit_changed: false });
            }
            journal.tell(Did::Changed, "nft table inet madang", &opened(&open));
        }
    } else if place.is_here() {
        journal.tell(Did::Changed, "nft table inet madang", &opened(&open));
    }
    let rules = journal.text(&paths::rules(), &words)?;
    let unit = journal.text(&place.unit(paths::FIREWALL), &rules::unit(&paths::rules()))?;
    let kept = rules != Written::Not && unit != Written::Not;
    Ok(Installed { kept, unit_changed: unit == Written::Now })
}

/// Takes the table away.
pub(super) fn remove(journal: &mut Journal) -> Result<(), Stopped> {
    if journal.dry || apply::unload()? {
        journal.tell(Did::Removed, "nft table inet madang", "");
    }
    Ok(())
}

/// The open ports in words.
pub(super) fn opened(open: &std::collections::BTreeSet<rules::Open>) -> String {
    let all: Vec<String> = open.iter().map(|(protocol, _, port)| format!("{port}/{protocol}")).collect();
    format!("open: {}", all.join(", "))
}

/// The rules as they lie on a machine.
pub(super) fn on_disk(place: &Place) -> Result<Option<String>, Stopped> {
    let path: PathBuf = place.here(&paths::rules());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(stopped(format!("cannot read {}", path.display()), error)),
    }
}
