//! The text of a counted message: a mark, when it was due, which one it is, and letters up to its length.
//!
//! **Job.** Write such texts and find the stamp in what a server made of them. **Called by** every protocol of `speak`
//! and by `load`.
//!
//! Invariants
//! 1. A text is ASCII without quotes and backslashes: no protocol writes it differently.
//!
//! Not here: the clock (`load`).

use memchr::memmem;

/// What a stamp begins with; no name, room or key has it.
const MARK: &[u8] = b"~@~";
const TIME_DIGITS: usize = 16;
const NUMBER_DIGITS: usize = 8;
/// The shortest text.
pub const BYTES_MIN: usize = MARK.len() + TIME_DIGITS + NUMBER_DIGITS;

/// When a message was due, and which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since the generator began.
    pub due_ns: u64,
    /// Of all messages of the generator, from 0.
    pub number: u32,
}

/// Writes a text of `bytes` bytes (at least [`BYTES_MIN`]).
pub fn write(out: &mut Vec<u8>, stamp: Stamp, bytes: usize) {
    let from = out.len();
    super::put!(out, "~@~{:016x}{:08x}", stamp.due_ns, stamp.number);
    out.resize(from + bytes.max(BYTES_MIN), b'x');
}

/// The stamp in these bytes, if there is one.
pub fn find(bytes: &[u8]) -> Option<Stamp> {
    let at = memmem::find(bytes, MARK)? + MARK.len();
    let digits = bytes.get(at..at + TIME_DIGITS + NUMBER_DIGITS)?;
    let (time, number) = digits.split_at(TIME_DIGITS);
    Some(Stamp { due_ns: hexadecimal(time)?, number: u32::try_from(hexadecimal(number)?).ok()? })
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        value = value << 4 | u64::from(char::from(*digit).to_digit(16)?);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Goal: a stamp is found in whatever a server puts around its text.
        #[test]
        fn a_stamp_is_found_in_its_frame(due_ns: u64, number: u32, before in "[ -}]{0,40}", bytes in 0_usize..300) {
            let mut text = before.clone().into_bytes();
            write(&mut text, Stamp { due_ns, number }, bytes);
            prop_assert_eq!(text.len(), before.len() + bytes.max(BYTES_MIN));
            prop_assert_eq!(find(&text), Some(Stamp { due_ns, number }));
        }
    }

    #[test]
    fn what_has_no_whole_stamp_has_none() {
        for bytes in [&b""[..], b"~@~", b"~@~0000000000000001000000", b"~@~000000000000000g00000000"] {
            assert_eq!(find(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
