//! `madang` and `madang DIR`: serve a folder now.
//!
//! **Job.** Options, the addresses to open, one line per request. **Called by** `cli`. **Calls** `config::serve_folder`, `check::start`.
//!
//! Not here: files (`roles/web`).

use std::path::PathBuf;

use clap::Args;
use madang_host::clock;

use super::{Ended, check, colour_err, complain};
use crate::config::serve_folder::Folder;
use crate::run::Start;

/// Options for serving a folder.
#[derive(Args, Clone)]
pub(super) struct FolderArgs {
    /// The folder to serve
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(short, long, default_value_t = 8000)]
    port: u16,
    /// Let other machines of the network in
    #[arg(long)]
    lan: bool,
    /// https, with a certificate of this machine's own
    #[arg(long)]
    tls: bool,
    /// Unknown paths answer with /index.html
    #[arg(long)]
    spa: bool,
    /// Take files: on the page, or by curl -T FILE URL/
    #[arg(long)]
    upload: bool,
}

impl FolderArgs {
    /// Whether nothing at all was said.
    pub(super) fn is_plain(&self) -> bool {
        self.folder.is_none() && self.port == 8000 && !self.lan && !self.tls && !self.spa && !self.upload
    }
}

/// Serves a folder until it is interrupted.
pub(super) fn serve(args: &FolderArgs) -> Ended {
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from("."));
    let absolute = match std::fs::canonicalize(&folder) {
        Ok(path) if path.is_dir() => path,
        Ok(path) => {
            complain(&format!("{} is a file; name the folder it is in", path.display()));
            return Ended::Usage;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            complain(&super::no_such(&folder));
            return Ended::Usage;
        }
        Err(error) => {
            complain(&format!("cannot serve {}: {error}", folder.display()));
            return Ended::Usage;
        }
    };
    if args.folder.is_none()
        && let Some(hint) = super::init::hint(&folder)
    {
        eprintln!("madang: {hint}");
    }
    let wanted = Folder {
        folder: absolute,
        port: args.port,
        lan: args.lan,
        tls: args.tls,
        spa: args.spa,
        upload: args.upload,
    };
    let (settings, report) = wanted.settings(&own_data(), clock::wall());
    let Some(settings) = settings else {
        eprint!("{}", report.to_text(colour_err()));
        return Ended::Usage;
    };
    check::start(Start { settings, file: None, takeover: None })
}

/// Where the certificate authority of `--tls` lives: with the user, never in the folder that is served.
pub(super) fn own_data() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    state.unwrap_or_else(|| PathBuf::from("/var/lib")).join("madang")
}
