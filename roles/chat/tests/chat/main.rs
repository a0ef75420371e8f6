//! Goal: hubs over a real store keep their promises to faces that are slow, leave, come back and meet each other.
//! Method: faces that write down what they are told, on one thread with the hubs; a database file for each test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod harness;
mod hub;
mod machines;
mod people;
