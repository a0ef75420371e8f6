//! Dates of HTTP (RFC 9110 5.6.7).
//!
//! **Job.** Write IMF-fixdate, read its three historic forms. Seconds since 1970 in and out.
//! Not here: the clock (`host::clock`), time zones of logs (`host::telemetry`).

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970-01-01 was a Thursday
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn write_imf_fixdate(unix_seconds: u64, out: &mut [u8; 29]) {
    // Past the year 9999 the form has no room: hold at its last second.
    let seconds = unix_seconds.min(253_402_300_799);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let digits = |value: u64| [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
    out.copy_from_slice(b"Xxx, 00 Xxx 0000 00:00:00 GMT");
    out[0..3].copy_from_slice(DAYS[(days % 7) as usize].as_bytes());
    out[5..7].copy_from_slice(&digits(day));
    out[8..11].copy_from_slice(MONTHS[usize::try_from(month - 1).unwrap_or(0)].as_bytes());
    out[12..14].copy_from_slice(&digits(year / 100));
    out[14..16].copy_from_slice(&digits(year % 100));
    out[17..19].copy_from_slice(&digits(second / 3600));
    out[20..22].copy_from_slice(&digits(second / 60 % 60));
    out[23..25].copy_from_slice(&digits(second % 60));
}

/// The same as text.
pub fn imf_fixdate(unix_seconds: u64) -> String {
    let mut out = [0; 29];
    write_imf_fixdate(unix_seconds, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads IMF-fixdate, RFC 850 and asctime dates. `None` for anything else.
pub fn parse(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [_, day, month, year, time, "GMT"] => unix(number(year, 4)?, month, number(day, 2)?, time),
        [_, date, time, "GMT"] => {
            let mut parts = date.split('-');
            let (day, month, year) = (parts.next()?, parts.next()?, number(parts.next()?, 2)?);
            // Two digits: the century that keeps the date out of the far future (RFC 9110 5.6.7).
            unix(if year < 70 { 2000 + year } else { 1900 + year }, month, number(day, 2)?, time)
        }
        [_, month, day, time, year] => unix(number(year, 4)?, month, number(day, 2)?, time),
        _ => None,
    }
}

fn number(text: &str, digits_max: usize) -> Option<u64> {
    if text.is_empty() || text.len() > digits_max || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn unix(year: u64, month: &str, day: u64, time: &str) -> Option<u64> {
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let mut parts = time.split(':');
    let (hour, minute, second) =
        (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let fits =
        (1970..=9999).contains(&year) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !fits || parts.next().is_some() {
        return None;
    }
    let days = days_since_1970(year, month, day);
    // 31 February and its like would silently become March.
    (civil(days) == (year, month, day)).then_some(days * 86_400 + hour * 3600 + minute * 60 + second.min(59))
}

/// Days to (year, month, day) of the proleptic Gregorian calendar, by 400-year eras that begin in March.
pub fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: the three forms of RFC 9110 5.6.7 are one moment; nonsense is none.
    #[test]
    fn the_three_forms_are_read_and_nonsense_is_not() {
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777));
        check("Sun Nov  6 08:49:37 1994", Some(784_111_777));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Tue, 29 Feb 2000 12:00:00 GMT", Some(951_825_600));
        check("Mon, 29 Feb 2100 12:00:00 GMT", None);
        check("Sun, 31 Feb 1994 08:49:37 GMT", None);
        check("Sun, 06 Nov 1994 24:00:00 GMT", None);
        check("Sun, 06 Nov 1994 08:49:37 CET", None);
        check("0", None);
        check("", None);

        #[track_caller]
        fn check(text: &str, want: Option<u64>) {
            assert_eq!(parse(text), want);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0_u64..253_402_300_800) {
            prop_assert_eq!(parse(&imf_fixdate(seconds)), Some(seconds));
        }
    }
}
