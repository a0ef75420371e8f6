//! `madang user` and `madang token`: who may come in.
//!
//! **Job.** Ask the running server, or do it straight on the store where none runs; show it. **Called by** `cli`. **Calls** `ask`,
//! `identity_orders`, `table`.
//!
//! Invariants
//! 1. A password is read from the terminal without being shown, or from standard input; never from the command line, which others on
//!    the machine can read.
//!
//! Not here: what users are (`engine/identity`).

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use clap::{Args, Subcommand};
use madang_identity::Identity;
use madang_settings::unit;
use madang_store::Store;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::ask::{self, Unasked};
use super::table::{Column, table};
use super::{Asked, Ended, colour_err, complain, screen};
use crate::config;
use crate::data_folder;
use crate::identity_orders::{IdentityOrder, order};

/// What to do about users.
#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Make a user; the password is asked for, or read from standard input
    Add {
        /// The name: letters, digits, `-`, `_`, `.`
        name: String,
        /// Roles, for rules; `admin` may do everything in every chat
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Only keys open it (`madang token new`): for programs
        #[arg(long)]
        no_password: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Every user
    List(Asked),
    /// Give a user another password; every login of it ends
    Passwd(Named),
    /// Give a user these roles and no others; every login of it ends
    Roles {
        /// The name
        name: String,
        /// All of them; none: it has no role
        roles: Vec<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Nobody may log in as this user any more; every login ends
    Disable(Named),
    /// And may again
    Enable(Named),
    /// End every login of a user, everywhere
    Logout(Named),
    /// Remove a user and its keys for good
    Remove(Named),
}

/// A user by name.
#[derive(Args)]
pub(super) struct Named {
    /// The name
    name: String,
    #[command(flatten)]
    asked: Asked,
}

/// What to do about API keys.
#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a key for a user; it is shown once
    New {
        /// Whose it is
        user: String,
        /// What it is for
        #[arg(long, default_value = "")]
        label: String,
        /// Only these of the user's roles; left out: all of them
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// No role at all
        #[arg(long, conflicts_with = "roles")]
        no_roles: bool,
        /// How long it lasts, such as 90d; left out: until it is revoked
        #[arg(long)]
        lasts: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Keys of a user
    List {
        /// Whose
        user: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Take a key back, by what it begins with
    Revoke {
        /// `mdk_` and eight letters
        prefix: String,
        #[command(flatten)]
        asked: Asked,
    },
}

pub(super) fn user(command: &UserCommand) -> Ended {
    match command {
        UserCommand::Add { name, roles, no_password, asked } => {
            let password = match (no_password, password(name)) {
                (true, _) => None,
                (false, Ok(password)) => Some(password),
                (false, Err(ended)) => return ended,
            };
            let wanted = json!({ "name": name, "roles": roles, "password": password });
            changed(asked, IdentityOrder::Add, &wanted, "is a user now")
        }
        UserCommand::List(asked) => list(asked),
        UserCommand::Passwd(Named { name, asked }) => match password(name) {
            Ok(password) => {
                let wanted = json!({ "name": name, "password": password });
                changed(asked, IdentityOrder::Password, &wanted, "has a new password; every login ended")
            }
            Err(ended) => ended,
        },
        UserCommand::Roles { name, roles, asked } => {
            let wanted = json!({ "name": name, "roles": roles });
            changed(asked, IdentityOrder::Roles, &wanted, "has these roles; every login ended")
        }
        UserCommand::Disable(named) => named_only(named, IdentityOrder::Disable, "cannot log in any more"),
        UserCommand::Enable(named) => named_only(named, IdentityOrder::Enable, "can log in again"),
        UserCommand::Logout(named) => named_only(named, IdentityOrder::Logout, "is logged out everywhere"),
        UserCommand::Remove(named) => named_only(named, IdentityOrder::Remove, "is removed"),
    }
}

fn named_only(named: &Named, order: IdentityOrder, told: &str) -> Ended {
    changed(&named.asked, order, &json!({ "name": named.name }), told)
}

fn changed(asked: &Asked, order: IdentityOrder, wanted: &Value, told: &str) -> Ended {
    done(asked, order, wanted, |value| {
        let name = value["user"]["name"].as_str().or(wanted["name"].as_str()).unwrap_or("");
        say!("{name} {told}");
    })
}

fn list(asked: &Asked) -> Ended {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().and_then(|user| user["name"].as_str());
        let page = match performed(asked, IdentityOrder::Users, &json!({ "after": after })) {
            Ok(value) => value["users"].as_array().cloned().unwrap_or_default(),
            Err(ended) => return ended,
        };
        let is_last = page.len() < madang_identity::PAGE_MAX;
        all.extend(page);
        if is_last {
            break;
        }
    }
    if asked.output.json {
        say!("{}", json!({ "users": all }));
    } else if all.is_empty() {
        say!("there are no users; `madang user add NAME` makes one");
    } else {
        let row = |user: &Value| {
            let flag =
                |key: &str, word: &str| if user[key] == true { word.to_owned() } else { String::new() };
            let text = |key: &str| user[key].as_str().unwrap_or("").to_owned();
            let state = if user["disabled"] == true { "disabled" } else { "" };
            let by = [flag("password", "password"), flag("scram", "scram")];
            let by = by.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
            vec![text("name"), text("id"), words(&user["roles"]), by, state.to_owned(), date(&user["made"])]
        };
        let columns = ["name", "id", "roles", "comes in by", "state", "made"].map(Column::Text);
        super::put(&table(&columns, &all.iter().map(row).collect::<Vec<_>>(), screen()));
    }
    Ended::Done
}

pub(super) fn token(command: &TokenCommand) -> Ended {
    match command {
        TokenCommand::New { user, label, roles, no_roles, lasts, asked } => {
            let lasts_s = match lasts.as_deref().map(unit::duration) {
                None => None,
                Some(Some(lasts)) => Some(lasts.as_secs()),
                Some(None) => {
                    complain("--lasts takes a number and a unit: 90d, 12h, 30m");
                    return Ended::Usage;
                }
            };
            let roles = (*no_roles || !roles.is_empty()).then_some(roles);
            let wanted = json!({ "name": user, "label": label, "roles": roles, "lasts_s": lasts_s });
            done(asked, IdentityOrder::NewKey, &wanted, |value| {
                say!("{}", value["key"].as_str().unwrap_or(""));
                if std::io::stdout().is_terminal() {
                    eprintln!("this is the only time it is shown");
                }
            })
        }
        TokenCommand::List { user, asked } => {
            done(asked, IdentityOrder::Keys, &json!({ "name": user }), |value| {
                let all = value["keys"].as_array().cloned().unwrap_or_default();
                if all.is_empty() {
                    return say!("{user} has no keys; `madang token new {user}` makes one");
                }
                let row = |key: &Value| {
                    let text = |name: &str| key[name].as_str().unwrap_or("").to_owned();
                    let roles = if key["roles"].is_null() { "all".to_owned() } else { words(&key["roles"]) };
                    let ends =
                        if key["expires"].is_null() { "never".to_owned() } else { date(&key["expires"]) };
                    vec![text("prefix"), text("label"), roles, date(&key["made"]), ends]
                };
                let columns = ["key", "label", "roles", "made", "ends"].map(Column::Text);
                super::put(&table(&columns, &all.iter().map(row).collect::<Vec<_>>(), screen()));
            })
        }
        TokenCommand::Revoke { prefix, asked } => {
            done(asked, IdentityOrder::RevokeKey, &json!({ "prefix": prefix }), |_| say!("revoked"))
        }
    }
}

fn words(list: &Value) -> String {
    let all = list.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

fn date(value: &Value) -> String {
    value.as_u64().map(madang_host::clock::shown).unwrap_or_default()
}

fn done(asked: &Asked, order: IdentityOrder, wanted: &Value, show: impl FnOnce(&Value)) -> Ended {
    match performed(asked, order, wanted) {
        Ok(value) if asked.output.json => {
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

/// On the running server, or straight on the store.
fn performed(asked: &Asked, what: IdentityOrder, wanted: &Value) -> Result<Value, Ended> {
    let fail = |message: &str| {
        complain(message);
        Ended::Failed
    };
    let settings = &asked.file.config;
    let (status, text) = match ask::send(settings, "POST", path(what), wanted.to_string().as_bytes()) {
        Ok(answer) => answer,
        Err(Unasked::NobodyRuns(message)) if !settings.is_file() => return Err(fail(&message)),
        Err(Unasked::NobodyRuns(_)) => here(settings, what, wanted)?,
        Err(Unasked::Failed(message)) => return Err(fail(&message)),
    };
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if status == 409 && value["name"] == "logins-off" {
        let help = "write [identity] into its settings, then `madang reload`";
        return Err(fail(&format!("{}; {help}", value["message"].as_str().unwrap_or(""))));
    }
    if status < 300 {
        return Ok(value);
    }
    if asked.output.json {
        say!("{value}");
        return Err(Ended::Failed);
    }
    Err(fail(value["message"].as_str().unwrap_or("the server refused")))
}

/// The paths of the control socket.
fn path(order: IdentityOrder) -> &'static str {
    let of = |entry: &&(_, &'static str, crate::control::Order, bool, _)| matches!(&entry.2, crate::control::Order::Identity(have, _) if *have == order);
    crate::control::PATHS.iter().find(of).map_or("/", |entry| entry.1)
}

/// Without a server: the lock of the data folder is held meanwhile, so that none starts in between.
fn here(settings: &Path, what: IdentityOrder, wanted: &Value) -> Result<(u16, String), Ended> {
    let fail = |message: String| {
        complain(&message);
        Ended::Failed
    };
    let told = |report: Box<madang_settings::report::Report>| {
        eprint!("{}", report.to_text(colour_err()));
        Ended::Usage
    };
    let (store, data) = config::store(settings).map_err(told)?;
    let identity = config::identity(settings).map_err(told)?;
    data_folder::make(&data).map_err(|failure| fail(failure.message))?;
    let _lock = data_folder::lock(&data, None).map_err(|failure| fail(failure.message))?;
    let store = Store::open(&store, &data).map_err(|error| fail(error.to_string()))?;
    let identity = Identity::open(&store, &identity, &[]).map_err(|error| fail(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| fail(format!("cannot start: {error}")))?;
    let (status, _, text) = runtime.block_on(order(Some(&identity), what, wanted.to_string().as_bytes()));
    store.close();
    Ok((status, text))
}

/// A password: twice from the terminal, or a line of standard input.
fn password(name: &str) -> Result<String, Ended> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return line().and_then(|password| match password.is_empty() {
            false => Ok(password),
            true => {
                complain("no password came: printf '%s' 'the password' | madang user …");
                Err(Ended::Usage)
            }
        });
    }
    let first = hidden(&format!("password of {name}: "))?;
    let again = hidden("again: ")?;
    if first == again {
        return Ok(first);
    }
    complain("these were two different passwords");
    Err(Ended::Usage)
}

fn hidden(prompt: &str) -> Result<String, Ended> {
    let input = std::io::stdin();
    eprint!("{prompt}");
    let _ = std::io::stderr().flush();
    let before = tcgetattr(&input).ok();
    if let Some(mut quiet) = before.clone() {
        quiet.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&input, OptionalActions::Flush, &quiet);
    }
    let read = line();
    if let Some(before) = before {
        let _ = tcsetattr(&input, OptionalActions::Flush, &before);
    }
    eprintln!();
    read
}

fn line() -> Result<String, Ended> {
    let mut text = String::new();
    match std::io::Read::take(std::io::stdin().lock(), 4096).read_line(&mut text) {
        Ok(_) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(_) => {
            complain("the password is not text");
            Err(Ended::Usage)
        }
    }
}
