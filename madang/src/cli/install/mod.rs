//! `madang install`: this program as a service of this machine.
//!
//! **Job.** One readable order of steps: check, program, user, folders, units, packet filter, start, and what to know at the end.
//! **Called by** `cli`. **Calls** the files beside it; the machine only through `journal`.
//!
//! Invariants
//! 1. Settings with an error change nothing.
//! 2. A second time changes only what differs; what people changed by hand stays.
//! 3. What it brings is written down, and `uninstall` takes away that and nothing else.
//!
//! Not here: what units say (`units`), which ports are opened (`firewall`).

mod facts;
mod journal;
mod manifest;
mod marked;
mod place;
mod service_manager;
mod starter;
mod uninstall;
mod units;
mod user;

use std::path::{Path, PathBuf};

use clap::Args;
use madang_host::clock;
use madang_host::process::tool::Tool;
use madang_host::rights::Identity;

pub(super) use self::facts::Facts;
pub(super) use self::journal::{Did, Journal, Stopped, Written, stopped};
pub(super) use self::manifest::Manifest;
pub(super) use self::marked::{Found, found};
pub(super) use self::place::Place;
use self::service_manager::Changes;
pub(super) use self::service_manager::{is_active, runs as systemd_runs};
pub(super) use self::uninstall::{UninstallArgs, uninstall};
pub(super) use self::units::{Service, kept, service, socket};
use super::{Ended, Output, colour_err, complain, firewall};
use crate::config::{self, Settings};

/// Paths that other commands look at.
pub(super) mod paths {
    pub(in crate::cli) use super::place::{FIREWALL, SERVICE, SOCKET, environment, rules};
}

