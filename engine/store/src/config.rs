//! `[store]`: where the house's data is kept.
//!
//! **Job.** Its keys, as written and as checked. **Called by** `madang` (reading), [`crate::Store::open`].
//!
//! Invariants
//! 1. An address's password is in no message, no `Debug` and no difference of settings.
//!
//! Not here: opening anything.

use std::fmt;
use std::path::PathBuf;

use madang_settings::reader::Reader;
use madang_settings::schema::{Kind, Section, key};

use crate::postgres::Postgres;

/// `[store]`.
pub const STORE: Section = Section {
    title: "[store]",
    doc: "Where data is kept that must not be lost. Left out: one SQLite file in the data folder, for one machine.",
    keys: &[
        key(
            "database",
            Kind::Text,
            "",
            "Address of a PostgreSQL database, for several machines: `\"postgres://user:${PASSWORD}@db.example.org/madang\"`. Its tables are in a schema named madang. TLS with a verified certificate, except on this machine or with `?sslmode=disable`. Left out: SQLite.",
        ),
        key(
            "ca",
            Kind::Path,
            "",
            "PEM file of the authorities that PostgreSQL's certificate is checked against. Left out: the system's.",
        ),
        key(
            "connections",
            Kind::Count(2, 200),
            "8",
            "Connections to PostgreSQL; half of them write, half read.",
        ),
        key(
            "size_max",
            Kind::Size("1MiB", "16TiB"),
            "",
            "How large the SQLite file may grow; then writes are refused and the rest of the disk stays free. Left out: as large as the disk.",
        ),
    ],
};

/// `[store]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// One file in the data folder.
    Sqlite {
        /// The largest size of the file, in bytes.
        size_max: Option<u64>,
    },
    /// A database.
    Postgres {
        /// Where.
        address: Address,
        /// Authorities for its certificate.
        ca: Option<PathBuf>,
        /// How many connections, 2..=200.
        connections: usize,
    },
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self::Sqlite { size_max: None }
    }
}

/// A database's address. It shows itself without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// With its password.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

/// An address as it may be shown: the password between the first `:` after the scheme and the last `@` is left out, and
/// so are parameters, among which one may be, too.
pub fn without_password(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let rest = rest.split('?').next().unwrap_or_default();
    let shown = match rest.rsplit_once('@') {
        Some((who, place)) => {
            let (user, password) = who.split_once(':').map_or((who, ""), |(user, _)| (user, ":…"));
            format!("{user}{password}@{place}")
        }
        None => rest.to_owned(),
    };
    if scheme.is_empty() { shown } else { format!("{scheme}://{shown}") }
}

impl StoreSettings {
    /// Reads the section.
    pub fn read(r: &mut Reader<'_>) -> Self {
        let size_max = r.size_if("size_max");
        let connections = usize::try_from(r.count_u32("connections")).unwrap_or(8);
        let ca = r.path_value("ca");
        let Some(address) = r.text("database") else {
            for key in ["ca", "connections"] {
                if r.has(key) {
                    let help =
                        Some("database = \"postgres://user:${PASSWORD}@db.example.org/madang\"".to_owned());
                    r.error(key, format!("`{key}` says something only beside `database`"), help);
                }
            }
            return Self::Sqlite { size_max };
        };
        // Before any message can hold it.
        let shown = without_password(&address);
        r.report.hide(&address, &shown);
        if size_max.is_some() {
            r.error("size_max", "`size_max` is of the SQLite file; PostgreSQL has its own limits", None);
        }
        if !["postgres://", "postgresql://"].iter().any(|scheme| address.starts_with(scheme)) {
            let help = Some(
                "PostgreSQL: \"postgres://user:${PASSWORD}@host/name\"; for SQLite leave `database` out"
                    .to_owned(),
            );
            r.error("database", format!("{shown:?} is not the address of a PostgreSQL database"), help);
        } else if let Err(why) = Postgres::check(&address) {
            r.error("database", format!("{shown:?} is not an address: {why}"), None);
        }
        Self::Postgres { address: Address(address), ca, connections }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_itself_without_its_password() {
        check("postgres://db/name", "postgres://db/name");
        check("postgres://me@db/name", "postgres://me@db/name");
        check("postgres://me:secret@db:5432/name", "postgres://me:…@db:5432/name");
        check("postgres://me:se:c@ret@db/name", "postgres://me:…@db/name");
        check("postgres://db/name?user=me&password=secret", "postgres://db/name");
        check("me:secret@db", "me:…@db");

        #[track_caller]
        fn check(address: &str, want: &str) {
            assert_eq!(Address(address.to_owned()).to_string(), want);
            assert!(!format!("{:?}", Address(address.to_owned())).contains("ret"));
        }
    }
}
