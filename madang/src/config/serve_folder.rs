//! `madang DIR`: settings for serving one folder, made from the command line.
//!
//! **Job.** Write the few lines of settings a user would have written and have them checked like any others.
//! **Called by** `cli`. Not here: running.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use madang_settings::report::Report;
use madang_settings::source::Source;

use super::{Settings, load_from};

/// What the command line said.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Which folder.
    pub folder: PathBuf,
    /// Port; 0 is any free one.
    pub port: u16,
    /// Open to the local network.
    pub lan: bool,
    /// https by this machine's own authority.
    pub tls: bool,
    /// Unknown paths answer with /index.html.
    pub spa: bool,
    /// Files are taken by PUT.
    pub upload: bool,
}

impl Folder {
    /// The settings, or what is wrong with them.
    pub fn settings(&self, data: &Path, now: SystemTime) -> (Option<Settings>, Report) {
        let scheme = if self.tls { "https" } else { "http" };
        let address =
            if self.lan { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let text = |path: &Path| toml_text(&path.to_string_lossy());
        let tls = if self.tls { "tls = \"local\"\n" } else { "" };
        let spa = if self.spa { ", fallback = \"/index.html\"" } else { "" };
        // As large as the disk takes: whoever offers `--upload` knows who comes.
        let upload = if self.upload { ", upload = true, body_max = \"1TiB\"" } else { "" };
        let written = format!(
            "[server]\ndata = {}\ndrain = \"1s\"\n[log]\naccess = \"text\"\naccess_file = \"-\"\n\
             [site.folder]\nlisten = \"{scheme}://{address}:{}\"\n{tls}\
             route = [{{ path = \"/*\", files = {}, listing = true, cache_valid = \"0s\"{spa}{upload} }}]\n",
            text(data),
            self.port,
            text(&self.folder),
        );
        self::written(&written, Path::new("/command-line"), now)
    }
}

/// Checks settings that lie nowhere yet, as if `path` held them.
pub fn written(text: &str, path: &Path, now: SystemTime) -> (Option<Settings>, Report) {
    load_from(path, &BTreeMap::new(), &Written(text.to_owned()), now)
}

/// A basic string of TOML; `$` is doubled so that a folder called `${HOME}` stays one.
fn toml_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

struct Written(String);

impl Source for Written {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.clone())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}
