//! What is run, and as what: the part of an app whose change is a new version.
//!
//! **Job.** Read and check program, folder, user, environment, limits. **Called by** `config`. **Calls** `settings`,
//! `environment`, the file system (to find the program).
//!
//! Not here: starting it (`host::process`).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use madang_host::rights::{Identity, RightsError};
use madang_settings::reader::Reader;

use super::environment::Environment;
use super::{HARDEN, IMAGE, LIMITS};

/// Where programs are looked for when neither `env` nor the server has a PATH.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How an instance learns where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Give {
    /// PORT.
    Port,
    /// SOCKET.
    Socket,
    /// LISTEN_FDS.
    Listener,
}

/// `limits`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Percent of one core.
    pub cpu: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

impl Limits {
    /// Whether there is any.
    pub const fn is_any(&self) -> bool {
        self.memory.is_some() || self.cpu.is_some() || self.pids.is_some()
    }
}

/// A program with everything it is started with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// The program and its arguments; never empty in settings without errors.
    pub run: Vec<String>,
    /// Where it starts.
    pub dir: PathBuf,
    /// Who it runs as; `None`: as we do.
    pub user: Option<String>,
    /// What it finds in its environment.
    pub environment: Environment,
    /// How it learns where to listen.
    pub give: Give,
    /// What it may use.
    pub limits: Limits,
    /// It gains no rights.
    pub no_new_privs: bool,
    /// Folders it cannot write.
    pub read_only: Vec<PathBuf>,
    /// What is done instead of what an image says.
    pub image: ImageSettings,
    /// An image's files: `/` for it, and `dir` is seen from there. Never of the settings.
    pub root: Option<PathBuf>,
    /// Who an image wants to be run as. Never of the settings.
    pub image_user: Option<String>,
}

/// `image`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)] // `keys` documents each
pub struct ImageSettings {
    /// Empty: as the image says.
    pub run: Vec<String>,
    pub dir: Option<String>,
}

impl ImageSettings {
    fn read(r: &mut Reader<'_>) -> Self {
        let run = r.texts("run");
        if r.has("run") && run.first().is_none_or(String::is_empty) {
            r.error("run", "`run` is empty: it needs a program", None);
        }
        let dir = r.text("dir");
        if let Some(dir) = dir.as_ref().filter(|dir| !dir.starts_with('/') || dir.contains('\0')) {
            let help = Some("seen from the image's own root, for example \"/app\"".to_owned());
            r.error("dir", format!("{dir:?} is no absolute path"), help);
        }
        Self { run, dir }
    }
}

impl Program {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let dir = r.path_or_default("dir");
        let environment = Environment::read(r);
        let run = r.texts("run");
        if !dir.is_dir() {
            let help = Some(format!("make it: mkdir -p {}", dir.display()));
            r.error("dir", format!("there is no folder {}", dir.display()), help);
        } else {
            check_run(r, &run, &dir, &environment);
        }
        let user = r.text("user");
        if let Some(user) = &user {
            check_user(r, user);
        }
        let (no_new_privs, read_only) =
            r.table_or_default("harden", &HARDEN, |r| (r.bool("no_new_privs"), read_folders(r)));
        Self {
            run,
            dir,
            user,
            environment,
            give: match r.choice("give") {
                "socket" => Give::Socket,
                "listener" => Give::Listener,
                _ => Give::Port,
            },
            limits: r.table_or_default("limits", &LIMITS, Limits::read),
            no_new_privs,
            read_only,
            image: r.table_or_default("image", &IMAGE, ImageSettings::read),
            root: None,
            image_user: None,
        }
    }
}

impl Limits {
    fn read(r: &mut Reader<'_>) -> Self {
        let cpu = r.text("cpu").and_then(|text| {
            let percent = text.trim().strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
            let percent = percent.filter(|percent| (1..=100_000).contains(percent));
            if percent.is_none() {
                let help = Some("for example \"50%\" of one core".to_owned());
                r.error("cpu", format!("{text:?} is not a share of CPU time"), help);
            }
            percent
        });
        let pids = r.count("pids").and_then(|count| u32::try_from(count).ok());
        Self { memory: r.size_if("memory"), cpu, pids }
    }
}

fn read_folders(r: &mut Reader<'_>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for (node, text) in r.texts_with_nodes("read_only") {
        let path = r.resolve(node.mark, &text);
        if path.is_dir() {
            all.push(path);
        } else {
            let key = r.key_path("read_only");
            r.report.error(node.mark, &key, format!("there is no folder {}", path.display()), None);
        }
    }
    all
}

/// Whether what `run` names can be run, seen from `dir`.
pub(super) fn check_run(r: &mut Reader<'_>, run: &[String], dir: &Path, environment: &Environment) {
    let Some(program) = run.first() else {
        if !r.has("run") {
            let help = Some("for example run = [\"python3\", \"app.py\"]".to_owned());
            r.error("run", "`run` is missing: the program and its arguments", help);
        } else if r.nodes("run").is_empty() {
            r.error("run", "`run` is empty: it needs a program", None);
        }
        return;
    };
    if run.iter().any(|word| word.contains('\0')) {
        return r.error("run", "an argument cannot hold a NUL character", None);
    }
    if let Some(refusal) = find(program, dir, environment).err() {
        let words: Vec<String> = program.split_whitespace().map(|word| format!("{word:?}")).collect();
        let split = (run.len() == 1 && words.len() > 1)
            .then(|| format!("one text each: run = [{}]", words.join(", ")));
        let help = split.or(refusal.help);
        r.error("run", refusal.message, help);
    }
}

struct Refusal {
    message: String,
    help: Option<String>,
}

/// The program as the kernel would find it: a path as seen from `dir`, or a name in PATH.
fn find(program: &str, dir: &Path, environment: &Environment) -> Result<PathBuf, Refusal> {
    let refuse = |message, help| Err(Refusal { message, help });
    let can_run = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.is_empty() {
        return refuse("an empty text is no program".to_owned(), None);
    }
    if program.contains('/') {
        let path = dir.join(program);
        return match std::fs::metadata(&path) {
            Err(error) => refuse(format!("cannot use the program {}: {error}", path.display()), None),
            Ok(meta) if meta.is_dir() => {
                refuse(format!("{} is a folder, a program is needed", path.display()), None)
            }
            Ok(_) if !can_run(&path) => refuse(
                format!("{} is not executable", path.display()),
                Some(format!("chmod +x {}", path.display())),
            ),
            Ok(_) => Ok(path),
        };
    }
    let own = environment.get("PATH").map(str::to_owned);
    let path = own.or_else(|| std::env::var("PATH").ok()).unwrap_or_else(|| PATH.to_owned());
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| can_run(path));
    match found {
        Some(found) => Ok(found),
        None if can_run(&dir.join(program)) => refuse(
            format!("{program:?} is not in PATH"),
            Some(format!("it lies in its folder: run = [\"./{program}\"]")),
        ),
        None => {
            refuse(format!("{program:?} is not in PATH"), Some("install it, or give its path".to_owned()))
        }
    }
}

fn check_user(r: &mut Reader<'_>, user: &str) {
    match Identity::find(user) {
        Ok(_) | Err(RightsError::Database { .. }) => {}
        Err(_) => {
            let help = Some(format!("make it: useradd --system --no-create-home {user}"));
            r.error("user", format!("this machine has no user {user:?}"), help);
        }
    }
}
