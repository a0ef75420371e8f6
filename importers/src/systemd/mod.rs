//! systemd units: a service is an app, a timer its schedule.
//!
//! **Job.** Commands, environment, limits, restarts and stops of `.service`; `OnCalendar` of the `.timer` beside it.
//! **Called by** `choose`. **Calls** `unit`.
//!
//! Not here: the language (`unit`); `madang install`, which writes a unit.

mod unit;

use crate::draft::{Draft, Kind, Place, Section, Value, as_name};
use crate::folder::Folder;
use crate::listening::{set_env, set_run, site_for};
use crate::shell;

use self::unit::{Setting, calendar, settings, span, words};

/// Keys whose work Madang does by itself or that say nothing about it.
const NOT_NEEDED: &[&str] = &[
    "Description",
    "Documentation",
    "After",
    "Wants",
    "WantedBy",
    "StandardOutput",
    "StandardError",
    "SyslogIdentifier",
    "Alias",
    "KillMode",
    "LimitNOFILE",
    "AmbientCapabilities",
    "Before",
    "Also",
    "AccuracySec",
    "Unit",
    "RemainAfterExit",
    "DefaultDependencies",
    "CPUAccounting",
    "MemoryAccounting",
    "TasksAccounting",
    "Persistent",
    "RandomizedDelaySec",
    "PIDFile",
    "GuessMainPID",
    "SendSIGKILL",
];

/// Whether a text looks like a unit.
pub(crate) fn looks_like(text: &str) -> bool {
    text.lines().any(|line| matches!(line.trim(), "[Service]" | "[Timer]"))
}

/// Reads a service (or the service beside a timer).
///
/// # Errors
/// A sentence: there is nothing to run.
pub(crate) fn import(folder: &dyn Folder, file: &str, text: &str) -> Result<Draft, String> {
    let (base, is_timer) = match (file.strip_suffix(".service"), file.strip_suffix(".timer")) {
        (Some(base), _) => (base.to_owned(), false),
        (_, Some(base)) => (base.to_owned(), true),
        _ => (file.to_owned(), false),
    };
    let service_file = format!("{base}.service");
    let service_text = if is_timer {
        folder
            .read(&service_file)
            .map_err(|why| format!("{file}: its service {service_file} cannot be read: {why}"))?
    } else {
        text.to_owned()
    };
    let shown = if is_timer { &service_file } else { file };
    let name = as_name(base.rsplit('/').next().unwrap_or(&base).trim_end_matches('@'));
    let mut draft = Draft::from_source(file);
    let mut app = Section::new(Kind::App, &*name);
    let mut unit = Unit::default();
    for setting in settings(&service_text) {
        take(&mut draft, folder, &mut app, &mut unit, &setting, shown);
    }
    let Some(command) = unit.run.clone() else { return Err(format!("{shown}: there is no ExecStart in it")) };
    app.entries.insert(0, crate::draft::Entry { key: "run", value: "".into(), why: String::new() });
    unit.finish(&mut draft, &mut app, &command);
    let timer_file = format!("{base}.timer");
    let timer = if is_timer { Some(text.to_owned()) } else { folder.read(&timer_file).ok() };
    let job = if let Some(timer) = timer {
        timed(&mut draft, &mut app, &timer_file, &timer)
    } else if unit.oneshot {
        app.set_why("once", true, "Type=oneshot: it runs and ends, at each start");
        true
    } else {
        false
    };
    if !unit.before.is_empty() {
        // What had to be done before it is a job that it waits for.
        let mut first = Section::new(Kind::App, format!("{name}-before"));
        first.say(format!("ExecStartPre of {shown}."));
        first.set("run", shell::in_shell(&unit.before.join(" && ")));
        for key in ["dir", "user", "env", "env_file"] {
            if let Some(value) = app.get(key).cloned() {
                first.set(key, value);
            }
        }
        first.set("once", true);
        app.set("after", first.name.as_str());
        draft.sections.push(first);
    }
    draft.found.insert(0, format!("{shown}: the service {name}"));
    if job {
        for key in ["ready", "start_within"] {
            app.unset(key);
        }
        draft.sections.push(app);
    } else {
        draft.sections.push(app);
        site_for(&mut draft, &name);
        draft.next.push(format!("see that {name} listens at 127.0.0.1 and the port in PORT; a program that takes no requests gets ready = \"running\" and no site"));
    }
    draft.next.push(format!("systemctl disable --now {name} before the first start"));
    Ok(draft)
}

#[derive(Default)]
struct Unit {
    run: Option<Vec<String>>,
    before: Vec<String>,
    env: Vec<(String, String)>,
    oneshot: bool,
    burst: Option<u64>,
    interval: Option<String>,
    restarts: Option<String>,
}

