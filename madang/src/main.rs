//! The program: reads the command line and does what it says.
//!
//! **Job.** Entry point. Everything it can do is in [`cli`]. Not here: any behaviour.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "nobody outside reads the items of a program")]

mod cli;
mod config;
mod control;
mod data_folder;
mod house;
mod plan;
mod room;
mod run;
mod signals;
mod status;
mod telemetry;
mod upgrade;
mod watchdog;

fn main() -> std::process::ExitCode {
    cli::main()
}
