//! The only place that touches the operating system.
//!
//! **Job.** Workers, listeners, connections, admission, TLS, hand-over of sockets, signals, clock and telemetry.
//! **Called by** `http`, the roles and the program. **Calls** `wire` for bytes, the kernel for everything else.
//!
//! Not here: any protocol above TLS (`http`), what settings mean to a role (`roles/*`).

pub mod blame;
pub mod clock;
pub mod config;
pub mod connection;
pub mod deadline;
pub mod draws;
pub mod file;
pub mod gate;
pub mod handover;
pub mod inherited_fds;
pub mod machine;
pub mod net;
pub mod notify;
pub mod process;
pub mod process_facts;
pub mod random;
pub mod rights;
pub mod telemetry;
pub mod thread;
pub mod tls;
pub mod worker;
