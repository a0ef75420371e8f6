//! Regular expressions of other servers as path patterns, where they say no more than patterns can.
//!
//! **Job.** Anchors, literal text, `(a|b)`, one-segment classes and `.*` become Madang's patterns with captures.
//! **Called by** `nginx`, `caddy`. Pure.
//!
//! Invariants
//! 1. `None` rather than a guess: a pattern takes what the expression takes, or more where [`Patterns::wider`] says so.
//! 2. At most [`PATTERNS_MAX`] patterns come of one expression.
//!
//! Not here: which route they are for.

/// The most patterns of one expression.
const PATTERNS_MAX: usize = 32;

/// What became of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patterns {
    /// Patterns of paths.
    pub(crate) paths: Vec<String>,
    /// What stands for `$1`, `$2`, … in a target; `None`: nothing can.
    pub(crate) captures: Vec<Option<String>>,
    /// They take more than the expression did (classes such as `\d+` become a whole segment).
    pub(crate) wider: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// One segment, or a part of one; the number of its group.
    Segment(Option<usize>),
    /// Anything; the number of its group.
    Anything(Option<usize>),
    /// One of these; the number of its group.
    Choice(Vec<String>, Option<usize>),
    /// `/?` at the end.
    MaybeSlash,
}

/// Reads an expression.
pub(crate) fn patterns(expression: &str) -> Option<Patterns> {
    let text = expression.strip_prefix("(?i)").unwrap_or(expression);
    let (from_start, text) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
    let dollar = text.ends_with('$') && !text.ends_with("\\$");
    let (to_end, text) = if dollar { (true, &text[..text.len() - 1]) } else { (false, text) };
    // A path ends there or goes on behind a slash.
    let (to_end, text, boundary) = match text.strip_suffix("(/|$)").or(text.strip_suffix("(?:/|$)")) {
        Some(text) if !to_end => (true, text, true),
        _ => (to_end, text, false),
    };
    let mut parser = Parser { rest: text, groups: 0, wider: boundary };
    let pieces = parser.pieces()?;
    let mut captures = vec![None; parser.groups];
    let mut paths = Vec::new();
    for choice in choices(&pieces)? {
        if from_start {
            paths.push(from_the_start(&choice, to_end, &mut captures)?);
            if boundary {
                let own = paths.last()?.clone();
                paths.push(format!("{own}/*"));
                paths.remove(paths.len() - 2);
            }
        } else {
            paths.extend(anywhere(&choice, to_end)?);
        }
    }
    paths.dedup();
    let fine = !paths.is_empty() && paths.len() <= PATTERNS_MAX && paths.iter().all(|path| is_pattern(path));
    fine.then_some(Patterns { paths, captures, wider: parser.wider })
}

/// Whether Madang takes it: canonical segments, at most one star in each.
pub(crate) fn is_pattern(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let parts: Vec<&str> = rest.split('/').collect();
    parts.iter().enumerate().all(|(at, part)| {
        let last = at + 1 == parts.len();
        let capture = part.starts_with('{') && part.ends_with('}');
        let deep = *part == "**" && at + 2 == parts.len() && !["", "*"].contains(&parts[at + 1]);
        !part.contains(['%', '\\', '?', '#'])
            && *part != "."
            && *part != ".."
            && (!part.is_empty() || last)
            && (deep || part.matches('*').count() <= 1)
            && (*part != "*" || last)
            && (capture || !part.contains(['{', '}']))
            && !part.chars().any(char::is_control)
    })
}

struct Parser<'t> {
    rest: &'t str,
    groups: usize,
    wider: bool,
}

