//! The folder that `madang init` looks at, on disk.
//!
//! **Job.** Read bounded text files, list names, run `node` for a file whose value cannot be read otherwise.
//! **Called by** `init`. **Calls** the file system, `host::process`.
//!
//! Invariants
//! 1. Only regular files are opened, and no more of one is read than the bound.
//! 2. `node` is run only when the importers ask for it, within a time, and what it writes is bounded.
//!
//! Not here: what files mean (`importers`).

use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use madang_host::process::hook::{self, Hook};
use madang_importers::folder::{FILE_BYTES_MAX, Folder, Is, NAMES_MAX, Unreadable};

/// How long `node` may take to say what a file exports.
const NODE_WITHIN: Duration = Duration::from_secs(5);
/// What it runs: the export of a module of either kind, as JSON.
const EXPORTED: &str =
    "import(process.argv[1]).then((it) => process.stdout.write(JSON.stringify(it.default ?? it)))";

/// A folder, and the one that madang.toml is written to.
pub(super) struct Disk {
    root: PathBuf,
    /// What goes before a path so that madang.toml can name it; empty: they are the same folder.
    prefix: Option<PathBuf>,
}

impl Disk {
    /// Looks at `root` for a file in `target`.
    pub(super) fn new(root: PathBuf, target: &Path) -> Self {
        let absolute = std::fs::canonicalize(&root).unwrap_or_else(|_| root.clone());
        let same = std::fs::canonicalize(target).is_ok_and(|target| target == absolute);
        Self { root, prefix: (!same).then_some(absolute) }
    }
}

impl Folder for Disk {
    fn read(&self, path: &str) -> Result<String, Unreadable> {
        let path = self.root.join(path);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unreadable::Absent,
            _ => Unreadable::Failed(error.to_string()),
        };
        // A pipe would wait for a writer: it is opened so that it does not, and is then no regular file.
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file =
            std::fs::OpenOptions::new().read(true).custom_flags(nonblock).open(&path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Unreadable::Failed("it is not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Unreadable::TooLarge);
        }
        if bytes.contains(&0) {
            return Err(Unreadable::NotText);
        }
        String::from_utf8(bytes).map_err(|_| Unreadable::NotText)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.root.join(folder)) else { return Vec::new() };
        let names = entries.take(NAMES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn is(&self, path: &str) -> Option<Is> {
        let meta = std::fs::metadata(self.root.join(path)).ok()?;
        if meta.is_dir() {
            Some(Is::Folder)
        } else if meta.permissions().mode() & 0o111 != 0 {
            Some(Is::Program)
        } else {
            Some(Is::File)
        }
    }

    fn evaluate(&self, path: &str) -> Result<String, String> {
        let dir = std::fs::canonicalize(&self.root).map_err(|error| error.to_string())?;
        let file = dir.join(path);
        let named = file.to_str().ok_or("its path is not text")?.to_owned();
        let hook = Hook {
            run: ["node", "-e", EXPORTED, "--", &named].map(str::to_owned).to_vec(),
            dir,
            environment: Vec::new(),
            input: Vec::new(),
            within: NODE_WITHIN,
            kept_bytes_max: FILE_BYTES_MAX,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.and_then(|runtime| runtime.block_on(hook::run(hook)));
        let done = done.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "this machine has no node".to_owned(),
            _ => format!("node could not be run: {error}"),
        })?;
        match done.exit {
            None => Err(format!("it did not end within {} s", NODE_WITHIN.as_secs())),
            Some(exit) if exit.is_success() => {
                String::from_utf8(done.stdout).map_err(|_| "it is not text".to_owned())
            }
            Some(_) => {
                let told = String::from_utf8_lossy(&done.stderr).into_owned();
                let line = told.lines().find(|line| line.contains("Error")).or(told.lines().last());
                Err(line.unwrap_or("it said nothing").chars().take(200).collect())
            }
        }
    }

    fn named(&self, path: &str) -> String {
        match &self.prefix {
            Some(prefix) => prefix.join(path).display().to_string(),
            None => path.to_owned(),
        }
    }

    fn name(&self) -> String {
        let absolute = std::fs::canonicalize(&self.root).ok();
        let name = absolute.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        name.unwrap_or("app").to_owned()
    }

    fn cores(&self) -> u64 {
        std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
    }
}
