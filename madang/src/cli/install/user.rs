//! The system user that the service runs as.
//!
//! **Job.** Make it where it is missing, and say who it is; in a tree, leave a line for systemd-sysusers(8).
//! **Called by** `install`, `uninstall`. **Calls** useradd(8), userdel(8).
//!
//! Not here: what it owns (`install`).

use madang_host::process::tool::Tool;
use madang_host::rights::{Identity, RightsError};

use super::journal::{Did, Journal, Stopped, stopped};
use super::place::{self, Place};

/// Who it is, and whether it was made now.
pub(super) struct User {
    /// `None`: it will be, on another machine or in earnest.
    pub(super) identity: Option<Identity>,
    /// By this run.
    pub(super) made: bool,
}

/// Makes sure that the user is there.
pub(super) fn ensure(journal: &mut Journal, place: &Place, name: &str) -> Result<User, Stopped> {
    if !place.is_here() {
        let line = format!("u {name} - \"Madang\" {} /usr/sbin/nologin\n", place::var().display());
        journal.text(&place.sysusers(), &line)?;
        return Ok(User { identity: None, made: false });
    }
    let find = |name: &str| match Identity::find(name) {
        Ok(identity) => Ok(Some(identity)),
        Err(RightsError::NoSuchUser { .. }) => Ok(None),
        Err(error) => Err(stopped(format!("cannot look up the user {name}"), error)),
    };
    if let Some(identity) = find(name)? {
        journal.tell(Did::Unchanged, &format!("user {name}"), "");
        return Ok(User { identity: Some(identity), made: false });
    }
    let home = place::var().to_string_lossy().into_owned();
    let tool = Tool::new([
        "useradd",
        "--system",
        "--user-group",
        "--home-dir",
        &home,
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        "--comment",
        "Madang",
        name,
    ]);
    journal.run(&tool, "the user that the service runs as")?;
    let identity = if journal.dry { None } else { find(name)? };
    Ok(User { identity, made: true })
}

/// Removes it; only one that `ensure` made.
pub(super) fn remove(journal: &mut Journal, name: &str) -> Result<(), Stopped> {
    if Identity::find(name).is_err() {
        return Ok(());
    }
    journal.run(&Tool::new(["userdel", name]), "it was made by `madang install`").map(|_| ())
}
