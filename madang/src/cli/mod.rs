//! The command line.
//!
//! **Job.** Say what commands there are, do each in its own file, turn results into exit codes.
//! **Called by** `main`. **Calls** `run`, `config`, the running server through `ask`.
//!
//! Invariants
//! 1. Exit code 0: done; 1: failed; 2: usage or settings.
//! 2. Output is for people; with `--json` for programs. Colours only on a terminal and without NO_COLOR.
//!
//! Not here: the server's life (`run`).

/// A line on standard output. A reader that has gone (`| head`) is no error.
macro_rules! say {
    ($($words:tt)*) => { super::put(&format!("{}\n", format_args!($($words)*))) };
}

mod ask;
mod check;
mod doctor;
mod folder;
mod orders;
mod show;
mod trust;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Madang makes a machine a server: files, sites, TLS, limits, logs and metrics from one program and one settings file.
#[derive(Parser)]
#[command(version, about, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    folder: folder::FolderArgs,
}

const EXAMPLES: &str = "Examples:
  madang                      in a folder with madang.toml: run it; without one: serve this folder
  madang public --port 3000   serve a folder, with a listing
  madang check                every error in madang.toml at once
  madang reload               change the running server to madang.toml as it is now
  madang status --json | jq .sites";

#[derive(Subcommand)]
enum Command {
    /// Run the server in the foreground. SIGHUP reloads, SIGTERM drains and stops, SIGUSR2 upgrades
    Run {
        #[command(flatten)]
        file: FileArg,
        #[arg(long, hide = true)]
        takeover: Option<PathBuf>,
    },
    /// Check the settings: every error at once, with file, line and column
    Check {
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        output: Output,
    },
    /// Show what a reload would change, without changing it
    Plan(Asked),
    /// Change the running server to the settings file; what did not change keeps running
    Reload(Asked),
    /// Answer what is open, then end
    Stop(Asked),
    /// Replace the running program by the one on disk without dropping a connection
    Upgrade(Asked),
    /// Sites, listeners, certificates: one screen
    Status(Asked),
    /// Every open connection
    Connections(Asked),
    /// Show the logs
    Logs {
        #[command(flatten)]
        file: FileArg,
        /// Keep showing what is added
        #[arg(short, long)]
        follow: bool,
        /// How many lines back
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: usize,
    },
    /// Is this machine fit: ports, file limits, clock, permissions; how to fix each
    Doctor {
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        output: Output,
    },
    /// How to trust this machine's own certificate authority (`tls = "local"`)
    Trust {
        #[command(flatten)]
        file: FileArg,
    },
    /// Make an argon2id hash of a password read from standard input, for `auth.users`
    Hash,
    /// Print the JSON Schema of madang.toml, for editors
    Schema {
        /// Print docs/configuration.md instead
        #[arg(long)]
        docs: bool,
    },
}

/// Which settings file.
#[derive(Args, Clone)]
struct FileArg {
    /// The settings file
    #[arg(short, long = "config", value_name = "FILE", default_value = "madang.toml")]
    config: PathBuf,
}

/// How to print.
#[derive(Args, Clone, Copy)]
struct Output {
    /// For programs
    #[arg(long)]
    json: bool,
}

/// A command to the running server.
#[derive(Args, Clone)]
struct Asked {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    output: Output,
}

/// How a command ended.
enum Ended {
    Done,
    Failed,
    Usage,
}

/// Reads the command line and does it.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        None if cli.folder.is_plain() && PathBuf::from("madang.toml").is_file() => {
            check::run("madang.toml".into(), None)
        }
        None => folder::serve(&cli.folder),
        Some(Command::Run { file, takeover }) => check::run(file.config, takeover),
        Some(Command::Check { file, output }) => check::check(&file.config, output),
        Some(Command::Plan(asked)) => orders::plan(&asked),
        Some(Command::Reload(asked)) => orders::reload(&asked),
        Some(Command::Stop(asked)) => orders::stop(&asked),
        Some(Command::Upgrade(asked)) => orders::upgrade(&asked),
        Some(Command::Status(asked)) => orders::status(&asked),
        Some(Command::Connections(asked)) => orders::connections(&asked),
        Some(Command::Logs { file, follow, lines }) => orders::logs(&file.config, follow, lines),
        Some(Command::Doctor { file, output }) => doctor::doctor(&file.config, output),
        Some(Command::Trust { file }) => trust::trust(&file.config),
        Some(Command::Hash) => trust::hash(),
        Some(Command::Schema { docs }) => check::schema(docs),
    };
    match ended {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Failed => ExitCode::from(1),
        Ended::Usage => ExitCode::from(2),
    }
}

/// Whether standard output takes colours.
fn colour_out() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether standard error takes colours.
fn colour_err() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Text on standard output, as it is.
fn put(text: &str) {
    use std::io::Write;
    // Nobody is left to be told that nobody listens.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// A sentence on standard error.
fn complain(message: &str) {
    let (open, close) = if colour_err() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    eprintln!("madang: {open}error:{close} {message}");
}
