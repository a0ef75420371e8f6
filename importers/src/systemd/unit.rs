//! systemd's unit files and its quoting (systemd.syntax(7), systemd.service(5) "Command lines").
//!
//! **Job.** Sections, keys, continued lines; words with quotes and escapes. **Called by** `systemd`. Pure.
//!
//! Invariants
//! 1. Lines and words are bounded by the file, which is.
//!
//! Not here: what keys mean.

/// A setting with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: u32,
}

/// Reads a unit.
pub(super) fn settings(text: &str) -> Vec<Setting> {
    let mut all = Vec::new();
    let (mut section, mut open): (String, Option<(String, u32)>) = (String::new(), None);
    for (index, line) in text.lines().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(0);
        // Comments may stand between continued lines.
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let (mut whole, begun) = match open.take() {
            Some((front, begun)) => (format!("{front} {}", line.trim()), begun),
            None => (line.trim().to_owned(), number),
        };
        if whole.ends_with('\\') {
            whole.pop();
            open = Some((whole.trim_end().to_owned(), begun));
            continue;
        }
        if let Some(name) = whole.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = whole.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            all.push(Setting { section: section.clone(), key, value, line: begun });
        }
    }
    all
}

/// Words of a value: whitespace apart, quotes where a word begins, C escapes.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.peek().copied() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', _) => word.extend(escape(&mut chars)),
                (c, Some(open)) if c == open => quote = None,
                (c @ ('"' | '\''), None) => quote = Some(c),
                (c, None) if c.is_whitespace() => break,
                (c, _) => word.push(c),
            }
        }
        words.push(word);
    }
    words
}

fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        's' => ' ',
        'x' => {
            let digits: String = [chars.next()?, chars.next()?].iter().collect();
            u8::from_str_radix(&digits, 16).ok().map(char::from)?
        }
        other => other,
    })
}

/// A span (systemd.time(7)) as one of Madang's; a number alone is seconds.
pub(super) fn span(text: &str) -> Option<String> {
    let (mut ms, mut rest) = (0_u64, text.trim());
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let scale = match &rest[..unit_end] {
            "ms" | "msec" => 1,
            "" | "s" | "sec" | "second" | "seconds" => 1000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            "w" | "week" | "weeks" => 604_800_000,
            _ => return None,
        };
        rest = rest[unit_end..].trim_start();
        ms = ms.checked_add(number.checked_mul(scale)?)?;
    }
    Some(match ms {
        ms if ms % 3_600_000 == 0 && ms > 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    })
}

/// `OnCalendar=` as a schedule of five fields, where it is no finer than a minute.
pub(super) fn calendar(text: &str) -> Option<String> {
    let named = match text.trim() {
        "minutely" => Some("* * * * *"),
        "hourly" => Some("@hourly"),
        "daily" => Some("@daily"),
        "weekly" => Some("0 0 * * mon"),
        "monthly" => Some("@monthly"),
        _ => None,
    };
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    let mut parts: Vec<&str> = text.split_whitespace().collect();
    let weekday = if parts.first()?.starts_with(|c: char| c.is_ascii_alphabetic()) {
        parts.remove(0).to_lowercase().replace("..", "-")
    } else {
        "*".to_owned()
    };
    let weekday = weekday
        .split(',')
        .map(|part| part.split('-').map(|day| day.get(..3).unwrap_or(day)).collect::<Vec<_>>().join("-"))
        .collect::<Vec<_>>()
        .join(",");
    let (date, time) = match parts.as_slice() {
        [] => ("*-*-*", "00:00:00"),
        [time] if time.contains(':') => ("*-*-*", *time),
        [date] => (*date, "00:00:00"),
        [date, time] => (*date, *time),
        _ => return None,
    };
    let date: Vec<&str> = date.split('-').collect();
    let (month, day) = match date.as_slice() {
        ["*", month, day] | [month, day] => (*month, *day),
        _ => return None,
    };
    let time: Vec<&str> = time.split(':').collect();
    let (hour, minute) = match time.as_slice() {
        [hour, minute] | [hour, minute, "00" | "0"] => (*hour, *minute),
        _ => return None,
    };
    let field = |text: &str| -> Option<String> {
        let text = text.replace("..", "-");
        let text = match text.split_once('/') {
            Some(("0" | "00" | "*", step)) => format!("*/{step}"),
            Some(_) => return None,
            None => text,
        };
        let fine = text.bytes().all(|b| b.is_ascii_digit() || b"*/,-".contains(&b)) && !text.is_empty();
        // 03 is 3.
        let short = |part: &str| part.parse::<u32>().map_or(part.to_owned(), |number| number.to_string());
        fine.then(|| {
            text.split(',')
                .map(|part| part.split('-').map(short).collect::<Vec<_>>().join("-"))
                .collect::<Vec<_>>()
                .join(",")
        })
    };
    Some(format!("{} {} {} {} {weekday}", field(minute)?, field(hour)?, field(day)?, field(month)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_systemd_cuts_them() {
        check("/bin/a b  'c d' \"e \\\"f\"", &["/bin/a", "b", "c d", "e \"f"]);
        check(r"a\x20b A='x y' \s", &["a b", "A=x y", " "]);
        check("'open", &["open"]);
        check("", &[]);

        #[track_caller]
        fn check(text: &str, want: &[&str]) {
            assert_eq!(words(text), want);
        }
    }

    #[test]
    fn calendars_become_schedules_or_nothing() {
        check("daily", Some("@daily"));
        check("Mon..Fri 04:30", Some("30 4 * * mon-fri"));
        check("*-*-* 03:00:00", Some("0 3 * * *"));
        check("*-*-01 00:05", Some("5 0 1 * *"));
        check("*:0/15", Some("*/15 * * * *"));
        check("Sat,Sunday 12:00", Some("0 12 * * sat,sun"));
        check("2030-01-01 00:00", None);
        check("*-*-* 03:00:30", None);

        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            assert_eq!(calendar(text).as_deref(), want);
        }
    }

    #[test]
    fn lines_go_on_behind_a_backslash() {
        let read = settings("[Service]\nExecStart=/bin/a \\\n# no\n  b\nX = y\n");
        assert_eq!(
            (read[0].value.as_str(), read[0].line, read[1].key.as_str(), read[1].line),
            ("/bin/a b", 2, "X", 5)
        );
    }
}