impl Parser<'_> {
    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn pieces(&mut self) -> Option<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        while !self.rest.is_empty() {
            if pieces.len() > 64 {
                return None;
            }
            let piece = self.piece()?;
            match (pieces.last_mut(), piece) {
                (Some(Piece::Literal(text)), Piece::Literal(more)) => text.push_str(&more),
                (_, piece) => pieces.push(piece),
            }
        }
        Some(pieces)
    }

    fn piece(&mut self) -> Option<Piece> {
        if self.take("(") {
            return self.group();
        }
        if self.rest == "/?" {
            self.rest = "";
            return Some(Piece::MaybeSlash);
        }
        if let Some(piece) = self.class() {
            return Some(piece);
        }
        let mut chars = self.rest.chars();
        let c = match chars.next()? {
            '\\' => chars.next().filter(|c| !c.is_alphanumeric())?,
            c if "[](){}.*+?|^$".contains(c) => return None,
            c => c,
        };
        self.rest = chars.as_str();
        if self.rest.starts_with(['*', '+', '?', '{']) {
            return None;
        }
        Some(Piece::Literal(c.to_string()))
    }

    /// What stands for a run of characters.
    fn class(&mut self) -> Option<Piece> {
        if self.take(".*") || self.take(".+") {
            self.take("?");
            return Some(Piece::Anything(None));
        }
        let (class, rest) = if let Some(rest) = self.rest.strip_prefix('[') {
            let (class, rest) = rest.split_once(']')?;
            (class.to_owned(), rest)
        } else {
            let class = self.rest.get(..2).filter(|class| matches!(*class, "\\d" | "\\w"))?;
            (class.to_owned(), &self.rest[2..])
        };
        let rest = rest.strip_prefix('+').or_else(|| rest.strip_prefix('*'))?;
        let whole = class == "^/";
        if !whole && (class.starts_with('^') || class.contains('/')) {
            return None;
        }
        self.rest = rest;
        self.wider |= !whole;
        Some(Piece::Segment(None))
    }

    fn group(&mut self) -> Option<Piece> {
        let number = if self.take("?:") {
            None
        } else {
            if self.take("?P<") || self.take("?<") {
                if self.rest.starts_with(['!', '=']) {
                    return None;
                }
                self.rest = self.rest.split_once('>')?.1;
            } else if self.rest.starts_with('?') {
                return None;
            }
            self.groups += 1;
            Some(self.groups - 1)
        };
        if let Some(piece) = self.class() {
            if !self.take(")") {
                return None;
            }
            return Some(match piece {
                Piece::Anything(_) => Piece::Anything(number),
                _ => Piece::Segment(number),
            });
        }
        let (inside, rest) = self.rest.split_once(')')?;
        self.rest = rest;
        if rest.starts_with(['*', '+', '?', '{']) {
            return None;
        }
        let choices: Option<Vec<Vec<String>>> = inside.split('|').map(literal).collect();
        Some(Piece::Choice(choices?.into_iter().flatten().collect(), number))
    }
}

/// A choice that is plain text; `jpe?g` is two.
fn literal(text: &str) -> Option<Vec<String>> {
    let mut made = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().filter(|c| !c.is_alphanumeric())?,
            c if "[](){}.*+?|^$".contains(c) => return None,
            c => c,
        };
        if chars.next_if_eq(&'?').is_some() {
            let with: Vec<String> = made.iter().map(|text| format!("{text}{c}")).collect();
            made.extend(with);
        } else {
            made.iter_mut().for_each(|text| text.push(c));
        }
        if made.len() > PATTERNS_MAX || matches!(chars.peek(), Some('*' | '+' | '{')) {
            return None;
        }
    }
    Some(made)
}

/// Every way to choose.
fn choices(pieces: &[Piece]) -> Option<Vec<Vec<Piece>>> {
    let mut all = vec![Vec::new()];
    for piece in pieces {
        let options: Vec<Option<Piece>> = match piece {
            Piece::Choice(texts, _) => texts.iter().map(|text| Some(Piece::Literal(text.clone()))).collect(),
            Piece::MaybeSlash => vec![None, Some(Piece::Literal("/".to_owned()))],
            piece => vec![Some(piece.clone())],
        };
        all = all
            .iter()
            .flat_map(|front| {
                options.iter().map(move |option| front.iter().cloned().chain(option.clone()).collect())
            })
            .collect();
        if all.len() > PATTERNS_MAX {
            return None;
        }
    }
    Some(all)
}

fn from_the_start(pieces: &[Piece], to_end: bool, captures: &mut [Option<String>]) -> Option<String> {
    let mut out = String::new();
    let mut keep = |number: &Option<usize>, text: &str| {
        if let Some(slot) = number.and_then(|number| captures.get_mut(number)) {
            *slot = Some(text.to_owned());
        }
    };
    for (at, piece) in pieces.iter().enumerate() {
        let last = at + 1 == pieces.len();
        let next = match pieces.get(at + 1) {
            Some(Piece::Literal(text)) => text.as_str(),
            _ => "",
        };
        match piece {
            Piece::Literal(text) if text.contains('*') => return None,
            Piece::Literal(text) => out.push_str(text),
            Piece::Segment(number) if out.ends_with('/') && (last || next.starts_with('/')) => {
                let name = format!("{{c{at}}}");
                out.push_str(&name);
                keep(number, &name);
            }
            Piece::Segment(None) => out.push('*'),
            Piece::Anything(number) if last && out.is_empty() => {
                out.push_str("/*");
                keep(number, "/{rest}");
                return Some(out);
            }
            Piece::Anything(number) if last && out.ends_with('/') => {
                out.push('*');
                keep(number, "{rest}");
                return Some(out);
            }
            Piece::Anything(None) if last => return Some(format!("{out}*/*")),
            Piece::Anything(None)
                if (out.ends_with('/') || out.is_empty())
                    && !next.is_empty()
                    && at + 2 == pieces.len()
                    && to_end
                    && !next.contains('/') =>
            {
                let front = if out.is_empty() { "/" } else { &out };
                return Some(format!("{front}**/*{next}"));
            }
            _ => return None,
        }
    }
    if to_end {
        return Some(out);
    }
    // Whatever follows.
    if out.ends_with('/') || out.is_empty() {
        Some(format!("{}/*", out.trim_end_matches('/')))
    } else if out.ends_with('}') {
        Some(format!("{out}/*"))
    } else if out.rsplit('/').next().is_some_and(|part| part.contains('*')) {
        None
    } else {
        Some(format!("{out}*/*"))
    }
}

