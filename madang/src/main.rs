//! The program: reads the command line and does what it says.
//!
//! **Job.** Entry point. Everything it can do is in [`cli`]. Not here: any behaviour.
#![forbid(unsafe_code)]

mod cli;
mod config;
mod control;
mod house;
mod plan;
mod room;
mod run;
mod status;
mod telemetry;
mod upgrade;

fn main() -> std::process::ExitCode {
    cli::main()
}
