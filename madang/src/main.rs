//! The program: reads the command line and does what it says.
//!
//! **Job.** Entry point. Everything it can do is in [`cli`]. Not here: any behaviour.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "nobody outside reads the items of a program")]

mod activation;
mod alerts;
mod app_orders;
mod app_words;
mod apps;
mod chats;
mod cli;
mod config;
mod control;
mod data_folder;
mod house;
mod identity_orders;
mod irc_logins;
mod logins;
mod logins_across;
mod plan;
mod programs;
mod room;
mod run;
mod signals;
mod status;
mod telemetry;
mod upgrade;
mod watchdog;
mod web_logins;

fn main() -> std::process::ExitCode {
    // A second self that becomes an app: nothing else of the program may run in it.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == madang_host::process::exec::WORD) {
        return madang_host::process::exec::become_program(arguments);
    }
    cli::main()
}
