//! Content codings: which the client takes, and how much (RFC 9110 12.5.3).
//!
//! **Job.** Read `accept-encoding` once into weights; choose among what is at hand.
//! **Called by** `answer`. **Calls** `quality`.
//!
//! Invariants
//! 1. Without the field only identity is chosen: old clients that never heard of codings send none.
//! 2. Identity is acceptable unless it is refused by name, or by `*;q=0`.
//!
//! Not here: compressing (`compress`), files beside a file (`answer`).

use madang_http::response::Text;
use madang_wire::request::RequestHead;

use super::quality::{self, Weight};

/// A content coding that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All, the best for a file that was compressed at leisure first.
    pub(super) const BY_SIZE: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];
    /// All, the cheapest to make for its gain first.
    pub(super) const BY_COST: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The `content-encoding` value.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
    /// The same, ready to send.
    pub(super) fn text(self) -> Text {
        Text::from(self.name())
    }
    /// How the name of a compressed sibling ends.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// What a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acceptable {
    brotli: Weight,
    zstd: Weight,
    gzip: Weight,
    identity: Weight,
}

impl Acceptable {
    /// A client that sent no `accept-encoding`.
    pub(super) const IDENTITY: Self = Self { brotli: 0, zstd: 0, gzip: 0, identity: 1000 };

    /// From the fields of a request that has `accept-encoding`.
    pub(super) fn of(head: &RequestHead) -> Self {
        let (mut named, mut any) = ([None; 4], None);
        for value in head.get_all("accept-encoding") {
            for (name, weight) in quality::members(value) {
                let slot = match name.len() {
                    2 if name.eq_ignore_ascii_case("br") => &mut named[0],
                    4 if name.eq_ignore_ascii_case("zstd") => &mut named[1],
                    4 if name.eq_ignore_ascii_case("gzip") => &mut named[2],
                    6 if name.eq_ignore_ascii_case("x-gzip") => &mut named[2],
                    8 if name.eq_ignore_ascii_case("identity") => &mut named[3],
                    1 if name == "*" => &mut any,
                    _ => continue,
                };
                slot.get_or_insert(weight);
            }
        }
        let coding = |index: usize| named[index].or(any).unwrap_or(0);
        Self {
            brotli: coding(0),
            zstd: coding(1),
            gzip: coding(2),
            // Not named it is the last resort, but a resort: the smallest weight there is.
            identity: named[3].or(any).unwrap_or(1),
        }
    }

    /// How much a coding is wanted; 0: not at all.
    pub(super) fn weight(self, coding: Coding) -> Weight {
        match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
        }
    }

    /// Whether the file may be sent as it is.
    pub(super) fn identity(self) -> bool {
        self.identity > 0
    }

    /// The most wanted of `offered`, earlier ones first among equals; `None` where identity is wanted more than all.
    pub(super) fn choose(self, offered: impl Iterator<Item = Coding>) -> Option<Coding> {
        let mut best = None;
        for coding in offered {
            let weight = self.weight(coding);
            if weight > 0 && weight >= self.identity && best.is_none_or(|(_, before)| weight > before) {
                best = Some((coding, weight));
            }
        }
        best.map(|(coding, _)| coding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the choice follows weights, then our order; identity wins only where it is wanted more.
    // Method: a table: field lines, the coding chosen from all, whether identity is acceptable.
    #[test]
    fn the_most_wanted_coding_is_chosen() {
        check(&["gzip, deflate, br, zstd"], Some("br"), true);
        check(&["gzip, deflate"], Some("gzip"), true);
        check(&["x-gzip"], Some("gzip"), true);
        check(&["GZIP"], Some("gzip"), true);
        check(&["gzip;q=1.0, br;q=0.5"], Some("gzip"), true);
        check(&["gzip;q=0.1", "zstd;q=0.2"], Some("zstd"), true);
        check(&["br;q=0"], None, true);
        check(&["*"], Some("br"), true);
        check(&["*, br;q=0"], Some("zstd"), true);
        check(&["*;q=0"], None, false);
        check(&["gzip, *;q=0"], Some("gzip"), false);
        check(&["identity;q=0"], None, false);
        check(&["identity;q=0, gzip;q=0.001"], Some("gzip"), false);
        check(&["identity, gzip;q=0.5"], None, true);
        check(&["identity;q=0.5, gzip;q=0.5"], Some("gzip"), true);
        check(&["identity, *;q=0"], None, true);
        check(&[""], None, true);
        check(&["deflate, compress"], None, true);
        check(&["br;q=nonsense, gzip"], Some("gzip"), true);

        #[track_caller]
        fn check(lines: &[&str], coding: Option<&str>, identity: bool) {
            let mut head = RequestHead::new();
            for line in lines {
                head.push_field("accept-encoding", line.as_bytes());
            }
            let acceptable = Acceptable::of(&head);
            let chosen = acceptable.choose(Coding::BY_SIZE.into_iter());
            assert_eq!((chosen.map(Coding::name), acceptable.identity()), (coding, identity), "{lines:?}");
        }
    }
}
