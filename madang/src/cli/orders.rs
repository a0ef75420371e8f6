//! Commands to the running server.
//!
//! **Job.** Ask, show, exit code. **Called by** `cli`. **Calls** `ask`, `show`.
//!
//! Not here: what the server does (`run`).

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::ask::ask;
use super::{Asked, Ended, complain, pools, screen, show};
use crate::control::encode;

pub(super) fn asked(asked: &Asked, method: &str, path: &str) -> Result<Value, Ended> {
    let (status, text) = ask(&asked.file.config, method, path).map_err(|message| {
        complain(&message);
        Ended::Failed
    })?;
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if status < 300 {
        return Ok(value);
    }
    if asked.output.json {
        say!("{value}");
    } else if let Some(report) = value["text"].as_str() {
        eprint!("{report}");
        complain("the settings have errors; the running server was not changed");
    } else {
        complain(value["message"].as_str().or(value.as_str()).unwrap_or("the server refused").trim_end());
    }
    Err(if status == 422 { Ended::Usage } else { Ended::Failed })
}

pub(super) fn done(args: &Asked, method: &str, path: &str, show: impl FnOnce(&Value)) -> Ended {
    match asked(args, method, path) {
        Ok(value) if args.output.json => {
            say!("{value}");
            Ended::Done
        }
        Ok(value) => {
            show(&value);
            Ended::Done
        }
        Err(ended) => ended,
    }
}

pub(super) fn plan(args: &Asked) -> Ended {
    done(args, "GET", "/api/v1/plan", |value| {
        super::put(&show::changes(&value["changes"], "nothing would change", screen()))
    })
}

pub(super) fn reload(args: &Asked) -> Ended {
    done(args, "POST", "/api/v1/reload", |value| {
        super::put(&format!("reloaded\n{}", show::changes(&value["changes"], "nothing changed", screen())))
    })
}

pub(super) fn stop(args: &Asked) -> Ended {
    done(args, "POST", "/api/v1/stop", |_| say!("draining, then it ends"))
}

pub(super) fn upgrade(args: &Asked) -> Ended {
    done(args, "POST", "/api/v1/upgrade", |value| {
        say!("process {} serves now; the old one drains and ends", value["process"])
    })
}

pub(super) fn pool(args: &Asked, wish: &str, pool: &str, server: Option<&str>) -> Ended {
    let whole = matches!(wish, "hold" | "release");
    let server = match (whole, server) {
        (true, None) => return hold(args, wish, pool),
        (false, Some(server)) => server,
        _ => {
            complain(&format!("{wish} is for a whole pool: `madang pool {wish} {pool}`"));
            return Ended::Usage;
        }
    };
    let path = format!("/api/v1/pool/{wish}?pool={}&server={}", encode(pool), encode(server));
    let told = match wish {
        "enable" => "is back in rotation, as its health allows",
        "disable" => "gets nothing and is not checked",
        _ => "gets nothing new; what is open ends",
    };
    done(args, "POST", &path, |_| say!("{server} {told}"))
}

/// A whole pool: its requests wait, or go on.
fn hold(args: &Asked, wish: &str, pool: &str) -> Ended {
    let path = format!("/api/v1/pool/{wish}?pool={}", encode(pool));
    done(args, "POST", &path, |value| match wish {
        "hold" => say!(
            "requests to pool {pool} wait, each up to {} s, until `madang pool release {pool}`",
            value["wait_seconds"]
        ),
        _ => say!("requests to pool {pool} go on"),
    })
}

pub(super) fn status(args: &Asked, pool: Option<&str>) -> Ended {
    let Some(pool) = pool else {
        return done(args, "GET", "/api/v1/status", |value| super::put(&show::status(value, screen())));
    };
    let value = match asked(args, "GET", "/api/v1/status") {
        Ok(value) => value,
        Err(ended) => return ended,
    };
    match pools::find(&value, pool) {
        Ok(found) if args.output.json => say!("{found}"),
        Ok(found) => super::put(&pools::whole(found, screen())),
        Err(message) => {
            complain(&message);
            return Ended::Failed;
        }
    }
    Ended::Done
}

pub(super) fn connections(args: &Asked) -> Ended {
    done(args, "GET", "/api/v1/connections", |value| super::put(&show::connections(value, screen())))
}

/// The last lines of the access log or an app's, and what follows.
pub(super) fn logs(settings: &Path, app: Option<&str>, follow: bool, lines: usize) -> Ended {
    let name = app.map_or_else(|| "access.log".to_owned(), |app| format!("app-{app}.log"));
    let path = crate::config::data_folder(settings).join("logs").join(name);
    let open = || std::fs::File::open(&path);
    let mut file = match open() {
        Ok(file) => file,
        Err(error) => {
            if error.kind() == std::io::ErrorKind::NotFound && app.is_some() {
                complain(&format!(
                    "there is no log of an app at {}; `madang app list` names them",
                    path.display()
                ));
            } else if error.kind() == std::io::ErrorKind::NotFound {
                complain(&format!(
                    "there is no access log at {}; write `access = \"text\"` under [log] to have one",
                    path.display()
                ));
            } else {
                complain(&format!("cannot read {}: {error}", path.display()));
            }
            return Ended::Failed;
        }
    };
    let length = file.metadata().map_or(0, |meta| meta.len());
    // Enough for the lines wanted at a kilobyte each.
    let from = length.saturating_sub((lines as u64 + 1) * 1024);
    let mut tail = Vec::new();
    if file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut tail)).is_err() {
        return Ended::Failed;
    }
    let text = String::from_utf8_lossy(&tail);
    let mut last: Vec<&str> = text.lines().skip(usize::from(from > 0)).collect();
    last.drain(..last.len().saturating_sub(lines));
    let mut out = std::io::stdout().lock();
    for line in last {
        if writeln!(out, "{line}").is_err() {
            return Ended::Done;
        }
    }
    if !follow {
        return Ended::Done;
    }
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(0) => {
                let rotated = std::fs::metadata(&path)
                    .is_ok_and(|meta| meta.len() < reader.stream_position().unwrap_or(0));
                if rotated && let Ok(file) = open() {
                    reader = BufReader::new(file);
                }
                #[allow(clippy::disallowed_methods)] // a file has no event to wait for that works everywhere
                std::thread::sleep(Duration::from_millis(200));
            }
            Ok(_) => {
                if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                    return Ended::Done;
                }
            }
            Err(_) => return Ended::Failed,
        }
    }
}
