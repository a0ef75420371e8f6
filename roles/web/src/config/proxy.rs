//! What a route says about requests that go on to a pool: as checked.
//!
//! **Job.** Read `proxy` and the keys that go with it. **Called by** `config` (a route). **Calls** `settings`, `template`.
//!
//! Not here: whether the pools are there (`madang`, which sees all sections), doing it (`roles/balance`).

use std::time::Duration;

use madang_settings::reader::Reader;
use madang_settings::schema::{Kind, Section, key};

use super::read_fields;
use crate::pattern::PathPattern;
use crate::template::Template;

/// `split`.
pub const SPLIT: Section = Section {
    title: "split",
    doc: "One arm: a pool, and whom it takes: exactly one of `percent`, `header`, `cookie`.",
    keys: &[
        key("pool", Kind::Text, "", "Where to, by its name in `[pool.NAME]`."),
        key("percent", Kind::Count(0, 100), "", "So many percent of all clients (`split_by`)."),
        key(
            "header",
            Kind::Text,
            "",
            "Who sends this field: `\"x-canary\"`, or with this value: `\"x-canary: yes\"`.",
        ),
        key("cookie", Kind::Text, "", "Who has this cookie: `\"beta\"`, or with this value: `\"beta=1\"`."),
    ],
};

/// `mirror`.
pub const MIRROR: Section = Section {
    title: "mirror",
    doc: "A copy of each request, marked `x-madang-mirror: 1`, goes to another pool; its answer is thrown away and the client never waits for it. Not copied: bodies larger than `body_buffer` of the route's own pool, upgrades, and what is more than 64 under way per worker.",
    keys: &[
        key("pool", Kind::Text, "", "Where to, by its name in `[pool.NAME]`."),
        key("percent", Kind::Count(0, 100), "100", "Of so many percent of the requests."),
        key(
            "timeout",
            Kind::Duration("10ms", "10m"),
            "\"10s\"",
            "The time for a whole copy, its answer included.",
        ),
    ],
};

/// `proxy`, checked; that the pools are there is checked by whoever sees all sections.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct ProxySettings {
    pub pool: String,
    pub strip: Option<String>,
    pub upstream_host: Option<String>,
    /// Fields to set; lower-case names.
    pub set: Vec<(String, String)>,
    /// Fields to take out.
    pub remove: Vec<String>,
    /// The path that the servers see, and whether the request's query stays.
    pub rewrite: Option<(String, bool)>,
    pub rewrite_location: bool,
    pub split: Vec<SplitArm>,
    pub split_by: SplitBy,
    pub mirror: Option<MirrorSettings>,
}

/// An arm of `split`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `SPLIT` documents each
pub struct SplitArm {
    pub pool: String,
    pub takes: Takes,
}

/// Whom an arm takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// 0 to 100.
    Percent(u8),
    /// A field, lower-case name; `None` is any value.
    Header(String, Option<String>),
    /// A cookie; `None` is any value.
    Cookie(String, Option<String>),
}

/// What percents are taken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitBy {
    /// Client addresses.
    Ip,
    /// Values of a field, lower-case name.
    Header(String),
    /// Values of a cookie.
    Cookie(String),
}

/// `mirror`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `MIRROR` documents each
pub struct MirrorSettings {
    pub pool: String,
    /// 0 to 100.
    pub percent: u8,
    pub timeout: Duration,
}

/// Keys that go with `proxy` only.
pub(super) const KEYS: [&str; 6] =
    ["upstream_host", "request_headers", "rewrite_location", "split", "split_by", "mirror"];

impl ProxySettings {
    /// Every pool that the route leads to, and the key that names it.
    pub fn pools(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let split = self.split.iter().map(|arm| ("split", arm.pool.as_str()));
        let mirror = self.mirror.iter().map(|mirror| ("mirror", mirror.pool.as_str()));
        std::iter::once(("proxy", self.pool.as_str())).chain(split).chain(mirror)
    }