/// An expression for any place of the path: the last segment's end, or names that begin with a dot.
fn anywhere(pieces: &[Piece], to_end: bool) -> Option<Vec<String>> {
    let mut text = String::new();
    for piece in pieces {
        let Piece::Literal(more) = piece else { return None };
        text.push_str(more);
    }
    if text.contains('*') || text.is_empty() {
        return None;
    }
    match text.strip_prefix('/') {
        Some(name) if to_end && !name.contains('/') && !name.is_empty() => Some(vec![format!("/**/{name}")]),
        // `/\.ht`: a name with a dot in front, at the top or deeper; what lies inside such a folder, too.
        Some(name) if !to_end && name.starts_with('.') && !name.contains('/') => {
            Some(vec![format!("/**/{name}*"), format!("/{name}*/*")])
        }
        None if to_end && !text.contains('/') => Some(vec![format!("/**/*{text}")]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn expressions_become_patterns_or_nothing() {
        check(r"\.php$", Some(&["/**/*.php"]), &[]);
        check(r"\.(css|js)$", Some(&["/**/*.css", "/**/*.js"]), &[None]);
        check(r"\.(?:jpe?g|png)$", Some(&["/**/*.jpg", "/**/*.jpeg", "/**/*.png"]), &[]);
        check(r"^/old/(.*)$", Some(&["/old/*"]), &[Some("{rest}")]);
        check(r"^(.*)$", Some(&["/*"]), &[Some("/{rest}")]);
        check(r"^/u/([^/]+)/edit$", Some(&["/u/{c1}/edit"]), &[Some("{c1}")]);
        check(r"^/u/(\d+)$", Some(&["/u/{c1}"]), &[Some("{c1}")]);
        check(r"^/(a|b)/", Some(&["/a/*", "/b/*"]), &[None]);
        check(r"^/api", Some(&["/api*/*"]), &[]);
        check(r"^/a/?$", Some(&["/a", "/a/"]), &[]);
        check(r"^/a/.*\.php$", Some(&["/a/**/*.php"]), &[]);
        check(r"^/admin(/|$)", Some(&["/admin/*"]), &[]);
        check(r"/\.ht", Some(&["/**/.ht*", "/.ht*/*"]), &[]);
        check(r"/robots\.txt$", Some(&["/**/robots.txt"]), &[]);
        check(r"^/x-\d+\.png$", Some(&["/x-*.png"]), &[]);
        for no in [
            r"\.php",
            r"^/(?!api)",
            r"^/a{2}$",
            r"^/[^a]+$",
            r"(a|b)*",
            r"^/a|b$",
            r"^/x(.*)\.html$",
            r"a",
            r"\1",
            "^/100%$",
        ] {
            check(no, None, &[]);
        }

        #[track_caller]
        fn check(expression: &str, paths: Option<&[&str]>, captures: &[Option<&str>]) {
            let have = patterns(expression);
            assert_eq!(
                have.as_ref()
                    .map(|have| have.paths.iter().map(String::as_str).collect::<Vec<_>>())
                    .as_deref(),
                paths
            );
            let Some(have) = have else { return };
            assert_eq!(have.captures.iter().map(Option::as_deref).collect::<Vec<_>>(), captures);
        }
    }

    proptest! {
        #[test]
        fn no_expression_breaks_the_reader(text in r"(\^|\$|/|\(|\)|\||\.|\*|\?|\+|\[|\]|\\|a|b|\\d|\(\?:|\(\?<n>|é|%){0,16}") {
            if let Some(made) = patterns(&text) {
                prop_assert!(made.paths.iter().all(|path| path.starts_with('/')));
            }
        }
    }
}
