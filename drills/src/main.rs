//! `madang-chat-drill`: load on a chat server, counted delivery by delivery.
//!
//! **Job.** Read the command line, do the one thing it asks for, end with its exit code.
//! **Calls** `madang_drills`. **Called by** `benches/chat/bench.py` and people.
//!
//! Not here: starting and measuring the servers of a comparison (`benches/chat/bench.py`).

use std::process::ExitCode;

use clap::Parser;
use madang_drills::{crash, load};

/// Load and rehearsals for chat servers. Loopback only; ends only what it started.
#[derive(Debug, Parser)]
#[command(name = "madang-chat-drill", version)]
enum Command {
    /// Fills rooms with people of one server and sends at a given pace; orders on standard input, results as JSON lines
    Load(load::Options),
    /// Kills a server of its own again and again while clients talk; exit code 1: something was lost, doubled or disordered; 3: nothing
    /// was, but some faults were left out
    Crash(crash::Options),
}

fn main() -> ExitCode {
    let code = match Command::parse() {
        Command::Load(options) => load::run(&options).map(|()| 0).map_err(|failure| failure.to_string()),
        Command::Crash(options) => {
            crash::run(&options).map(crash::Verdict::code).map_err(|failure| failure.to_string())
        }
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("madang-chat-drill: {failure}");
            ExitCode::from(2)
        }
    }
}
