//! In work.

pub mod verdict;
