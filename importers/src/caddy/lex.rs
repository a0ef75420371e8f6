//! A Caddyfile as lines with their blocks.
//!
//! **Job.** Cut text into words by Caddy's quoting, put snippets and imported files in their place. **Called by** `caddy`.
//! **Calls** files through `Folder`.
//!
//! Invariants
//! 1. Blocks and imports nest at most [`DEPTH_MAX`] deep; at most [`LINES_MAX`] lines are made.
//!
//! Not here: what directives mean.

use crate::draft::Place;
use crate::folder::Folder;

/// How deep blocks and imports nest.
const DEPTH_MAX: usize = 24;
/// How many lines are made, imports put in.
const LINES_MAX: usize = 20_000;

/// A line, and the block that it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Line>>,
    pub(super) at: Place,
}

impl Line {
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }
    pub(super) fn name(&self) -> &str {
        self.word(0)
    }
    pub(super) fn inside(&self) -> &[Line] {
        self.block.as_deref().unwrap_or_default()
    }
}

struct Word {
    text: String,
    line: u32,
    quoted: bool,
}

/// Reads a file; what it imports is put in by [`Importer`].
///
/// # Errors
/// A sentence with file and line.
pub(super) fn lines(file: &str, text: &str) -> Result<Vec<Line>, String> {
    let words = words(file, text)?;
    let mut at = 0;
    let lines = block(file, &words, &mut at, 0, None)?;
    Ok(lines)
}

fn words(file: &str, text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let (mut rest, mut line) = (text, 1_u32);
    loop {
        let c = match rest.chars().next() {
            None => return Ok(words),
            Some(c) => c,
        };
        if c == '\n' {
            line += 1;
        }
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
            continue;
        }
        // A backslash at the end of a line joins it with the next.
        if let Some(behind) = rest.strip_prefix("\\\n") {
            rest = behind;
            continue;
        }
        if c == '#' {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        let begun = line;
        let (text, behind, quoted) = match c {
            '"' | '`' => {
                let (text, behind) = quoted(&rest[1..], c)
                    .ok_or_else(|| format!("{file}:{begun}: a {c} that is never closed"))?;
                (text, behind, true)
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                match rest[..end].strip_prefix("<<").filter(|mark| !mark.is_empty()) {
                    Some(mark) => {
                        let (text, behind) = heredoc(&rest[end..], mark)
                            .ok_or_else(|| format!("{file}:{begun}: <<{mark} is never closed"))?;
                        (text, behind, true)
                    }
                    None => (rest[..end].to_owned(), &rest[end..], false),
                }
            }
        };
        line += u32::try_from(rest[..rest.len() - behind.len()].matches('\n').count()).unwrap_or(0);
        words.push(Word { text: if quoted { text } else { environment(&text) }, line: begun, quoted });
        rest = behind;
    }
}

fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => match chars.next()?.1 {
                '"' => out.push('"'),
                other => out.extend(['\\', other]),
            },
            c if c == quote => return Some((out, &text[at + c.len_utf8()..])),
            c => out.push(c),
        }
    }
    None
}

fn heredoc<'t>(text: &'t str, mark: &str) -> Option<(String, &'t str)> {
    let body = text.strip_prefix('\n').or_else(|| text.split_once('\n').map(|(_, body)| body))?;
    let mut lines: Vec<&str> = Vec::new();
    let mut at = 0;
    for line in body.split_inclusive('\n') {
        if line.trim_start().starts_with(mark) {
            let indent = line.len() - line.trim_start().len();
            let behind = &body[at + indent + mark.len()..];
            let cut: Vec<&str> = lines
                .iter()
                .map(|line| {
                    line.get(indent..)
                        .filter(|_| line[..indent.min(line.len())].trim().is_empty())
                        .unwrap_or(line)
                })
                .collect();
            return Some((cut.join("\n"), behind));
        }
        at += line.len();
        lines.push(line.trim_end_matches(['\n', '\r']));
    }
    None
}

/// `{$NAME:default}` is the default; without one it stays, and nobody will know it.
fn environment(text: &str) -> String {
    let Some((before, rest)) = text.split_once("{$") else { return text.to_owned() };
    let Some((inside, behind)) = rest.split_once('}') else { return text.to_owned() };
    match inside.split_once(':') {
        Some((_, default)) => format!("{before}{default}{}", environment(behind)),
        None => text.to_owned(),
    }
}