/// Where a shell finds programs, and what systemd gives a service.
const SERVICE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Options of `madang install`.
#[derive(Args, Clone)]
pub(super) struct InstallArgs {
    /// The settings file; it stays where it is. Left out: the madang.toml here, else /etc/madang/madang.toml, which is made if missing
    #[arg(short, long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The user the service runs as; made when missing. `server.user` in the settings goes before it
    #[arg(long, default_value = "madang")]
    user: String,
    /// The program goes to bin below it
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// Open exactly the settings' ports and ssh's in a packet filter of Madang's own, and close the rest
    #[arg(long)]
    firewall: bool,
    /// With --firewall: keep it without asking
    #[arg(long)]
    yes: bool,
    /// Install into a folder tree instead of this machine: no user, no command, nothing is started
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Overwrite units that were changed by hand
    #[arg(long)]
    force: bool,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

/// Installs and tells.
pub(super) fn install(args: &InstallArgs) -> Ended {
    let place = Place::new(args.root.as_deref(), &args.prefix);
    let mut journal = Journal::new(place.clone(), args.dry_run, args.force, !args.output.json);
    let result = steps(args, &place, &mut journal);
    if args.output.json {
        let mut all = journal.json(matches!(result, Ok(true)));
        if let Err(stop) = &result {
            all["error"] = stop.to_string().into();
        }
        say!("{all}");
    } else if result.is_ok() {
        if let Some(rules) = &journal.rules {
            say!(
                "\na packet filter that opens exactly what is listened on (not loaded; --firewall loads it):\n\n{rules}"
            );
        }
        if !journal.next.is_empty() {
            say!("\nleft to you:");
            journal.next.iter().for_each(|next| say!("- {next}"));
        }
    }
    match result {
        Ok(true) => Ended::Done,
        Ok(false) => Ended::Failed,
        Err(stop) if stop.what.is_empty() => Ended::Usage,
        Err(stop) => {
            if !args.output.json {
                complain(&stop.to_string());
            }
            Ended::Failed
        }
    }
}

/// The steps. Whether everything is as it should be at their end.
fn steps(args: &InstallArgs, place: &Place, journal: &mut Journal) -> Result<bool, Stopped> {
    if place.is_here() && !args.dry_run && !rustix::process::geteuid().is_root() {
        return Err(stopped(
            "cannot install",
            "only root may; --dry-run shows what would be done, --root DIR installs into a folder",
        ));
    }
    if args.firewall && args.output.json && !args.yes && place.is_here() && !args.dry_run {
        return Err(stopped("cannot ask", "--json has no place for a question: add --yes"));
    }
    let before = Manifest::read(place)?;
    let (file, starter) = settings_file(args, place)?;
    let settings = checked(&file, starter.as_deref())?;
    let facts = Facts::of(&settings, &file).on(place);
    let asked = facts.user.clone().unwrap_or_else(|| args.user.clone());
    let user = if facts.needs_root(&asked) { "root".to_owned() } else { asked };
    if user == "root" {
        journal.leave(
            "know that the service runs as root, because apps run as other users or see folders read-only: give every app a `user`",
        );
    }
    let there = place.there(&file);
    let mut manifest = Manifest::new(&args.prefix, &there, &facts.data, &user);
    if let Some(before) = &before {
        manifest.user_made = before.user_made && before.user == user;
        manifest.firewall = before.firewall;
        (manifest.files, manifest.texts) = (before.files.clone(), before.texts.clone());
        manifest.folders.clone_from(&before.folders);
    }

    let wanted = Wanted { file, there, starter, facts, user };
    let brought = bring(args, place, journal, &wanted, &mut manifest);
    if brought.is_ok() || !manifest.files.is_empty() {
        // Stopped midway or not: what was brought must be able to go again.
        write_down(journal, &manifest)?;
    }
    let (changes, fine) = brought?;
    start(journal, place, changes, &wanted.there)?;
    summary(journal, place, &manifest)?;
    Ok(fine)
}

/// What is to be there at the end.
struct Wanted {
    /// The settings, as they lie here.
    file: PathBuf,
    /// The same, as that machine knows them.
    there: PathBuf,
    /// Their words, when they are not there yet.
    starter: Option<String>,
    facts: Facts,
    user: String,
}

/// Program, user, folders, units, packet filter; what came goes into the manifest. What changed, and whether all is as it should be.
fn bring(
    args: &InstallArgs,
    place: &Place,
    journal: &mut Journal,
    wanted: &Wanted,
    manifest: &mut Manifest,
) -> Result<(Changes, bool), Stopped> {
    let Wanted { file, there, starter, facts, user } = wanted;
    let program_changed = program(journal, place, manifest)?;
    let found = user::ensure(journal, place, user)?;
    manifest.user_made |= found.made;
    if !place.is_here() {
        manifest.text_at(place.sysusers());
    }
    folders(journal, facts, found.identity.as_ref(), manifest)?;
    if let Some(text) = starter {
        if !journal.dry {
            journal.write(there, text.as_bytes(), 0o644)?;
        }
        journal.tell(Did::Made, &there.display().to_string(), "settings to begin with");
    }
    as_the_service(journal, facts, found.identity.as_ref(), file, starter.is_some())?;

    let of = Service {
        program: &place.program(),
        settings: there,
        environment: &place::environment(),
        user,
        facts,
    };
    let mut fine = true;
    let mut unit = |journal: &mut Journal, name: &str, words: &str| -> Result<bool, Stopped> {
        let path = place.unit(name);
        let written = journal.text(&path, words)?;
        if written != Written::Not {
            manifest.text_at(path);
        }
        fine &= written != Written::Not;
        Ok(written == Written::Now)
    };
    let service_changed = unit(journal, place::SERVICE, &units::service(&of))?;
    let words = units::socket(facts, user);
    let socket_changed = match &words {
        Some(words) => unit(journal, place::SOCKET, words)?,
        // Settings that listen nowhere any more.
        None => uninstall::text(journal, &place.unit(place::SOCKET))?,
    };
    let mut firewall_changed = false;
    if args.firewall {
        let filter = firewall::install(journal, place, facts, args.yes)?;
        fine &= filter.kept;
        firewall_changed = filter.unit_changed;
        if filter.kept {
            manifest.firewall = true;
            manifest.text_at(place::rules());
            manifest.text_at(place.unit(place::FIREWALL));
        }
    }
    if !manifest.firewall {
        journal.rules = Some(firewall::fitting(place, facts));
    }
    manifest.text_at(place::told());
    let changes = Changes {
        active: place.is_here() && is_active(place::SERVICE),
        socket: words.is_some(),
        firewall: manifest.firewall,
        firewall_changed,
        service_changed,
        socket_changed,
        program_changed,
    };
    Ok((changes, fine))
}

/// Which settings, and the words of those to begin with when there are none.
fn settings_file(args: &InstallArgs, place: &Place) -> Result<(PathBuf, Option<String>), Stopped> {
    let machine = place.here(&place::settings());
    let named =
        args.config.clone().or_else(|| Some(PathBuf::from("madang.toml")).filter(|here| here.is_file()));
    match named {
        Some(named) => {
            let file = std::fs::canonicalize(&named);
            Ok((file.map_err(|error| stopped(format!("cannot use {}", named.display()), error))?, None))
        }
        None if machine.is_file() => Ok((machine, None)),
        None => {
            let ipv6 = std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| !text.is_empty());
            Ok((machine, Some(starter::settings(place::var(), ipv6))))
        }
    }
}

