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
    ($($words:tt)*) => { $crate::cli::put(&format!("{}\n", format_args!($($words)*))) };
}

mod alerts;
mod apps;
mod ask;
mod chat;
mod chat_hooks;
mod chats;
mod check;
mod data;
mod deploy;
mod doctor;
mod firewall;
mod folder;
mod init;
mod install;
mod listening;
mod logs;
mod orders;
mod pools;
mod show;
mod table;
mod trust;
mod users;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand};

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
  madang                      run the madang.toml here, or serve this folder
  madang public --port 3000   serve a folder, with a listing
  madang init                 write a madang.toml for the project here
  madang check                every error in madang.toml at once
  madang reload               change the running server to madang.toml
  madang status --json | jq .sites

`madang COMMAND --help` tells more about a command, `madang schema --docs` all settings.";

#[derive(Subcommand)]
enum Command {
    /// Run the server in the foreground
    ///
    /// SIGHUP reloads the settings, SIGTERM and SIGINT drain and stop, SIGUSR2 upgrades.
    Run {
        #[command(flatten)]
        file: FileArg,
        #[arg(long, hide = true)]
        takeover: Option<PathBuf>,
    },
    /// Write a madang.toml for what lies in a folder
    ///
    /// Looks for a project or another server's settings, says what it found, and writes a commented madang.toml. What cannot be
    /// carried over is told with its place. Exit code 1 when nothing is recognised.
    Init(init::InitArgs),
    /// Check the settings: every error at once, with its place
    ///
    /// Each with file, line, column, what is allowed and the nearest known key. Exit code 2 when there are errors.
    Check {
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        output: Output,
    },
    /// Show what a reload would change, without changing it
    Plan(Asked),
    /// Change the running server to the settings as they are now
    ///
    /// By difference: what did not change keeps its connections and counters. Settings with an error change nothing.
    Reload(Asked),
    /// Answer what is open, then end
    Stop(Asked),
    /// Put the program on disk in the place of the running one
    ///
    /// The new process takes the sockets over; the old one answers what is open, then ends. No connection is dropped.
    Upgrade(Asked),
    /// Sites, pools, listeners, certificates: one screen
    Status {
        /// Only this pool, with everything that is known of it
        pool: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Every open connection
    Connections(Asked),
    /// Alerts: list, test
    Alert {
        #[command(subcommand)]
        command: alerts::AlertCommand,
    },
    /// Apps: list, why, start, stop, restart, scale, deploy, rollback, history
    App {
        #[command(subcommand)]
        command: apps::AppCommand,
    },
    /// Take a server of a pool out of rotation or bring it back, or let a whole pool's requests wait
    ///
    /// drain: nothing new goes there, what is open ends. disable: the same, and no health checks. enable: back in rotation.
    /// hold (without a server): requests wait, up to the pool's `hold` time, instead of being sent. release: they go on.
    Pool {
        /// What is wanted
        #[arg(value_parser = ["drain", "disable", "enable", "hold", "release"])]
        wish: String,
        /// The pool's name
        pool: String,
        /// The server's address as in the settings; not with hold and release
        #[arg(required_if_eq_any([("wish", "drain"), ("wish", "disable"), ("wish", "enable")]))]
        server: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Show what apps write: by name or all of them, by level and age; or the access log
    Logs(logs::LogsArgs),
    /// Is this machine fit, and how to fix what is not
    ///
    /// Looks at ports, file limits, memory, clock, permissions, units and packet filters. It changes nothing.
    Doctor(doctor::DoctorArgs),
    /// Make this a service of the machine: program, user, folders, systemd units, and start it
    ///
    /// Tells every step. A second time changes only what differs; what was changed by hand stays.
    Install(install::InstallArgs),
    /// Take away what `madang install` brought; data and settings stay
    Uninstall(install::UninstallArgs),
    /// Print the nftables rules that open exactly the settings' ports and ssh's; load them with --apply
    Firewall(firewall::FirewallArgs),
    /// Write everything the house keeps into one file, while it runs
    ///
    /// Conversations, keys, tables, as of one moment, verified. From SQLite and PostgreSQL alike: a backup of the one is
    /// restored into the other.
    Backup {
        /// The file to make; one that is there is never replaced
        #[arg(value_name = "BACKUP")]
        to: PathBuf,
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        output: Output,
    },
    /// Put a backup in the place of what the house keeps
    ///
    /// The server must not run. The whole file is verified first; it is restored whole or not at all.
    Restore {
        /// The file that `madang backup` made
        #[arg(value_name = "BACKUP")]
        from: PathBuf,
        /// Replace what is there (of SQLite it is kept beside)
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        output: Output,
    },
    /// Print the entries of conversations as lines of JSON
    Export {
        /// Only this stream
        #[arg(long)]
        stream: Option<String>,
        #[command(flatten)]
        file: FileArg,
    },
    /// Chat from the terminal: in the rooms of a server, or one to one without one
    ///
    /// With https://HOST/PATH/ it is a client of a chat: rooms, direct messages, history, who is there. With --listen it waits for
    /// one person, with tcp://HOST:PORT (tls:// encrypts) it goes to one who waits; then both read and write.
    #[command(after_help = chat::EXAMPLES)]
    Chat(Box<chat::ChatArgs>),
    /// Users: add, list, passwd, roles, disable, enable, logout, remove
    User {
        #[command(subcommand)]
        command: users::UserCommand,
    },
    /// API keys of users, for programs: new, list, revoke
    Token {
        #[command(subcommand)]
        command: users::TokenCommand,
    },
    /// How to trust this machine's own certificates (tls = "local")
    Trust {
        #[command(flatten)]
        file: FileArg,
    },
    /// Make the hash of a password, for auth.users
    ///
    /// The password is read from standard input: printf '%s' 'the password' | madang hash
    Hash,
    /// Print the JSON Schema of madang.toml, for editors
    Schema {
        /// Print docs/configuration.md instead
        #[arg(long, conflicts_with_all = ["chat", "chat_http"])]
        docs: bool,
        /// Print the chat's WebSocket protocol instead, as AsyncAPI
        #[arg(long, conflicts_with = "chat_http")]
        chat: bool,
        /// Print the chat's HTTP faces instead, as OpenAPI
        #[arg(long)]
        chat_http: bool,
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
        Some(Command::Init(args)) => init::init(&args),
        Some(Command::Check { file, output }) => check::check(&file.config, output),
        Some(Command::Plan(asked)) => orders::plan(&asked),
        Some(Command::Reload(asked)) => orders::reload(&asked),
        Some(Command::Stop(asked)) => orders::stop(&asked),
        Some(Command::Upgrade(asked)) => orders::upgrade(&asked),
        Some(Command::Status { pool, asked }) => orders::status(&asked, pool.as_deref()),
        Some(Command::Connections(asked)) => orders::connections(&asked),
        Some(Command::Alert { command }) => alerts::alert(&command),
        Some(Command::App { command }) => apps::app(&command),
        Some(Command::Pool { wish, pool, server, asked }) => {
            orders::pool(&asked, &wish, &pool, server.as_deref())
        }
        Some(Command::Logs(args)) => logs::logs(&args),
        Some(Command::Doctor(args)) => doctor::doctor(&args),
        Some(Command::Install(args)) => install::install(&args),
        Some(Command::Uninstall(args)) => install::uninstall(&args),
        Some(Command::Firewall(args)) => firewall::firewall(&args),
        Some(Command::Backup { to, file, output }) => data::backup(&file.config, &to, output),
        Some(Command::Restore { from, force, file, output }) => {
            data::restore(&file.config, &from, force, output)
        }
        Some(Command::Export { stream, file }) => data::export(&file.config, stream.as_deref()),
        Some(Command::Chat(args)) => chat::chat(&args),
        Some(Command::User { command }) => users::user(&command),
        Some(Command::Token { command }) => users::token(&command),
        Some(Command::Trust { file }) => trust::trust(&file.config),
        Some(Command::Hash) => trust::hash(),
        Some(Command::Schema { chat: true, .. }) => check::print(&madang_chat::protocol::asyncapi()),
        Some(Command::Schema { chat_http: true, .. }) => check::print(&madang_chat::protocol::openapi()),
        Some(Command::Schema { docs, .. }) => check::schema(docs),
    };
    match ended {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Failed => ExitCode::from(1),
        Ended::Usage => ExitCode::from(2),
    }
}

/// For a word that is neither a folder nor a command: which command may be meant.
fn no_such(folder: &Path) -> String {
    let word = folder.to_string_lossy();
    // Our own command line takes any word for a folder; one that knows only commands says which is near.
    let commands = clap::Command::new("madang").subcommands(Cli::command().get_subcommands().cloned());
    let near = commands.subcommand_required(true).try_get_matches_from(["madang", &*word]).err();
    let near = near.and_then(|error| match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(near)) => near.last().cloned(),
        _ => None,
    });
    match near {
        Some(near) => format!("there is no folder {word}; did you mean `madang {near}`?"),
        None => format!("there is no folder {word}; `madang --help` lists the commands"),
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

/// Standard output as a screen.
fn screen() -> table::Screen {
    let terminal = std::io::stdout();
    let width = terminal.is_terminal().then(|| {
        let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let asked = || rustix::termios::tcgetwinsize(&terminal).ok().map(|size| usize::from(size.ws_col));
        told.or_else(asked).filter(|columns| *columns > 0).unwrap_or(80)
    });
    table::Screen { colour: colour_out(), width }
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
