//! Times at which a job runs, as cron(5) writes them.
//!
//! **Job.** Read a schedule and say when it comes next. Pure: the time is handed in. **Called by** `config`, `app`.
//!
//! Invariants
//! 1. What is taken comes at some time: the 30th of February is refused.
//! 2. The next time is later than the one handed in.
//!
//! Clocks that are put forward skip no run (it comes at the first minute that is there), put back repeat none: `jiff` joins
//! civil times to the time zone (RFC 5545 3.3.5).
//!
//! Not here: running it.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::{ToSpan, Zoned};

/// Minutes, hours, days, months and weekdays as bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days and weekdays are restricted: either is enough (cron(5)).
    either: bool,
    written: String,
}

/// Why a schedule was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleError {
    /// It needs five fields.
    Fields {
        /// So many were written.
        found: usize,
    },
    /// A field does not read.
    Field {
        /// Which.
        name: &'static str,
        /// As written.
        text: String,
        /// The smallest value.
        min: u8,
        /// The largest.
        max: u8,
    },
    /// It never comes.
    Never,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields { found } => write!(f, "a schedule has 5 fields, not {found}"),
            Self::Field { name, text, min, max } => {
                write!(f, "{text:?} is no {name}: {min} to {max}, lists, ranges and steps of them")
            }
            Self::Never => f.write_str("this time never comes"),
        }
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Looks ahead: a 29th of February may be eight years away, each month and day on the way is one look.
const LOOKS_MAX: u32 = 20_000;

impl Schedule {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let fields = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            other => other,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(ScheduleError::Fields { found: fields.len() });
        };
        let mut week = bits(weekdays, "weekday", 0, 7, &WEEKDAYS, 0)?;
        // 7 is Sunday too.
        week = week & 0x7F | week >> 7;
        let schedule = Self {
            minutes: bits(minutes, "minute", 0, 59, &[], 0)?,
            hours: bits(hours, "hour", 0, 23, &[], 0)?,
            days: bits(days, "day", 1, 31, &[], 0)?,
            months: bits(months, "month", 1, 12, &MONTHS, 1)?,
            weekdays: week,
            either: !days.starts_with('*') && !weekdays.starts_with('*'),
            written: text.trim().to_owned(),
        };
        // 2000 to 2008 has every date that there is, twice.
        let begin = DateTime::from_parts(jiff::civil::date(2000, 1, 1), Time::midnight());
        schedule.next_civil(begin).ok_or(ScheduleError::Never)?;
        Ok(schedule)
    }

    /// The next time after `now`, in its time zone.
    pub fn next(&self, now: &Zoned) -> Option<Zoned> {
        let mut from = now.datetime();
        // Of a minute that the clock shows twice the second is passed over.
        for _ in 0..120 {
            let civil = self.next_civil(from)?;
            let zoned = civil.to_zoned(now.time_zone().clone()).ok()?;
            if zoned > *now {
                return Some(zoned);
            }
            from = civil;
        }
        None
    }

    fn next_civil(&self, after: DateTime) -> Option<DateTime> {
        let whole = |at: DateTime| at.with().second(0).subsec_nanosecond(0).build().ok();
        let mut at = whole(after.checked_add(1.minute()).ok()?)?;
        let midnight = |date: Date| DateTime::from_parts(date, Time::midnight());
        for _ in 0..LOOKS_MAX {
            if !has(self.months, at.month()) {
                at = midnight(at.date().first_of_month().checked_add(1.month()).ok()?);
            } else if !self.day_fits(at.date()) {
                at = midnight(at.date().tomorrow().ok()?);
            } else if !has(self.hours, at.hour()) {
                at = at.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if !has(self.minutes, at.minute()) {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                return Some(at);
            }
        }
        None
    }

    fn day_fits(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.either { day || weekday } else { day && weekday }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits & (1 << value) != 0)
}