impl Unit {
    fn finish(&self, draft: &mut Draft, app: &mut Section, command: &[String]) {
        let expands = command.iter().any(|word| word.contains('$') && !word.contains("$$"));
        if expands {
            // Variables are put in by systemd; here a shell does it.
            let words: Vec<String> = command.iter().map(|word| quote_variables(word)).collect();
            app.set("run", vec!["sh".to_owned(), "-c".to_owned(), format!("exec {}", words.join(" "))]);
        } else {
            let plain: Vec<String> = command.iter().map(|word| word.replace("$$", "$")).collect();
            set_run(app, &plain);
        }
        // The command first, as people look for it.
        if let Some(place) = app.entries.iter().position(|entry| entry.key == "run") {
            let run = app.entries.remove(place);
            app.entries.insert(0, run);
        }
        set_env(app, self.env.clone());
        if self.restarts.as_deref() == Some("no") && !self.oneshot {
            app.set_in("restart", "at_most", "never");
        } else if let (Some(burst), interval) = (self.burst, &self.interval) {
            let interval = interval.clone().unwrap_or_else(|| "10s".to_owned());
            app.set_in("restart", "at_most", format!("{} per {interval}", burst.clamp(1, 1000)));
        }
        if self.restarts.as_deref() == Some("on-failure") {
            draft.found.push(
                "Restart=on-failure: here an end with code 0 is followed by a start, too, unless it is a job"
                    .to_owned(),
            );
        }
    }
}

fn quote_variables(word: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+${}".contains(c);
    if word.chars().all(fine) {
        word.to_owned()
    } else {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('`', "\\`"))
    }
}

fn take(
    draft: &mut Draft,
    folder: &dyn Folder,
    app: &mut Section,
    unit: &mut Unit,
    setting: &Setting,
    file: &str,
) {
    let at = || Place::new(file, setting.line);
    let value = setting.value.as_str();
    let lose = |app: &mut Section, instead: &str| {
        app.lose(at(), format!("{}={}", setting.key, value.chars().take(60).collect::<String>()), instead)
    };
    match setting.key.as_str() {
        "ExecStart" if unit.run.is_some() && !value.is_empty() => {
            lose(app, "one program is run; put the others into a script, or `once` jobs with `after`")
        }
        "ExecStart" => unit.run = command(value),
        "ExecStartPre" => unit.before.extend(
            command(value)
                .map(|words| words.iter().map(|word| quote_variables(word)).collect::<Vec<_>>().join(" ")),
        ),
        "ExecStartPost" | "ExecStop" | "ExecStopPost" | "ExecReload" | "ExecCondition" => lose(
            app,
            "an app is ended by `stop.signal`, reloaded by a deploy; other commands are `once` jobs",
        ),
        "Type" => match value {
            "notify" | "notify-reload" => app.set("ready", "notify"),
            "oneshot" => unit.oneshot = true,
            "forking" => lose(app, "the program must stay in the foreground; most have an option for it"),
            "dbus" | "idle" => lose(app, "it is started like any other"),
            _ => {}
        },
        "NotifyAccess" => {}
        "Environment" => {
            let pairs = words(value);
            unit.env.extend(
                pairs
                    .iter()
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
        }
        "EnvironmentFile" => {
            let path = value.trim_start_matches('-');
            if value.starts_with('-') && !folder.has(path) {
                lose(app, "it may be missing and is: `env_file` must be there");
            } else if app.get("env_file").is_some() {
                lose(app, "one `env_file` and one `secrets_file` are read");
            } else {
                app.set("env_file", folder.named(path));
            }
        }
        "WorkingDirectory" => {
            let path = value.trim_start_matches('-');
            if path.starts_with('~') || path.contains('%') {
                lose(app, "`dir` is a path")
            } else {
                app.set("dir", folder.named(path))
            }
        }
        "User" if value == "root" => app.say("It ran as root; without `user` it runs as the server does."),
        "User" => app.set("user", value),
        "Group" | "SupplementaryGroups" | "DynamicUser" => lose(app, "it gets the groups of its `user`"),
        "Restart" => unit.restarts = Some(value.to_owned()),
        "RestartSec" => span(value).into_iter().for_each(|span| app.set_in("restart", "after", span)),
        "StartLimitBurst" => unit.burst = value.parse().ok(),
        "StartLimitIntervalSec" | "StartLimitInterval" => {
            unit.interval = span(value).filter(|span| span != "0s")
        }
        "MemoryMax" | "MemoryLimit" => match memory(value) {
            Some(size) => app.set_in("limits", "memory", size),
            None => lose(app, "`limits.memory` is a size"),
        },
        "CPUQuota" => match value.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()) {
            Some(percent) => app.set_in("limits", "cpu", format!("{percent}%")),
            None => lose(app, "`limits.cpu` is a share of one core: \"50%\""),
        },
        "TasksMax" => match value.parse::<u64>() {
            Ok(count) => app.set_in("limits", "pids", count.clamp(1, 1_000_000)),
            Err(_) => lose(app, "`limits.pids` is a number"),
        },
        "KillSignal" => match value.trim_start_matches("SIG") {
            signal @ ("TERM" | "INT" | "QUIT" | "HUP" | "USR1" | "USR2") => {
                app.set_in("stop", "signal", signal)
            }
            _ => lose(app, "`stop.signal` is TERM, INT, QUIT, HUP, USR1 or USR2"),
        },
        "TimeoutStopSec" => span(value).into_iter().for_each(|span| app.set_in("stop", "grace", span)),
        "TimeoutStartSec" => {
            span(value).filter(|span| span != "0s").into_iter().for_each(|span| app.set("start_within", span))
        }
        "TimeoutSec" => span(value).into_iter().for_each(|span| app.set_in("stop", "grace", span)),
        "NoNewPrivileges" if matches!(value, "true" | "yes" | "1" | "on") => {}
        "NoNewPrivileges" => app.set_in("harden", "no_new_privs", false),
        "ReadOnlyPaths" => app.set_in(
            "harden",
            "read_only",
            Value::one_or_many(
                words(value)
                    .into_iter()
                    .map(|path| folder.named(path.trim_start_matches(['-', '+'])))
                    .collect(),
            ),
        ),
        "Requires" | "BindsTo" | "PartOf" | "Requisite" => {
            let others: Vec<&str> =
                value.split_whitespace().filter(|name| name.ends_with(".service")).collect();
            if !others.is_empty() {
                lose(app, "`after` waits for apps of Madang only; what systemd starts is there before it");
            }
        }
        "WatchdogSec" => lose(app, "`health` asks the program itself"),
        "OnFailure" => lose(app, "an [alert.NAME] tells when an app failed"),
        key if key.starts_with("Protect")
            || key.starts_with("Private")
            || key.starts_with("Restrict")
            || key.starts_with("SystemCall")
            || key.starts_with("Capability")
            || key.starts_with("Lock")
            || key.starts_with("Memory")
            || key.starts_with("ReadWrite")
            || key.starts_with("Inaccessible") =>
        {
            lose(app, "`harden` has no_new_privs and read_only");
        }
        key if NOT_NEEDED.contains(&key) => draft.not_needed(key),
        _ => lose(app, "there is no counterpart; see `madang schema --docs`"),
    }
}

