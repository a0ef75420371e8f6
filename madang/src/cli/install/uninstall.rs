//! `madang uninstall`: the exact reverse of `madang install`.
//!
//! **Job.** Stop, disable, and take away what was written down as ours. **Called by** `cli`, `install` (a unit that is not needed
//! any more). **Calls** `manifest`, `journal`, systemctl(1).
//!
//! Invariants
//! 1. What is not written down, or was changed since, is not removed (changed files: with --force).
//! 2. Data and settings stay; data goes with --purge only, settings never, but those that we made and nobody changed.
//!
//! Not here: what was brought (`install`).

use std::path::{Path, PathBuf};

use clap::Args;
use madang_host::process::tool::Tool;

use super::journal::{Did, Journal, Stopped, stopped};
use super::manifest::Manifest;
use super::place::{self, FIREWALL, Place, SERVICE, SOCKET};
use super::{marked, service_manager, starter, user};
use crate::cli::{Ended, Output, complain, firewall};

/// Options of `madang uninstall`.
#[derive(Args, Clone)]
pub(in crate::cli) struct UninstallArgs {
    /// Remove the data folder and the user too
    #[arg(long)]
    purge: bool,
    /// Remove files too that were changed by hand
    #[arg(long)]
    force: bool,
    /// From a folder tree instead of this machine
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

/// Takes away and tells.
pub(in crate::cli) fn uninstall(args: &UninstallArgs) -> Ended {
    // The prefix is known once the manifest was read; nothing before that needs it.
    let place = Place::new(args.root.as_deref(), Path::new("/usr/local"));
    let mut journal = Journal::new(place.clone(), args.dry_run, args.force, !args.output.json);
    let result = steps(args, &place, &mut journal);
    if args.output.json {
        let mut all = journal.json(result.is_ok());
        if let Err(stop) = &result {
            all["error"] = stop.to_string().into();
        }
        say!("{all}");
    } else if !journal.next.is_empty() {
        say!("\nleft to you:");
        journal.next.iter().for_each(|next| say!("- {next}"));
    }
    match result {
        Ok(()) => Ended::Done,
        Err(stop) => {
            if !args.output.json {
                complain(&stop.to_string());
            }
            Ended::Failed
        }
    }
}

fn steps(args: &UninstallArgs, place: &Place, journal: &mut Journal) -> Result<(), Stopped> {
    if place.is_here() && !args.dry_run && !rustix::process::geteuid().is_root() {
        return Err(stopped("cannot uninstall", "only root may; --dry-run shows what would be done"));
    }
    let Some(manifest) = Manifest::read(place)? else {
        return Err(stopped(
            "nothing to uninstall",
            format!(
                "{} is not there: `madang install` did not install anything here",
                place::manifest().display()
            ),
        ));
    };
    let place = Place::new(args.root.as_deref(), &manifest.prefix);
    stop(journal, &place, &manifest)?;
    for path in &manifest.texts {
        text(journal, path)?;
    }
    for (path, digest) in &manifest.files {
        let same = std::fs::read(journal.here(path)).map(|bytes| marked::sha256(&bytes) == *digest);
        match same {
            Ok(same) if same || journal.force => journal.remove(path)?,
            Ok(_) => keep(journal, path, "changed since it was installed"),
            // It is gone already.
            Err(_) => {}
        }
    }
    if place.is_here() && service_manager::runs() {
        journal.run(&Tool::new(["systemctl", "daemon-reload"]), "")?;
    }
    starter_settings(journal, &manifest)?;
    if args.purge {
        purge(journal, &manifest)?;
    }
    if args.purge && manifest.user_made && place.is_here() {
        user::remove(journal, &manifest.user)?;
    }
    journal.remove(&place::manifest())?;
    for folder in manifest.folders.iter().rev().filter(|folder| args.purge || **folder != manifest.data) {
        journal.remove_empty(folder);
    }
    if !args.purge && journal.here(&manifest.data).is_dir() {
        let user = if manifest.user_made {
            format!(", and its owner, the user {}", manifest.user)
        } else {
            String::new()
        };
        journal.leave(format!("the data stays in {}{user} (--purge removes it)", manifest.data.display()));
    }
    Ok(())
}

fn stop(journal: &mut Journal, place: &Place, manifest: &Manifest) -> Result<(), Stopped> {
    if place.is_here() && service_manager::runs() {
        let units = [SOCKET, SERVICE, FIREWALL].map(|unit| (unit, place.unit(unit)));
        let there: Vec<&str> =
            units.iter().filter(|(_, path)| path.is_file()).map(|(unit, _)| *unit).collect();
        if !there.is_empty() {
            journal.run(
                &Tool::new([&["systemctl", "disable", "--now"][..], &there].concat()),
                "open requests are answered first",
            )?;
        }
    }
    if place.is_here() && manifest.firewall {
        // A unit that was not started since the table was loaded does not take it away.
        firewall::remove(journal)?;
    }
    Ok(())
}

/// Removes a marked file that nobody changed. Whether it was there and is gone.
pub(super) fn text(journal: &mut Journal, path: &Path) -> Result<bool, Stopped> {
    let Ok(text) = std::fs::read_to_string(journal.here(path)) else { return Ok(false) };
    if marked::untouched(&text) || journal.force {
        journal.remove(path)?;
        return Ok(true);
    }
    keep(journal, path, "changed by hand, or not ours");
    Ok(false)
}

fn keep(journal: &mut Journal, path: &Path, why: &str) {
    journal.tell(Did::Kept, &path.display().to_string(), why);
    journal.leave(format!("{} stays: {why} (--force removes it)", path.display()));
}

/// The settings we made go if they are still as we made them.
fn starter_settings(journal: &mut Journal, manifest: &Manifest) -> Result<(), Stopped> {
    let path = place::settings();
    if manifest.settings != path {
        return Ok(());
    }
    let Ok(text) = std::fs::read_to_string(journal.here(&path)) else { return Ok(()) };
    if [true, false].iter().any(|ipv6| text == starter::settings(place::var(), *ipv6)) {
        return journal.remove(&path);
    }
    journal.tell(Did::Kept, &path.display().to_string(), "your settings");
    Ok(())
}

/// The data folder, if it is one.
fn purge(journal: &mut Journal, manifest: &Manifest) -> Result<(), Stopped> {
    let data = &manifest.data;
    let here = journal.here(data);
    if !here.is_dir() {
        return Ok(());
    }
    let ours = manifest.folders.contains(data) || here.join("madang.lock").is_file();
    if !ours || data.components().count() < 3 {
        return Err(stopped(
            format!("{} is not removed", data.display()),
            "nothing in it shows that it is Madang's data; look at it and remove it yourself",
        ));
    }
    let lock = std::fs::File::open(here.join("madang.lock"));
    if lock.is_ok_and(|lock| lock.try_lock().is_err()) {
        return Err(stopped(
            format!("{} is not removed", data.display()),
            "a server still runs with it; `madang stop` ends it",
        ));
    }
    if !journal.dry {
        std::fs::remove_dir_all(&here)
            .map_err(|error| stopped(format!("cannot remove {}", data.display()), error))?;
    }
    journal.tell(Did::Removed, &data.display().to_string(), "--purge");
    Ok(())
}
