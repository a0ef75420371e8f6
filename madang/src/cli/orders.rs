//! Commands to the running server.
//!
//! **Job.** Ask, show, exit code. **Called by** `cli`. **Calls** `ask`, `show`.
//!
//! Not here: what the server does (`run`).

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
