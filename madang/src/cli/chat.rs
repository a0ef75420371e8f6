//! `madang chat`: talk from the terminal.
//!
//! **Job.** Options, a runtime, exit codes. **Called by** `cli`. **Calls** `madang_chat_client`.
//!
//! Not here: the talk (`clients/terminal`).

use std::path::PathBuf;

use clap::Args;
use madang_chat_client::address::Way;
use madang_chat_client::name::Name;
use madang_chat_client::talk::{self, Side};
use madang_chat_client::{Failure, Trust};

use super::{Ended, complain};

pub(super) const EXAMPLES: &str = "Examples:
  madang chat --listen 127.0.0.1:7000          wait for somebody (only this machine can come)
  madang chat --listen 0.0.0.0:7000 --name mina
  madang chat tcp://192.168.0.7:7000           talk with who waits there
  madang chat unix:/tmp/talk.sock              the same over a file of this machine
  nc 192.168.0.7 7000                          the other side without Madang
  echo built | madang chat tcp://127.0.0.1:7000

What the other side writes goes to standard output, everything else to standard error.
Exit code 0: the talk ended; 1: nobody there, busy, cut off; 2: usage.";

/// With whom.
#[derive(Args, Clone)]
pub(super) struct ChatArgs {
    /// The other side: tcp://HOST:PORT, tls://HOST:PORT or unix:PATH
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    url: Option<String>,
    /// Be the side that waits: IP:PORT, a PORT of 127.0.0.1 (0: any free one), or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// What others are told to call you
    #[arg(long)]
    name: Option<Name>,
    /// PEM file of the authorities to believe, for tls://; left out: the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Talks until one side ends.
pub(super) fn chat(args: &ChatArgs) -> Ended {
    let side = Side { name: args.name.clone(), trust: Trust { ca: args.ca.clone() } };
    let ended = match (&args.listen, &args.url) {
        (Some(at), _) => match Way::to_listen(at) {
            Ok(way) => run(talk::serve(&way, &side)),
            Err(error) => return wrong(&format!("--listen {error}")),
        },
        (None, Some(to)) => match Way::to_talk(to) {
            Ok(way) => run(talk::join(&way, &side)),
            Err(error) => return wrong(&error.to_string()),
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
