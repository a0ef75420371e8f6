//! What runs after a start: from what is remembered and what the settings say now.
//!
//! **Job.** Decide which version is the current one and which there are to go back to; put a version's files and the
//! settings together. Pure. **Called by** `keeper`, `app`.
//!
//! The rule (docs/decisions/0016-releases.md): the files of the version that won stay until another one wins or the settings
//! name another `dir`; everything else is what the settings say now.
//!
//! Not here: reading the record (`record`).

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Known, Record, Said};
use super::{Cause, Made, place};
use crate::app::Release;
use crate::config::{Environment, Program};

/// Where an image's programs are looked for when it does not say.
const IMAGE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an app begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct Resumed {
    /// The version that runs.
    pub current: Release,
    /// Those to go back to, the newest last.
    pub earlier: Vec<Release>,
    /// The highest number given so far.
    pub numbers: u32,
    /// The current one is a version that was not there before: why.
    pub fresh: Option<Cause>,
    /// For the log.
    pub told: Option<String>,
}

/// Puts together what is to be run.
pub fn program_of(settings: &Program, made: &Made, trees: &Path) -> Program {
    let mut program = settings.clone();
    let Some(number) = made.tree else { return program };
    let files = place(trees, number);
    let Some(image) = &made.image else {
        program.dir = files;
        return program;
    };
    let say = &settings.image;
    let said = [&say.run, &image.run].into_iter().find(|run| !run.is_empty());
    program.run.clone_from(said.unwrap_or(&settings.run));
    let dir = say.dir.as_deref().unwrap_or(&image.dir);
    program.dir = PathBuf::from(if dir.is_empty() { "/" } else { dir });
    let path = [("PATH", IMAGE_PATH)];
    let own = image.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    program.environment = Environment::of(path.into_iter().chain(own).chain(settings.environment.iter()));
    program.image_user = if program.user.is_some() { None } else { image.user.clone() };
    program.root = Some(files);
    program
}

/// Decides. `there`: the numbered folders that are there.
pub fn resume(
    record: Option<&Record>,
    settings: &Arc<Program>,
    trees: &Path,
    there: &BTreeSet<u32>,
) -> Resumed {
    let of_settings =
        |number| Release { number, program: Arc::clone(settings), made: Arc::new(Made::of_settings()) };
    let highest = there.last().copied().unwrap_or(0);
    let Some(record) = record else {
        // Numbers are not given twice, whatever became of the record.
        let numbers = highest + 1;
        return Resumed {
            current: of_settings(numbers),
            earlier: Vec::new(),
            numbers,
            fresh: Some(Cause::First),
            told: None,
        };
    };
    let same_settings = record.settings.program == fingerprint(settings);
    let build = |known: &Known| {
        let runs = match known.made.tree {
            Some(number) => there.contains(&number),
            // What the settings said then is known only while they say it now.
            None => known.program == fingerprint(settings),
        };
        let program = || Arc::new(program_of(settings, &known.made, trees));
        runs.then(|| Release {
            number: known.version,
            program: program(),
            made: Arc::new(known.made.clone()),
        })
    };
    let earlier: Vec<Release> = record.earlier.iter().filter_map(build).collect();
    let numbers = record.numbers.max(highest);
    let resumed = |current, fresh, told| {
        let numbers = if fresh { numbers + 1 } else { numbers };
        let fresh = fresh.then_some(Cause::Settings);
        Resumed { current, earlier: earlier.clone(), numbers, fresh, told }
    };
    let Some(current) = build(&record.current) else {
        let told = record.current.made.tree.map(|number| {
            format!(
                "the files of version {} are not at {} any more: what the settings say runs",
                record.current.version,
                place(trees, number).display()
            )
        });
        return resumed(of_settings(numbers + 1), true, told);
    };
    if same_settings {
        return resumed(current, false, None);
    }
    if record.settings.dir != shown(settings) {
        let told = "the settings name another folder than before: it is run as a new version".to_owned();
        return resumed(of_settings(numbers + 1), true, Some(told));
    }
    // The same files, under new settings.
    resumed(Release { number: numbers + 1, ..current }, true, None)
}

/// What of the settings is remembered.
pub fn said(settings: &Program) -> Said {
    Said { program: fingerprint(settings), dir: shown(settings) }
}

fn shown(settings: &Program) -> String {
    settings.dir.display().to_string()
}

/// A version as a record remembers it.
pub fn known(release: &Release) -> Known {
    Known {
        version: release.number,
        program: fingerprint(&release.program),
        made: Made::clone(&release.made),
    }
}

/// Tells programs apart, over starts of the server.
pub fn fingerprint(program: &Program) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    program.hash(&mut hasher);
    hasher.finish()
}

/// A name of its own for what belongs to one data folder.
pub(crate) fn name_of(data: &Path) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    // A folder that cannot be resolved is named as it is written.
    data.canonicalize().unwrap_or_else(|_| data.to_owned()).hash(&mut hasher);
    hasher.finish()
}

/// FNV-1a: the same in every start, which the standard library's hasher does not promise.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