/// A command line without systemd's prefixes.
fn command(value: &str) -> Option<Vec<String>> {
    let value = value.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let words = words(value);
    (!words.is_empty() && !words[0].is_empty()).then_some(words)
}

fn memory(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let scale: u64 = match &text[end..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    let mib = number.checked_mul(scale)? >> 20;
    Some(format!("{}MiB", mib.clamp(1, 16 << 20)))
}

/// The timer beside it. True: it is a job now.
fn timed(draft: &mut Draft, app: &mut Section, file: &str, text: &str) -> bool {
    let mut job = false;
    for setting in settings(text).into_iter().filter(|setting| setting.section == "Timer") {
        let at = Place::new(file, setting.line);
        let made = match setting.key.as_str() {
            "OnCalendar" => calendar(&setting.value).map(|schedule| ("schedule", schedule)),
            "OnUnitActiveSec" | "OnUnitInactiveSec" => span(&setting.value).map(|span| ("every", span)),
            "OnBootSec" | "OnStartupSec" | "OnActiveSec" => None,
            key => {
                if NOT_NEEDED.contains(&key) {
                    draft.not_needed(key);
                } else {
                    app.lose(at, format!("{key}={}", setting.value), "a job has `schedule` or `every`");
                }
                continue;
            }
        };
        match made {
            Some((key, value)) if !job => {
                app.set_why(key, value, format!("{}={}", setting.key, setting.value));
                job = true;
            }
            Some(_) => app.lose(
                at,
                format!("{}={}", setting.key, setting.value),
                "one `schedule` or one `every`; write a second job",
            ),
            None => app.lose(
                at,
                format!("{}={}", setting.key, setting.value),
                "`schedule` has minute, hour, day, month and weekday; `every` a time between runs",
            ),
        }
    }
    if !job {
        app.set_why("once", true, format!("{file} says no time that can be carried over"));
    }
    draft.found.push(format!("{file}: when it runs"));
    true
}