    pub(super) fn read(r: &mut Reader<'_>, paths: &[PathPattern]) -> Option<Self> {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for (name, value) in read_fields(r, "request_headers") {
            if value.is_empty() { remove.push(name) } else { set.push((name, value)) }
        }
        let keep_query = r.bool("keep_query");
        let rewrite = r.text("rewrite").map(|to| (to, keep_query));
        if let Some((to, _)) = &rewrite {
            if let Err(why) = Template::for_rewrite(to, paths) {
                let help = "`*` at the end of a path is caught as {rest}".to_owned();
                r.error("rewrite", why.to_string(), Some(help));
            }
            if r.has("strip") {
                r.error("strip", "`rewrite` says the whole path that the servers see", None);
            }
        }
        let split: Vec<SplitArm> =
            r.tables("split", &SPLIT, |r, _| SplitArm::read(r)).into_iter().flatten().collect();
        check_sum(r, &split);
        let split_by = SplitBy::read(r, &split);
        Some(Self {
            pool: r.text("proxy")?,
            strip: r.text("strip").map(|strip| strip.trim_end_matches('/').to_owned()),
            upstream_host: r.text("upstream_host"),
            set,
            remove,
            rewrite,
            rewrite_location: r.bool("rewrite_location"),
            split,
            split_by,
            mirror: r.table("mirror", &MIRROR, MirrorSettings::read).flatten(),
        })
    }
}

fn check_sum(r: &mut Reader<'_>, split: &[SplitArm]) {
    let percent =
        |arm: &SplitArm| if let Takes::Percent(percent) = arm.takes { u32::from(percent) } else { 0 };
    let sum: u32 = split.iter().map(percent).sum();
    if sum > 100 {
        let help = Some("what is left of 100 goes to `proxy`".to_owned());
        r.error("split", format!("the percents make {sum}, at most 100 can be given away"), help);
    }
}

/// A token of RFC 9110 5.6.2: the names of fields and cookies.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl SplitArm {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let named: Vec<&str> = ["percent", "header", "cookie"].into_iter().filter(|key| r.has(key)).collect();
        let pool = r.text("pool");
        if pool.is_none() && !r.has("pool") {
            r.error("pool", "`pool` is missing: where the arm leads", None);
        }
        let [one] = named[..] else {
            let message = if named.is_empty() {
                "an arm needs one of percent, header, cookie".to_owned()
            } else {
                format!("an arm takes by one thing, here are {}; write an arm for each", named.join(" and "))
            };
            let (mark, path) = (r.mark(), r.path().to_owned());
            r.report.error(mark, &path, message, None);
            return None;
        };
        let takes = if one == "percent" {
            Takes::Percent(r.count("percent").and_then(|percent| u8::try_from(percent).ok())?)
        } else {
            let text = r.text(one)?;
            let between = if one == "header" { ':' } else { '=' };
            let (name, value) = match text.split_once(between) {
                Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
                None => (text.trim(), None),
            };
            if !is_token(name) {
                let help = Some("for example header = \"x-canary: yes\", cookie = \"beta=1\"".to_owned());
                r.error(one, format!("{name:?} is not the name of a {one}"), help);
                return None;
            }
            match one {
                "header" => Takes::Header(name.to_ascii_lowercase(), value),
                _ => Takes::Cookie(name.to_owned(), value),
            }
        };
        Some(Self { pool: pool?, takes })
    }
}

impl SplitBy {
    fn read(r: &mut Reader<'_>, split: &[SplitArm]) -> Self {
        if r.has("split_by") && !split.iter().any(|arm| matches!(arm.takes, Takes::Percent(_))) {
            r.warn("split_by", "without a `percent` in `split` this has no effect", None);
        }
        let text = r.text_or_default("split_by");
        match text.split_once(':') {
            None if text == "ip" => Self::Ip,
            Some(("header", name)) if is_token(name) => Self::Header(name.to_ascii_lowercase()),
            Some(("cookie", name)) if is_token(name) => Self::Cookie(name.to_owned()),
            _ => {
                let help = Some("ip, header:NAME or cookie:NAME".to_owned());
                r.error("split_by", format!("{text:?} is nothing to split by"), help);
                Self::Ip
            }
        }
    }
}

impl MirrorSettings {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        if !r.has("pool") {
            r.error("pool", "`pool` is missing: where copies go", None);
        }
        let percent = r.count("percent").and_then(|percent| u8::try_from(percent).ok()).unwrap_or(100);
        let timeout = r.duration("timeout");
        Some(Self { pool: r.text("pool")?, percent, timeout })
    }
}
