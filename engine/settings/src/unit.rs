//! Values with units: durations, sizes, rates, address ranges.
//!
//! **Job.** Read and write them. A number without a unit is an error that shows the right spelling.
//! **Called by** `reader`. Not here: ranges (`schema`).

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

const DURATIONS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, text[digits..].trim()))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = split(text.trim())?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// `250ms`, `5s`, `10m`, `2h`, `30d`, `1w`.
pub fn duration(text: &str) -> Option<Duration> {
    with_unit(text, &DURATIONS).map(Duration::from_millis)
}

/// `512B`, `64KiB`, `10MiB`, `1GiB`.
pub fn size(text: &str) -> Option<u64> {
    with_unit(text, &SIZES)
}

fn shortest(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units
        .iter()
        .rev()
        .find(|(_, factor)| value.is_multiple_of(*factor) && value >= *factor)
        .unwrap_or(&units[0]);
    format!("{}{}", value / unit.1, unit.0)
}

/// The shortest exact spelling.
pub fn show_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    shortest(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS[..5])
}

/// The shortest exact spelling.
pub fn show_size(bytes: u64) -> String {
    shortest(bytes, &SIZES)
}

/// What a rate counts by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// Client address (IPv6: the /64).
    Ip,
    /// The user who is logged in; without one, the address.
    User,
    /// A request field's value, lower-case name.
    Header(String),
    /// Everybody together.
    All,
}

/// `100/s burst 200 per ip`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rate {
    /// So many.
    pub count: u32,
    /// In this time.
    pub period: Duration,
    /// So many at once after a pause; without it, `count`.
    pub burst: u32,
    /// Counted by.
    pub key: RateKey,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{period} burst {} per ", self.count, self.burst)?;
        match &self.key {
            RateKey::Ip => f.write_str("ip"),
            RateKey::User => f.write_str("user"),
            RateKey::Header(name) => write!(f, "header:{name}"),
            RateKey::All => f.write_str("all"),
        }
    }
}

/// Reads a rate.
pub fn rate(text: &str) -> Option<Rate> {
    let mut words = text.split_whitespace();
    let (count, period) = words.next()?.split_once('/')?;
    let count: u32 = count.parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
    let period = Duration::from_secs(match period {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    });
    let (mut burst, mut key) = (count, RateKey::Ip);
    while let Some(word) = words.next() {
        match word {
            "burst" => burst = words.next()?.parse().ok().filter(|burst| (1..=1_000_000).contains(burst))?,
            "per" => {
                key = match words.next()? {
                    "ip" => RateKey::Ip,
                    "user" => RateKey::User,
                    "all" => RateKey::All,
                    other => RateKey::Header(
                        other.strip_prefix("header:").filter(|name| !name.is_empty())?.to_ascii_lowercase(),
                    ),
                }
            }
            _ => return None,
        }
    }
    Some(Rate { count, period, burst, key })
}

/// One range, one address, or a name that stands for several.
pub fn networks(text: &str) -> Option<Vec<IpNet>> {
    const PRIVATE: [&str; 7] =
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128", "fc00::/7", "fe80::/10"];
    const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
    let parse = |text: &str| -> Option<IpNet> {
        text.parse::<IpNet>()
            .ok()
            .map(|net| net.trunc())
            .or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
    };
    match text {
        "private" => PRIVATE.iter().map(|net| parse(net)).collect(),
        "loopback" => LOOPBACK.iter().map(|net| parse(net)).collect(),
        one => parse(one).map(|net| vec![net]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_read_and_bare_numbers_are_not() {
        let ms = Duration::from_millis;
        assert_eq!(duration("250ms"), Some(ms(250)));
        assert_eq!(duration("2h"), Some(ms(7_200_000)));
        assert_eq!(size("10MiB"), Some(10 << 20));
        for wrong in [
            "",
            "5",
            "5 seconds",
            "-1s",
            "1.5s",
            "10MB",
            "s",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert_eq!((duration(wrong), size(wrong)), (None, None), "{wrong}");
        }
    }

    #[test]
    fn rates_are_read_in_every_form_and_nonsense_is_not() {
        let per_ip = |count, burst| Rate { count, period: Duration::from_secs(1), burst, key: RateKey::Ip };
        assert_eq!(rate("100/s"), Some(per_ip(100, 100)));
        assert_eq!(rate("100/s burst 200 per ip"), Some(per_ip(100, 200)));
        assert_eq!(
            rate("5/m per header:X-Key").map(|rate| rate.key),
            Some(RateKey::Header("x-key".to_owned()))
        );
        for wrong in
            ["", "100", "100/d", "0/s", "100/s burst", "100/s per", "100/s per header:", "100/s fast", "x/s"]
        {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(value in 0_u64..1 << 50) {
            prop_assert_eq!(duration(&show_duration(Duration::from_millis(value))), Some(Duration::from_millis(value)));
            prop_assert_eq!(size(&show_size(value)), Some(value));
        }
    }
}
