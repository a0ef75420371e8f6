//! Names of messages and of moments, as IRC writes them (`msgid`, `server-time`).
//!
//! **Job.** Offsets to `msgid` and back, milliseconds to RFC 3339 and back. **Called by** `told`, `history`, `message`.
//!
//! Invariants
//! 1. A `msgid` names one message: its conversation (by a hash of the name), its epoch and its offset.
//! 2. A `msgid` of another conversation is none of this one.
//!
//! Not here: which message that is (`hub`).

use std::fmt::Write as _;

/// The name of a message: `HASH-EPOCH-OFFSET`, in hexadecimal digits.
pub(super) fn msgid(room: &str, epoch: u64, offset: u64) -> String {
    let mut id = String::with_capacity(32);
    // Writing to a string does not fail.
    let _ = write!(id, "{:08x}-{epoch:x}-{offset:x}", hash(room));
    id
}

/// Epoch and offset of a message of this conversation.
pub(super) fn read_msgid(room: &str, id: &str) -> Option<(u64, u64)> {
    let mut parts = id.split('-');
    let number = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
    let (of, epoch, offset) = (number(parts.next())?, number(parts.next())?, number(parts.next())?);
    // Only our own writing is read: one message has one name.
    (parts.next().is_none() && of == u64::from(hash(room)) && msgid(room, epoch, offset) == id)
        .then_some((epoch, offset))
}

/// FNV-1a, 32 bits: two rooms whose epochs, offsets and hashes are the same are not met by chance.
fn hash(room: &str) -> u32 {
    room.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

const DAY_MS: u64 = 86_400_000;

/// `2026-11-21T12:00:00.000Z` (RFC 3339, UTC, milliseconds) of milliseconds since 1970.
pub(super) fn time(at_ms: u64) -> String {
    let (days, ms) = (at_ms / DAY_MS, at_ms % DAY_MS);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// Milliseconds since 1970 of `2026-11-21T12:00:00.000Z`; the fraction may be left out or have up to nine digits.
pub(super) fn read_time(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fits = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let (date, clock) = seconds.split_once('T').filter(|_| fits)?;
    let part = |part: Option<&str>, digits: usize, max: u64| {
        let part =
            part.filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse::<u64>().ok().filter(|number| *number <= max)
    };
    let mut date = date.split('-');
    let (year, month) = (part(date.next(), 4, 9999)?, part(date.next(), 2, 12)?);
    let day = part(date.next(), 2, 31)?;
    let mut clock = clock.split(':');
    let (hour, minute) = (part(clock.next(), 2, 23)?, part(clock.next(), 2, 59)?);
    // A leap second is the first one of the next minute.
    let second = part(clock.next(), 2, 60)?;
    if date.next().is_some() || clock.next().is_some() {
        return None;
    }
    let days = days(year, month, day)?;
    let ms: u64 =
        fraction.bytes().chain(*b"00").take(3).fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

/// Year, month and day of a number of days since 1970: counted in eras of 400 years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The other way; `None` for a day that does not exist, and before 1970.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || month == 0 || day == 0 {
        return None;
    }
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let (_, was_month, was_day) = civil(days);
    (was_month == month && was_day == day).then_some(days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        check("2026-11-21T12:00:00.123Z", Some(1_795_262_400_123));
        check("2026-11-21T12:00:00Z", Some(1_795_262_400_000));
        check("2026-11-21T12:00:00.5Z", Some(1_795_262_400_500));
        check("2026-11-21T12:00:00.123456789Z", Some(1_795_262_400_123));
        for wrong in [
            "",
            "Z",
            "2026-11-21",
            "2026-02-29T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T12:00:00.Z",
            "2026-11-21T12:00:00+01:00",
            "2026-11-21T12:00:00",
            "1969-12-31T23:59:59Z",
            "2026-1-21T12:00:00Z",
            "2026-11-21T12:00:00.1234567890Z",
            "2026-11-21T12:00:0xZ",
            "2026-00-01T00:00:00Z",
            "2026-11-21T12:00:00:00Z",
        ] {
            check(wrong, None);
        }

        #[track_caller]
        fn check(text: &str, want: Option<u64>) {
            assert_eq!(read_time(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_msgid_is_of_its_own_room_and_has_one_spelling() {
        let id = msgid("lobby", 3, 255);
        assert!(id.ends_with("-3-ff"), "{id}");
        assert_eq!(read_msgid("lobby", &id), Some((3, 255)));
        assert_eq!(read_msgid("lobbx", &id), None);
        for wrong in [
            "",
            "-",
            "--",
            &id.to_uppercase(),
            &format!("{id}-"),
            &format!("0{id}"),
            &id.replace("-3", "-03"),
            &id.replace("-3", "-+3"),
        ] {
            assert_eq!(read_msgid("lobby", wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn moments_survive_writing(at_ms in 0_u64..253_402_300_800_000) {
            prop_assert_eq!(read_time(&time(at_ms)), Some(at_ms));
        }

        #[test]
        fn names_of_messages_survive_writing(room: String, epoch: u64, offset: u64) {
            prop_assert_eq!(read_msgid(&room, &msgid(&room, epoch, offset)), Some((epoch, offset)));
        }
    }
}
