//! The files action against real folders: every answer is read as a client would.
//!
//! Method: a temporary tree, requests parsed by the real head parser, answers collected with their bodies.
// Tests may; clippy's own allowance ends at the functions they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changing;
mod coding;
mod escaping;
mod finding;
mod listing;
mod properties;
mod site;
mod upload;
