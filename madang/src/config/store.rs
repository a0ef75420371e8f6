//! Where the house's data is, of a settings file that may be wrong in other places.
//!
//! **Job.** Read `[server].data` and `[store]`, or `[identity]`, alone. **Called by** the commands about data and users.
//!
//! Not here: what the keys mean (`madang_store::config`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use madang_host::config::SERVER;
use madang_identity::config::{IDENTITY, IdentitySettings};
use madang_settings::reader::Reader;
use madang_settings::report::{Report, Severity};
use madang_settings::source;
use madang_store::config::{STORE, StoreSettings};

use super::{ROOT, disk};

/// `[identity]` alone; the whole report when it is wrong itself.
pub fn identity(path: &Path) -> Result<IdentitySettings, Box<Report>> {
    let mut report = Report::default();
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let tree = source::load(path, &environment, &disk::Disk, &mut report);
    let mut root = Reader::root(&tree, &ROOT, &mut report);
    let identity = root.table_or_default("identity", &IDENTITY, IdentitySettings::read);
    let ours = |key: &str| key == "identity" || key.starts_with("identity.");
    let wrong =
        report.problems.iter().any(|problem| problem.severity == Severity::Error && ours(&problem.key));
    if wrong { Err(Box::new(report)) } else { Ok(identity) }
}

/// The store's settings and the data folder; the whole report when `[store]` itself is wrong or the file is no TOML.
pub fn store(path: &Path) -> Result<(StoreSettings, PathBuf), Box<Report>> {
    let mut report = Report::default();
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let tree = source::load(path, &environment, &disk::Disk, &mut report);
    if report.has_errors() && tree.entries.is_empty() {
        return Err(Box::new(report));
    }
    let mut root = Reader::root(&tree, &ROOT, &mut report);
    let data = root.table_or_default("server", &SERVER, |r| r.path_or_default("data"));
    let store = root.table_or_default("store", &STORE, StoreSettings::read);
    let ours = |key: &str| key == "store" || key.starts_with("store.") || key == "server.data";
    let wrong =
        report.problems.iter().any(|problem| problem.severity == Severity::Error && ours(&problem.key));
    if wrong { Err(Box::new(report)) } else { Ok((store, data)) }
}
