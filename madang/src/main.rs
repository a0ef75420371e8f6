//! The program. In work.
fn main() {}
