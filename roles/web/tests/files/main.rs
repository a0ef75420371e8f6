//! The files action against real folders: every answer is read as a client would.
//!
//! Method: a temporary tree, requests parsed by the real head parser, answers collected with their bodies.

mod changing;
mod coding;
mod escaping;
mod finding;
mod listing;
mod properties;
mod site;