fn block(
    file: &str,
    words: &[Word],
    at: &mut usize,
    depth: usize,
    open: Option<u32>,
) -> Result<Vec<Line>, String> {
    let mut lines: Vec<Line> = Vec::new();
    while let Some(word) = words.get(*at) {
        if word.text == "}" && !word.quoted {
            if open.is_none() {
                return Err(format!("{file}:{}: a }} that closes nothing", word.line));
            }
            *at += 1;
            return Ok(lines);
        }
        if depth > DEPTH_MAX {
            return Err(format!("{file}:{}: blocks nest deeper than {DEPTH_MAX}", word.line));
        }
        let begun = word.line;
        let mut line = Line { words: Vec::new(), block: None, at: Place::new(file, begun) };
        let mut now = begun;
        while let Some(word) = words.get(*at) {
            // Addresses may go on on the next line behind a comma.
            let goes_on = depth == 0 && line.words.last().is_some_and(|last| last.ends_with(','));
            if word.line != now && !goes_on {
                break;
            }
            now = word.line
                + u32::try_from(word.text.matches('\n').count()).unwrap_or(0) * u32::from(word.quoted);
            if word.text == "{" && !word.quoted {
                *at += 1;
                line.block = Some(block(file, words, at, depth + 1, Some(word.line))?);
                break;
            }
            if word.text == "}" && !word.quoted {
                break;
            }
            line.words.push(word.text.clone());
            *at += 1;
        }
        lines.push(line);
        if lines.len() > LINES_MAX {
            return Err(format!("{file}:{begun}: more than {LINES_MAX} lines"));
        }
    }
    match open {
        Some(line) => Err(format!("{file}:{line}: this {{ is never closed")),
        None => Ok(lines),
    }
}

/// Puts imports in.
pub(super) struct Importer<'f> {
    pub(super) folder: &'f dyn Folder,
    /// `(name) { … }`.
    pub(super) snippets: Vec<Line>,
    pub(super) made: usize,
    /// Imports that lead nowhere.
    pub(super) missing: Vec<(Place, String)>,
}

impl Importer<'_> {
    /// The lines with every `import` replaced by what it names.
    pub(super) fn expand(&mut self, lines: Vec<Line>, depth: usize) -> Result<Vec<Line>, String> {
        let mut out = Vec::new();
        for mut line in lines {
            self.made += 1;
            if depth > DEPTH_MAX || self.made > LINES_MAX {
                return Err(format!(
                    "{}: imports lead in a circle, or to more than {LINES_MAX} lines",
                    line.at
                ));
            }
            if line.name() == "import" && line.words.len() > 1 {
                let found = self.named(&line)?;
                out.extend(self.expand(found, depth + 1)?);
                continue;
            }
            if let Some(block) = line.block.take() {
                line.block = Some(self.expand(block, depth + 1)?);
            }
            out.push(line);
        }
        Ok(out)
    }

    fn named(&mut self, line: &Line) -> Result<Vec<Line>, String> {
        let name = line.word(1);
        if let Some(snippet) = self.snippets.iter().find(|snippet| snippet.name() == format!("({name})")) {
            let arguments = &line.words[2..];
            return Ok(snippet.inside().iter().map(|inside| with_arguments(inside, arguments)).collect());
        }
        let (folder, last) = name.rsplit_once('/').unwrap_or((".", name));
        let files: Vec<String> = match last.split_once('*') {
            None => vec![name.to_owned()].into_iter().filter(|name| self.folder.has(name)).collect(),
            Some((before, behind)) => {
                let inside = if folder == "." { String::new() } else { format!("{folder}/") };
                let names = self.folder.names(folder).into_iter();
                let fits = |name: &String| {
                    name.len() >= before.len() + behind.len()
                        && name.starts_with(before)
                        && name.ends_with(behind)
                        && !name.starts_with('.')
                };
                names
                    .filter(fits)
                    .map(|name| format!("{inside}{name}"))
                    .filter(|path| self.folder.has(path))
                    .collect()
            }
        };
        if files.is_empty() {
            self.missing.push((line.at.clone(), name.to_owned()));
        }
        let mut all = Vec::new();
        for file in files.into_iter().take(128) {
            let text =
                self.folder.read(&file).map_err(|why| format!("{}: cannot import {file}: {why}", line.at))?;
            for line in lines(&file, &text)? {
                if line.name().starts_with('(') && line.words.len() == 1 && line.block.is_some() {
                    self.snippets.push(line);
                } else {
                    all.push(line);
                }
            }
        }
        Ok(all)
    }
}

fn with_arguments(line: &Line, arguments: &[String]) -> Line {
    let put = |word: &String| {
        let mut word = word.clone();
        for (index, argument) in arguments.iter().enumerate() {
            word = word
                .replace(&format!("{{args[{index}]}}"), argument)
                .replace(&format!("{{args.{index}}}"), argument);
        }
        word
    };
    Line {
        words: line.words.iter().map(put).collect(),
        block: line
            .block
            .as_ref()
            .map(|block| block.iter().map(|line| with_arguments(line, arguments)).collect()),
        at: line.at.clone(),
    }
}
