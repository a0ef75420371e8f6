//! What `[bus]` needs of the rest of the settings.
//!
//! **Job.** Refuse machines that would hear each other and share nothing, and a bus that nobody uses. **Called by** `config`.
//!
//! Not here: its keys (`madang_bus::config`).

use madang_bus::config::BusSettings;
use madang_settings::reader::Reader;
use madang_store::config::StoreSettings;

/// `used`: something in the settings speaks over the bus.
pub(super) fn check(r: &mut Reader<'_>, bus: &BusSettings, store: &StoreSettings, used: bool) {
    let BusSettings::Nats(_) = bus else { return };
    let mark = r.mark_below(&["bus", "nats"]);
    if !used {
        let help = Some("leave [bus] out".to_owned());
        r.report.error(mark, "bus.nats", "nothing here speaks to other machines", help);
    }
    if let StoreSettings::Sqlite { .. } = store {
        let help =
            Some("[store]\n    database = \"postgres://user:${PASSWORD}@db.example.org/madang\"".to_owned());
        let message =
            "machines that hear each other need one database, and [store] is a file of this machine";
        r.report.error(mark, "bus.nats", message, help);
    }
}
