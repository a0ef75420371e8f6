//! `madang chat`: talk from the terminal.
//!
//! **Job.** Options, where a token comes from, a runtime, exit codes. **Called by** `cli`. **Calls** `madang_chat_client`.
//!
//! Invariants
//! 1. A token on the command line is warned of: every user of this machine can read it there.
//!
//! Not here: the talk and the chat (`clients/terminal`).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use madang_chat_client::address::{ChatUrl, Way};
use madang_chat_client::name::Name;
use madang_chat_client::online::{self, Wish};
use madang_chat_client::talk::{self, CertificateFiles, Side};
use madang_chat_client::{Failure, Trust};
use madang_host::tls::pin::Fingerprint;

use super::chat_hooks::{self, HooksArgs};
use super::{Ended, complain, folder};

pub(super) const EXAMPLES: &str = "Examples:
  madang chat https://example.org/chat/ --name mina    a chat: rooms, direct messages, history; /help inside
  MADANG_TOKEN=... madang chat https://example.org/chat/ --room town
  echo built | madang chat https://example.org/chat/ --room builds
  madang chat https://example.org/chat/ --json --follow < /dev/null | jq .text
  madang chat http://unix:/run/site.sock:/chat/        over a socket of this machine

  madang chat hooks town                               webhooks of a chat of the server here

  madang chat --listen 127.0.0.1:7000                  one to one, without a server: wait for somebody
  madang chat tcp://192.168.0.7:7000                   talk with who waits there; `nc 192.168.0.7 7000` does too
  madang chat --listen tls://0.0.0.0:7000              the same, encrypted; shows the fingerprint of a certificate made for this run
  madang chat tls://192.168.0.7:7000 --pin 5a1c...     come in, if that is who is there
  madang chat --listen tls://0.0.0.0:7000 --cert fullchain.pem --key key.pem

Without a terminal (a pipe, --plain, --json) lines are sent as they come; the end waits until all of them are acknowledged. What others
write goes to standard output, everything else to standard error.
Exit code 0: done; 1: not reached, not let in, a message refused; 2: usage.";

/// A token is not longer.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// What about the chats of the server that runs here.
#[derive(Subcommand, Clone)]
pub(super) enum ChatCommand {
    /// Webhooks of a chat: what waits, what was not taken; try again, throw away
    Hooks(HooksArgs),
}

/// With whom.
#[derive(Args, Clone)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct ChatArgs {
    #[command(subcommand)]
    command: Option<ChatCommand>,
    /// A chat: https://HOST/PATH/; or one person: tcp://HOST:PORT, tls://HOST:PORT, unix:PATH
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    url: Option<String>,
    /// Be the side that waits, without a server: IP:PORT, a PORT of 127.0.0.1 (0: any free one), tls://IP:PORT, or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// What others are told to call you; left out: the name of your user here
    #[arg(long)]
    name: Option<Name>,
    /// The room to begin with
    #[arg(long, default_value = "lobby")]
    room: String,
    /// File with a user's token; without it MADANG_TOKEN, without that you are a guest
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token itself: others on this machine can read it here
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// PEM file of the authorities to believe; left out: the system's (`madang trust` tells how to add a machine's own)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The one certificate to believe, by its SHA-256 (64 hex digits), whoever signed it: tls:// and https:// only
    #[arg(long, value_name = "SHA256", conflicts_with_all = ["ca", "listen"])]
    pin: Option<Fingerprint>,
    /// PEM file of the certificate to show at --listen tls://; left out: one made for this run
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Lines, even at a terminal
    #[arg(long)]
    plain: bool,
    /// Events as they come, a JSON object a line
    #[arg(long)]
    json: bool,
    /// Go on listening after the input has ended
    #[arg(short, long)]
    follow: bool,
    /// Lines that begin with a slash are commands, in a pipe too
    #[arg(long)]
    commands: bool,
    /// Without a screen: show so many earlier messages first (0 to 200)
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=200))]
    history: u64,
    /// Without a screen: how long to wait for a connection that was lost
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    patience: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    madang_settings::unit::duration(text).ok_or_else(|| "a number with its unit: 30s, 10m".to_owned())
}

