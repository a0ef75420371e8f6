//! What another server kept closed, kept closed here.
//!
//! **Job.** Logins whose passwords cannot be taken over, rules that cannot be read, folders nobody may see. **Called by** the
//! importers of servers. Pure.
//!
//! Invariants
//! 1. A route that went through here lets nobody in whom the other server kept out.
//!
//! Not here: hashing passwords (`madang hash`).

use crate::draft::{Lost, Place, Route, Value};
use crate::folder::Folder;

/// A hash that no password has: its digest is all zeros.
const NO_PASSWORD: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm8gcGFzc3dvcmQgZml0cw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The names in a file of logins.
pub(crate) fn names_of(folder: &dyn Folder, file: &str) -> Vec<String> {
    let text = folder.read(file).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
        .filter(|name| !name.is_empty())
        .take(256)
        .collect()
}

/// Asks for a login that nobody has yet.
pub(crate) fn passwords(route: &mut Route, at: &Place, what: &str, realm: &str, names: &[String]) {
    let names = if names.is_empty() { vec!["user".to_owned()] } else { names.to_vec() };
    let users = Value::map(names.into_iter().map(|name| (name, NO_PASSWORD.to_owned())));
    route.set("auth", Value::Table(vec![("realm".to_owned(), realm.into()), ("users".to_owned(), users)]));
    route.lost.push(Lost {
        at: at.clone(),
        what: format!("the passwords of {what}"),
        instead: "their hashes are of another kind; no password fits until you put one of yours here: printf '%s' 'the password' | madang hash".to_owned(),
    });
}

/// The route answers 403, whatever it was to do.
pub(crate) fn deny_all(route: &mut Route) {
    let conditions = ["path", "host", "method", "header", "query", "cookie", "from"];
    route.entries.retain(|(key, _)| conditions.contains(key));
    route.set("respond", "");
    route.set("status", 403);
}

/// The same, because what it said about who may come in cannot be carried over.
pub(crate) fn route(route: &mut Route, at: &Place, what: &str, instead: &str) {
    deny_all(route);
    route.say("Closed until you say who may come in.");
    route.lost.push(Lost { at: at.clone(), what: what.to_owned(), instead: instead.to_owned() });
}
