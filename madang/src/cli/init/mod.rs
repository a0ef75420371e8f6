//! `madang init`: a madang.toml from what lies in a folder.
//!
//! **Job.** Have the folder read, write the file, say what was found, what is gone and what comes next.
//! **Called by** `cli`. **Calls** `importers`, `config` (is what was written right?), `disk`.
//!
//! Invariants
//! 1. A madang.toml that is there is never written over without `--force`.
//! 2. The file is whole or not there: it is written beside its place and then given its name.
//! 3. With `--stdout` nothing is written, and standard output holds the settings alone.
//!
//! Not here: reading projects and other servers' settings (`importers`).

mod disk;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use madang_host::clock;
use madang_importers::draft::{Draft, Kind};
use madang_importers::{choose, render};
use madang_settings::source::Source;

use self::disk::Disk;
use super::{Ended, complain, show};
use crate::config;

/// Options of `madang init`.
#[derive(Args, Clone)]
pub(super) struct InitArgs {
    /// The folder to look at, where madang.toml is written
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Take this file: package.json, Procfile, an nginx or Caddy file, a systemd unit, a pm2 file …
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print the settings instead of writing them
    #[arg(long)]
    stdout: bool,
    /// Write over a madang.toml that is there
    #[arg(long)]
    force: bool,
}

/// Looks, writes, tells.
pub(super) fn init(args: &InitArgs) -> Ended {
    let target = args.folder.join("madang.toml");
    if !args.folder.is_dir() {
        complain(&format!("there is no folder {}", args.folder.display()));
        return Ended::Usage;
    }
    if !args.stdout && !args.force && std::fs::symlink_metadata(&target).is_ok() {
        let told = "is there already: --stdout shows what would be written, --force writes over it";
        complain(&format!("{} {told}", target.display()));
        return Ended::Failed;
    }
    let (disk, from) = match seen(args) {
        Ok(seen) => seen,
        Err(why) => {
            complain(&why);
            return Ended::Usage;
        }
    };
    let draft = match madang_importers::import(&disk, from.as_deref()) {
        Ok(draft) => draft,
        Err(refusal) => {
            complain(&refusal.to_string());
            return Ended::Failed;
        }
    };
    let text = render::toml(&draft);
    if args.stdout {
        super::put(&text);
    } else if let Err(error) = write(&target, &text, args.force) {
        complain(&format!("cannot write {}: {error}", target.display()));
        return Ended::Failed;
    }
    tell(args, &draft, &target, &text);
    Ended::Done
}

/// The line that `madang` alone says where a project lies that it could run.
pub(super) fn hint(folder: &Path) -> Option<String> {
    let disk = Disk::new(folder.to_owned(), folder);
    let first = choose::candidates(&disk).into_iter().next()?;
    Some(format!(
        "this folder has a {first}: `madang init` writes a madang.toml for it; its files are served now"
    ))
}

/// The folder to read, and the file in it that was named.
fn seen(args: &InitArgs) -> Result<(Disk, Option<String>), String> {
    let Some(from) = &args.from else { return Ok((Disk::new(args.folder.clone(), &args.folder), None)) };
    if from.is_dir() {
        return Ok((Disk::new(from.clone(), &args.folder), None));
    }
    if !from.is_file() {
        return Err(format!("there is no file {}", from.display()));
    }
    let name =
        from.file_name().and_then(|name| name.to_str()).ok_or("the file's name is not text")?.to_owned();
    let parent = from.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((Disk::new(parent.to_owned(), &args.folder), Some(name)))
}

fn write(target: &Path, text: &str, force: bool) -> io::Result<()> {
    let fresh = target.with_extension(format!("toml.{}", std::process::id()));
    let written =
        std::fs::OpenOptions::new().write(true).create_new(true).open(&fresh).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            if force {
                return std::fs::rename(&fresh, target);
            }
            // A link fails where something is; a rename would write over it.
            std::fs::hard_link(&fresh, target)
        });
    if !force || written.is_err() {
        // It has its name by now, or nobody wants it.
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// What a person wants to know. Beside settings on standard output it goes to standard error.
fn tell(args: &InitArgs, draft: &Draft, target: &Path, text: &str) {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    for sentence in &draft.found {
        line(&format!("found     {sentence}"));
    }
    let counts = [(Kind::Site, "site"), (Kind::App, "app"), (Kind::Pool, "pool"), (Kind::Stream, "stream")];
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(kind, word)| (draft.count(kind), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| show::counted(count as u64, word))
        .collect();
    if !args.stdout {
        let target = target.strip_prefix("./").unwrap_or(target);
        line(&format!("wrote     {}: {}", target.display(), parts.join(", ")));
    }
    let lost = draft.all_lost();
    if !lost.is_empty() {
        line(&format!("not carried over, each with a comment in its place ({}):", lost.len()));
        for lost in lost {
            line(&format!("  {}: {}: {}", lost.at, lost.what, lost.instead));
        }
    }
    if !draft.not_needed.is_empty() {
        line(&format!("not needed here: {}", draft.not_needed.join(", ")));
    }
    for step in &draft.next {
        line(&format!("first     {step}"));
    }
    let (settings, report) = config::load_from(
        target,
        &std::env::vars().collect::<BTreeMap<_, _>>(),
        &Written { target, text },
        clock::wall(),
    );
    if settings.is_none() {
        line("check     the settings name what is not there yet:");
        for told in report.to_text(false).lines() {
            line(&format!("  {told}"));
        }
    }
    let folder = args.folder.display().to_string();
    let there = if folder == "." { String::new() } else { format!("cd {folder} && ") };
    line(&format!("next      {there}madang check, then {there}madang"));
    if args.stdout {
        eprint!("{}", plain(&out));
    } else {
        super::put(&plain(&out));
    }
}

/// Names of files and pieces of them are somebody else's: they move no cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The settings as they are in memory, whether they were written or not.
struct Written<'a> {
    target: &'a Path,
    text: &'a str,
}

impl Source for Written<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path == self.target { Ok(self.text.to_owned()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}
