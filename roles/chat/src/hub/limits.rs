//! How long what somebody writes may be.
//!
//! **Job.** Hold the numbers that the hub judges by and the protocol's documents tell. **Called by** `checks`, `flows`, `order`, `protocol`.
//!
//! Not here: what the settings say (`rules`), names (`names`), numbers in requests (`ask`).

/// What a room is about, in bytes.
pub(crate) const TOPIC_BYTES_MAX: usize = 1000;
/// Why somebody was kicked, banned or muted, in bytes.
pub(crate) const WHY_BYTES_MAX: usize = 300;
/// Why somebody is away, in bytes.
pub(crate) const AWAY_BYTES_MAX: usize = 200;
/// A sign below a message, in bytes.
pub(crate) const EMOJI_BYTES_MAX: usize = 32;
/// Attachments of a message.
pub(crate) const FILES_MAX: usize = 10;
/// An attachment's name, in bytes.
pub(crate) const FILE_NAME_BYTES_MAX: usize = 255;
/// Its address below `files/`, in bytes.
pub(crate) const FILE_URL_BYTES_MAX: usize = 1000;
/// Its media type, in bytes.
pub(crate) const FILE_TYPE_BYTES_MAX: usize = 100;
