//! The real binary against real clients: what a user sees from outside.
//!
//! **Job.** Join the tests into one program, so that they are linked once.
//! **Calls** the binary; nothing of the crates inside, so that a test cannot know more than a client.
//!
//! Not here: malformed requests as data (`tests/corpus`), other people's clients (`tests/third-party`),
//! long runs (`tests/soak`, `tests/hostile`).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "nobody outside reads the items of a program")]

mod support;

mod admin;
mod alerts;
mod app_logs;
mod app_states;
mod apps;
mod apps_contained;
mod apps_examples;
mod apps_recorded;
mod apps_scaling;
mod balance;
mod balance_answers;
mod balance_failures;
mod balance_pressure;
mod balance_rolling;
mod bus;
mod chat;
mod chat_hooks;
mod chat_hooks_machines;
mod chat_hostile;
mod chat_http;
mod chat_slow;
mod chat_talk;
mod chat_talk_tls;
mod chat_terminal;
mod data;
mod documents;
mod files;
mod firewall;
mod folder;
mod gate;
mod grpc;
mod health;
mod http1;
mod http2;
mod images;
mod init;
mod install;
mod irc;
mod irc_notices;
mod irc_people;
mod life;
mod logins;
mod logins_end;
mod logins_routes;
mod names;
mod per_connection;
mod proxy_early;
mod proxy_hold;
mod proxy_interim;
mod proxy_limits;
mod proxy_retry;
mod proxy_route;
mod proxy_split;
mod quickstart;
mod releases;
mod scaler;
mod scaler_cloud;
mod service;
mod stream;
mod stream_programs;
mod stream_udp;
mod tls;
mod tls_policy;
mod trailers;
mod upstream_http2;
mod websocket;