/// The settings, or all that is wrong with them, told.
fn checked(file: &Path, starter: Option<&str>) -> Result<Settings, Stopped> {
    let (settings, report) = match starter {
        Some(text) => config::serve_folder::written(text, file, clock::wall()),
        None => config::load(file, clock::wall()),
    };
    eprint!("{}", report.to_text(colour_err()));
    settings.ok_or_else(|| {
        complain("the settings have errors; nothing was installed");
        stopped("", "the settings have errors; nothing was installed")
    })
}

/// Copies this program to its place. Whether it is another one now.
fn program(journal: &mut Journal, place: &Place, manifest: &mut Manifest) -> Result<bool, Stopped> {
    let path = place.program();
    let fail = |error: std::io::Error| stopped("cannot read this program", error);
    let own = std::fs::read("/proc/self/exe").map_err(fail)?;
    let digest = marked::sha256(&own);
    let have = std::fs::read(journal.here(&path)).ok().map(|have| marked::sha256(&have));
    let did = match &have {
        Some(have) if *have == digest => Did::Unchanged,
        Some(_) => Did::Changed,
        None => Did::Made,
    };
    if did != Did::Unchanged && !journal.dry {
        // By another name first: a process that runs the old one keeps it.
        journal.write(&path, &own, 0o755)?;
    }
    journal.tell(did, &path.display().to_string(), concat!("version ", env!("CARGO_PKG_VERSION")));
    manifest.files.insert(path, digest);
    Ok(did != Did::Unchanged)
}

fn folders(
    journal: &mut Journal,
    facts: &Facts,
    user: Option<&Identity>,
    manifest: &mut Manifest,
) -> Result<(), Stopped> {
    let owner = user.map(|user| (user.uid, user.gid));
    if journal.folder(place::etc(), 0o755, None, "settings")? {
        manifest.folder_at(place::etc());
    }
    if facts.data != place::var() && journal.folder(place::var(), 0o750, owner, "home of the user")? {
        manifest.folder_at(place::var());
    }
    if journal.folder(&facts.data, 0o700, owner, "data")? {
        manifest.folder_at(&facts.data);
    }
    if let Some(user) = user.filter(|_| !journal.dry) {
        // What an earlier run as somebody else left.
        crate::data_folder::give_to(&facts.data, user).map_err(|failure| stopped("", failure.message))?;
    }
    Ok(())
}