/// Talks until it is over.
pub(super) fn chat(args: &ChatArgs) -> Ended {
    if let Some(ChatCommand::Hooks(hooks)) = &args.command {
        return chat_hooks::hooks(hooks);
    }
    let trust = Trust { ca: args.ca.clone(), pin: args.pin };
    let certificate = args.cert.clone().zip(args.key.clone());
    let certificate = certificate.map(|(certificate, key)| CertificateFiles { certificate, key });
    if certificate.is_some() && args.listen.is_none() {
        return wrong("--cert and --key are of --listen tls://IP:PORT, the side that waits");
    }
    let side = Side { name: args.name.clone(), trust: trust.clone(), certificate };
    let ended = match (&args.listen, &args.url) {
        (Some(at), _) => match Way::to_listen(at) {
            Ok(way) if side.certificate.is_some() && !is_tls(&way) => {
                return wrong(&format!("--cert and --key are of --listen tls://IP:PORT, not of {way}"));
            }
            Ok(way) => run(talk::serve(&way, &side)),
            Err(error) => return wrong(&format!("--listen {error}")),
        },
        (None, Some(to)) if ChatUrl::is_meant(to) => {
            let url = match ChatUrl::read(to) {
                Ok(url) if args.pin.is_some() && !is_tls(&url.way) => return pins_nothing(to),
                Ok(url) => url,
                Err(error) => return wrong(&error.to_string()),
            };
            let token = match token(args) {
                Ok(token) => token,
                Err(why) => return wrong(&why),
            };
            run(online::chat(Wish {
                url,
                name: args.name.clone(),
                token,
                room: args.room.strip_prefix('#').unwrap_or(&args.room).to_owned(),
                history: args.history,
                json: args.json,
                follow: args.follow,
                plain: args.plain,
                commands: args.commands,
                patience: args.patience,
                trust,
                state: Some(folder::own_data()),
            }))
        }
        (None, Some(to)) => match Way::to_talk(to) {
            Ok(way) if args.pin.is_some() && !is_tls(&way) => return pins_nothing(to),
            Ok(way) => run(talk::join(&way, &side)),
            Err(error) => return wrong(&format!("{error}; a chat is https://HOST/PATH/")),
        },
        (None, None) => return wrong("with whom? give a URL, or --listen ADDRESS"),
    };
    match ended {
        Ok(()) => Ended::Done,
        Err(failure) => {
            complain(&failure.to_string());
            Ended::Failed
        }
    }
}

fn is_tls(way: &Way) -> bool {
    matches!(way, Way::Tcp { tls: true, .. })
}

/// Whoever pins means to be safe from who is in between.
fn pins_nothing(to: &str) -> Ended {
    wrong(&format!("--pin: no certificate is shown at {to}; write tls://HOST:PORT or https://HOST/PATH/"))
}

/// A user's token, from wherever it was given.
fn token(args: &ChatArgs) -> Result<Option<String>, String> {
    let text = match (&args.token, &args.token_file) {
        (Some(token), _) => {
            eprintln!(
                "madang: warning: others on this machine can read --token; use --token-file or MADANG_TOKEN"
            );
            token.clone()
        }
        (None, Some(path)) => {
            read_token(path).map_err(|error| format!("--token-file {}: {error}", path.display()))?
        }
        (None, None) => match std::env::var("MADANG_TOKEN") {
            Ok(token) => token,
            Err(_) => return Ok(None),
        },
    };
    let text = text.trim();
    if text.is_empty() { Err("the token is empty".to_owned()) } else { Ok(Some(text.to_owned())) }
}

fn read_token(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn wrong(what: &str) -> Ended {
    complain(what);
    Ended::Usage
}

fn run(talk: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::System)?;
    let ended = runtime.block_on(talk);
    // A name that is still being looked up must not hold the end back.
    runtime.shutdown_background();
    ended
}