/// `*`, `5`, `1-5`, `*/10`, `0-30/5`, `mon-fri`, and lists of them.
fn bits(
    text: &str,
    name: &'static str,
    min: u8,
    max: u8,
    names: &[&str],
    names_from: u8,
) -> Result<u64, ScheduleError> {
    let wrong = || ScheduleError::Field { name, text: text.to_owned(), min, max };
    let value = |word: &str| -> Option<u8> {
        if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            return u8::try_from(at).ok().map(|at| at + names_from);
        }
        let plain = !word.is_empty() && word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit());
        word.parse().ok().filter(|value| plain && (min..=max).contains(value))
    };
    let mut all = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0).ok_or_else(wrong)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (min, if name == "weekday" { 6 } else { max }),
            Some((first, last)) => (value(first).ok_or_else(wrong)?, value(last).ok_or_else(wrong)?),
            None => {
                let first = value(range).ok_or_else(wrong)?;
                (first, if step > 1 { max } else { first })
            }
        };
        if first > last {
            return Err(wrong());
        }
        all |= (first..=last).step_by(step).fold(0, |bits, value| bits | 1_u64 << value);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A time in Berlin, by its rule: the machine may know no time zones. `*`: the second of two.
    fn berlin(text: &str) -> Zoned {
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let civil: DateTime = text.trim_end_matches('*').parse().unwrap();
        let at = zone.to_ambiguous_zoned(civil);
        if text.ends_with('*') { at.later().unwrap() } else { at.earlier().unwrap() }
    }

    // Goal: the next time is the one a calendar shows. Method: schedules and moments by hand, clock changes included.
    #[test]
    fn the_next_time_is_what_the_calendar_says() {
        let monday = "2026-11-23T10:07:30";
        check("* * * * *", monday, "2026-11-23T10:08:00");
        check("30 4 * * mon-fri", monday, "2026-11-24T04:30:00");
        check("*/15 9-17 * * *", monday, "2026-11-23T10:15:00");
        check("0 0 1 * *", monday, "2026-12-01T00:00:00");
        check("0 0 29 2 *", monday, "2028-02-29T00:00:00");
        check("0 12 * * 7", monday, "2026-11-29T12:00:00");
        check("0 12 * * sun", monday, "2026-11-29T12:00:00");
        check("5,20 10 * * *", monday, "2026-11-23T10:20:00");
        // Either of day and weekday.
        check("0 0 13 * fri", monday, "2026-11-27T00:00:00");
        check("@hourly", monday, "2026-11-23T11:00:00");
        check("@weekly", monday, "2026-11-29T00:00:00");
        // 02:30 is not there on this day in Berlin; 02:30 is there twice on that one.
        check("30 2 * * *", "2026-03-29T00:00:00", "2026-03-29T03:30:00");
        check("30 2 * * *", "2026-10-25T02:30:00", "2026-10-26T02:30:00");
        check("30 2 * * *", "2026-10-25T02:30:00*", "2026-10-26T02:30:00");

        #[track_caller]
        fn check(schedule: &str, now: &str, want: &str) {
            let next = Schedule::parse(schedule).unwrap().next(&berlin(now)).unwrap();
            assert_eq!(next.datetime().to_string(), want, "{schedule}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_named() {
        check("", "a schedule has 5 fields, not 0");
        check("* * * *", "a schedule has 5 fields, not 4");
        check("60 * * * *", "\"60\" is no minute: 0 to 59, lists, ranges and steps of them");
        check("* 24 * * *", "\"24\" is no hour: 0 to 23, lists, ranges and steps of them");
        check("* * 0 * *", "\"0\" is no day: 1 to 31, lists, ranges and steps of them");
        check("* * * foo *", "\"foo\" is no month: 1 to 12, lists, ranges and steps of them");
        check("5-1 * * * *", "\"5-1\" is no minute: 0 to 59, lists, ranges and steps of them");
        check("*/0 * * * *", "\"*/0\" is no minute: 0 to 59, lists, ranges and steps of them");
        check("+5 * * * *", "\"+5\" is no minute: 0 to 59, lists, ranges and steps of them");
        check("1,,2 * * * *", "\"1,,2\" is no minute: 0 to 59, lists, ranges and steps of them");
        check("0 0 30 2 *", "this time never comes");

        #[track_caller]
        fn check(schedule: &str, want: &str) {
            assert_eq!(Schedule::parse(schedule).unwrap_err().to_string(), want);
        }
    }

    proptest! {
        #[test]
        fn the_next_time_is_later_and_no_text_breaks_the_reader(
            text in r"[0-9*/,a-z-]{1,6}( [0-9*/,a-z-]{1,6}){4}|[0-9]{1,2} [0-9]{1,2} \* \* [0-7]",
            second in 0_i64..4_000_000_000,
        ) {
            if let Ok(schedule) = Schedule::parse(&text) {
                let now = jiff::Timestamp::from_second(second).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
                let next = schedule.next(&now).unwrap();
                prop_assert!(next > now);
                prop_assert_eq!(next.second(), 0);
            }
        }
    }
}