/// Settings that root can use may be closed to the service: they are checked once more as it will see them.
fn as_the_service(
    journal: &mut Journal,
    facts: &Facts,
    user: Option<&Identity>,
    file: &Path,
    starter: bool,
) -> Result<(), Stopped> {
    let Some(user) = user.filter(|user| !facts.needs_root(&user.name)) else { return Ok(()) };
    if journal.dry || starter {
        return Ok(());
    }
    let words = [std::ffi::OsStr::new("/proc/self/exe"), "check".as_ref(), "-c".as_ref(), file.as_os_str()];
    let said = Tool::new(words).as_user(user.uid, user.gid, service_environment()).run();
    match said {
        Ok(said) if said.well() => {
            journal.tell(
                Did::Ran,
                &format!("madang check, as {}", user.name),
                "the service can use its settings",
            );
            Ok(())
        }
        Ok(said) => Err(stopped(
            format!("the user {} cannot use these settings, root can", user.name),
            format!(
                "\n{}help: give it what it needs (chown {} FILE, chmod o+x FOLDER); variables of the settings go into {}",
                said.err,
                user.name,
                place::environment().display()
            ),
        )),
        Err(error) => Err(stopped("cannot check the settings as the service", error)),
    }
}

/// What the service will find in its environment.
fn service_environment() -> Vec<(String, String)> {
    let mut all = vec![("PATH".to_owned(), SERVICE_PATH.to_owned())];
    let text = std::fs::read_to_string(place::environment()).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    all.extend(lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
    }));
    all
}

fn write_down(journal: &mut Journal, manifest: &Manifest) -> Result<(), Stopped> {
    let (path, text) = (place::manifest(), manifest.text());
    let have = std::fs::read_to_string(journal.here(&path)).ok();
    let did = match have {
        Some(have) if have == text => Did::Unchanged,
        Some(_) => Did::Changed,
        None => Did::Made,
    };
    if did != Did::Unchanged && !journal.dry {
        journal.write(&path, text.as_bytes(), 0o644)?;
    }
    journal.tell(did, &path.display().to_string(), "what `madang uninstall` takes away");
    Ok(())
}

/// Has systemd start it, or says what to type where it does not run.
fn start(journal: &mut Journal, place: &Place, changes: Changes, settings: &Path) -> Result<(), Stopped> {
    let orders = service_manager::orders(changes, &place.program(), settings);
    if place.is_here() && systemd_runs() {
        return service_manager::obey(journal, orders).map_err(|stop| {
            stopped(
                stop.what,
                format!(
                    "{}\nhelp: `journalctl -u madang -n 50` has its words; `madang doctor -c {}` tells who holds a port",
                    stop.why,
                    settings.display()
                ),
            )
        });
    }
    let lines: Vec<String> = orders.run.into_iter().map(|(words, _)| words.join(" ")).collect();
    let why = if place.is_here() { "systemd does not run here" } else { "on that machine" };
    journal.leave(format!("{why}: {}", lines.join(" && ")));
    if !place.is_here() {
        journal.leave("before that, the user: systemd-sysusers; its data folder: chown");
    }
    Ok(())
}

/// What is where: on the screen and in a file.
fn summary(journal: &mut Journal, place: &Place, manifest: &Manifest) -> Result<(), Stopped> {
    let settings = manifest.settings.display();
    let text = format!(
        "madang: program   {program}\n\
         madang: settings  {settings}\n\
         madang: data      {data} (of the user {user})\n\
         madang: units     {service}, {socket}\n\
         madang: variables {environment} (NAME=value for ${{NAME}} in the settings; chmod 600)\n\
         madang: look      systemctl status madang; madang status -c {settings}\n\
         madang: logs      journalctl -u madang -f; madang logs -c {settings} -f\n\
         madang: change    madang check -c {settings} && systemctl reload madang\n\
         madang: ports     after a change of `listen`: madang install -c {settings}\n\
         madang: stop      systemctl stop madang.socket madang.service\n\
         madang: away      madang uninstall\n",
        program = place.program().display(),
        data = manifest.data.display(),
        user = manifest.user,
        service = place.unit(place::SERVICE).display(),
        socket = place::SOCKET,
        environment = place::environment().display(),
    );
    journal.text(&place::told(), &text)?;
    journal.conclude(&text);
    Ok(())
}
