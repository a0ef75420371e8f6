//! `madang backup`, `madang restore`, `madang export`.
//!
//! **Job.** Find the house's data by the settings, do it, say what was done. **Called by** `cli`. **Calls** `store::backup`.
//!
//! Settings that are wrong in other places do not keep anybody from a backup: only `[server]` and `[store]` are read.
//!
//! Not here: the file and the databases (`engine/store/src/backup/`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use madang_host::clock;
use madang_host::telemetry::access::size;
use madang_store::backup::{self, BackupError, Counts};
use madang_store::config::StoreSettings;
use serde_json::json;

use super::{Ended, Output, colour_err, complain};
use crate::config;
use crate::data_folder;

/// Everything into one file.
pub(super) fn backup(settings: &Path, to: &Path, output: Output) -> Ended {
    let Some((store, data)) = place(settings) else { return Ended::Usage };
    let began = clock::now();
    match backup::backup(&store, &data, to, now_ms()) {
        Err(error) => failed(&error),
        Ok(made) if output.json => {
            let mut told = serde_json::to_value(&made).unwrap_or_default();
            told["file"] = json!(to);
            say!("{told}");
            Ended::Done
        }
        Ok(made) => {
            let seconds = began.elapsed().as_secs_f64();
            let (what, bytes) = (shown(&made.counts), size(made.bytes));
            say!("{}: {what}; {bytes}, verified, in {seconds:.1} s", to.display());
            Ended::Done
        }
    }
}

/// A backup into the place of what is there.
pub(super) fn restore(settings: &Path, from: &Path, force: bool, output: Output) -> Ended {
    let Some((store, data)) = place(settings) else { return Ended::Usage };
    // A running server would go on with the old data.
    let lock = data_folder::make(&data).and_then(|()| data_folder::lock(&data, None));
    let _lock = match lock {
        Ok(lock) => lock,
        Err(failure) => {
            complain(&format!("{}; a restore needs it stopped", failure.message));
            return Ended::Failed;
        }
    };
    match backup::restore(&store, &data, from, force, now_ms()) {
        Err(error) => failed(&error),
        Ok(restored) if output.json => {
            say!("{}", json!({ "counts": restored.counts, "before": restored.before }));
            Ended::Done
        }
        Ok(restored) => {
            say!("restored {}: {}", from.display(), shown(&restored.counts));
            if let Some(before) = restored.before {
                say!("what was there before is kept in {}", before.display());
            }
            Ended::Done
        }
    }
}

/// Entries as lines of JSON on standard output.
pub(super) fn export(settings: &Path, stream: Option<&str>) -> Ended {
    let Some((store, data)) = place(settings) else { return Ended::Usage };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let told = backup::export(&store, &data, stream, &mut |line| writeln!(out, "{line}"));
    let told = told.and_then(|count| {
        let path = PathBuf::from("standard output");
        out.flush().map(|()| count).map_err(|error| BackupError::File { path, error })
    });
    match (told, stream) {
        // A reader that has gone (`| head`) is no error.
        (Err(BackupError::File { error, .. }), _) if error.kind() == io::ErrorKind::BrokenPipe => Ended::Done,
        (Err(error), _) => failed(&error),
        (Ok(0), Some(stream)) => {
            complain(&format!("there is no entry in a stream {stream:?}; without --stream all are exported"));
            Ended::Failed
        }
        (Ok(_), _) => Ended::Done,
    }
}

fn failed(error: &BackupError) -> Ended {
    complain(&error.to_string());
    Ended::Failed
}

/// Where the data is, by `[store]` and `[server]` alone.
fn place(settings: &Path) -> Option<(StoreSettings, PathBuf)> {
    if !settings.is_file() {
        complain(&format!(
            "there is no {}; name the settings of the server with -c FILE",
            settings.display()
        ));
        return None;
    }
    match config::store(settings) {
        Ok(place) => Some(place),
        Err(report) => {
            eprint!("{}", report.to_text(colour_err()));
            None
        }
    }
}

fn shown(counts: &Counts) -> String {
    let Counts { streams, entries, values, tables, rows } = counts;
    format!("{entries} entries in {streams} streams, {values} values, {rows} rows in {tables} tables")
}

fn now_ms() -> u64 {
    let since = clock::wall().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
