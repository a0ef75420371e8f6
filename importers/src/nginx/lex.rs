//! nginx's files: directives with their blocks.
//!
//! **Job.** Cut text into words by nginx's quoting, put included files in their place. **Called by** `nginx`.
//! **Calls** files through `Folder`.
//!
//! Invariants
//! 1. Blocks nest at most [`DEPTH_MAX`] deep, at most [`FILES_MAX`] files with [`DIRECTIVES_MAX`] directives are read.
//! 2. An include that leads back to a file being read is refused, with the place that names it.
//!
//! Not here: what directives mean (`server`, `location`).

use crate::draft::{Lost, Place};
use crate::folder::Folder;

/// How deep blocks nest.
const DEPTH_MAX: usize = 32;
/// How many files are read.
const FILES_MAX: usize = 128;
/// How many directives.
const DIRECTIVES_MAX: usize = 20_000;
/// The longest list of words of one directive.
const WORDS_MAX: usize = 4096;

/// One directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) words: Vec<String>,
    /// `None`: it ends with a semicolon.
    pub(super) block: Option<Vec<Directive>>,
    pub(super) at: Place,
}

impl Directive {
    /// A word, or nothing.
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }
    /// What is inside.
    pub(super) fn inside(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// A whole file with all it includes; what could not be included is in `lost`.
pub(super) struct Read {
    pub(super) directives: Vec<Directive>,
    pub(super) lost: Vec<Lost>,
}

/// Reads a file.
///
/// # Errors
/// A sentence with file and line: braces or quotes that do not match, or a bound that was reached.
pub(super) fn read(folder: &dyn Folder, file: &str, text: &str) -> Result<Read, String> {
    let mut reader = Reader {
        folder,
        files: vec![file.to_owned()],
        count: 0,
        read: 1,
        lost: Vec::new(),
        main: file.to_owned(),
    };
    let directives = reader.file(file, text, 0)?;
    Ok(Read { directives, lost: reader.lost })
}

struct Reader<'f> {
    folder: &'f dyn Folder,
    /// The files being read, the outermost first.
    files: Vec<String>,
    main: String,
    count: usize,
    read: usize,
    lost: Vec<Lost>,
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    file: &'t str,
}

impl Lexer<'_> {
    fn bump(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        self.line += u32::from(c == '\n');
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// The next token and its line; `None`: the end.
    fn token(&mut self) -> Result<Option<(Token, u32)>, String> {
        loop {
            match self.peek() {
                None => return Ok(None),
                Some('#') => while self.bump().is_some_and(|c| c != '\n') {},
                Some(c) if c.is_whitespace() => {
                    self.bump();
                }
                Some(_) => break,
            }
        }
        let line = self.line;
        let token = match self.peek() {
            Some(';') => Token::End,
            Some('{') => Token::Open,
            Some('}') => Token::Close,
            Some(quote @ ('"' | '\'')) => return self.quoted(quote, line),
            _ => return Ok(Some((Token::Word(self.bare()), line))),
        };
        self.bump();
        Ok(Some((token, line)))
    }

    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            match c {
                // `${name}` belongs to the word.
                '$' if self.text[self.at..].starts_with("${") => {
                    word.push('$');
                    self.bump();
                    self.bump();
                    while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && *c != ';') {
                        self.bump();
                        if c == '}' {
                            break;
                        }
                        word.push(c);
                    }
                }
                '\\' => {
                    word.push(c);
                    self.bump();
                    word.extend(self.bump());
                }
                ';' | '{' => break,
                c if c.is_whitespace() => break,
                c => {
                    word.push(c);
                    self.bump();
                }
            }
        }
        word
    }

    fn quoted(&mut self, quote: char, line: u32) -> Result<Option<(Token, u32)>, String> {
        self.bump();
        let mut word = String::new();
        while let Some(c) = self.bump() {
            match c {
                '\\' => match self.bump() {
                    Some(c) if c == quote || c == '\\' => word.push(c),
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    other => {
                        word.push('\\');
                        word.extend(other);
                    }
                },
                c if c == quote => return Ok(Some((Token::Word(word), line))),
                c => word.push(c),
            }
        }
        Err(format!("{}:{line}: a {quote} that is never closed", self.file))
    }

    /// What a block in another language holds: passed over by its braces.
    fn foreign_block(&mut self, line: u32) -> Result<(), String> {
        let mut depth = 1_usize;
        while let Some(c) = self.bump() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(format!("{}:{line}: this {{ is never closed", self.file))
    }
}

impl Reader<'_> {
    fn file(&mut self, file: &str, text: &str, depth: usize) -> Result<Vec<Directive>, String> {
        let mut lexer = Lexer { text, at: 0, line: 1, file };
        self.block(&mut lexer, depth, None)
    }

    fn block(
        &mut self,
        lexer: &mut Lexer<'_>,
        depth: usize,
        open: Option<u32>,
    ) -> Result<Vec<Directive>, String> {
        let file = lexer.file.to_owned();
        if depth > DEPTH_MAX {
            return Err(format!("{file}:{}: blocks nest deeper than {DEPTH_MAX}", lexer.line));
        }
        let mut directives = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut begun = 0;
        while let Some((token, line)) = lexer.token()? {
            let block = match token {
                Token::Word(word) => {
                    if words.is_empty() {
                        begun = line;
                    }
                    if words.len() >= WORDS_MAX {
                        return Err(format!("{file}:{begun}: more than {WORDS_MAX} words in one directive"));
                    }
                    words.push(word);
                    continue;
                }
                Token::Close if words.is_empty() => {
                    return match open {
                        Some(_) => Ok(directives),
                        None => Err(format!("{file}:{line}: a }} that closes nothing")),
                    };
                }
                Token::Close => return Err(format!("{file}:{line}: a ; is missing before this }}")),
                Token::End if words.is_empty() => continue,
                Token::Open if words.is_empty() => return Err(format!("{file}:{line}: a {{ without a name")),
                Token::End => None,
                Token::Open if words[0].ends_with("_by_lua_block") || words[0] == "js_block" => {
                    lexer.foreign_block(line)?;
                    Some(Vec::new())
                }
                Token::Open => Some(self.block(lexer, depth + 1, Some(line))?),
            };
            self.count += 1;
            if self.count > DIRECTIVES_MAX {
                return Err(format!("{file}:{line}: more than {DIRECTIVES_MAX} directives"));
            }
            let at = Place::new(&file, begun);
            let mut taken = std::mem::take(&mut words).into_iter();
            let name = taken.next().unwrap_or_default();
            let directive = Directive { name, words: taken.collect(), block, at };
            if directive.name == "include" && directive.block.is_none() {
                self.include(&directive, depth, &mut directives)?;
            } else {
                directives.push(directive);
            }
        }
        if !words.is_empty() {
            return Err(format!("{file}:{begun}: {:?} has no ; and no block", words[0]));
        }
        match open {
            Some(line) => Err(format!("{file}:{line}: this {{ is never closed")),
            None => Ok(directives),
        }
    }

    fn include(
        &mut self,
        directive: &Directive,
        depth: usize,
        into: &mut Vec<Directive>,
    ) -> Result<(), String> {
        let pattern = directive.word(0);
        // Madang has its own table of media types; those of FastCGI concern nothing here.
        if ["mime.types", "fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params"]
            .iter()
            .any(|known| pattern.ends_with(known))
        {
            return Ok(());
        }
        let files = self.matching(pattern);
        if files.is_empty() && pattern.ends_with("proxy_params") {
            // As Debian has it.
            for (name, value) in [
                ("Host", "$http_host"),
                ("X-Real-IP", "$remote_addr"),
                ("X-Forwarded-For", "$proxy_add_x_forwarded_for"),
                ("X-Forwarded-Proto", "$scheme"),
            ] {
                let words = vec![name.to_owned(), value.to_owned()];
                into.push(Directive {
                    name: "proxy_set_header".to_owned(),
                    words,
                    block: None,
                    at: directive.at.clone(),
                });
            }
            return Ok(());
        }
        if files.is_empty() && !pattern.contains('*') {
            self.lost.push(Lost {
                at: directive.at.clone(),
                what: format!("include {pattern}"),
                instead: "there is no such file here; what it says is not in these settings".to_owned(),
            });
        }
        for file in files {
            if self.files.contains(&file) {
                return Err(format!(
                    "{}: {file} includes itself, by way of {}",
                    directive.at,
                    self.files.join(", ")
                ));
            }
            self.read += 1;
            if self.read > FILES_MAX {
                return Err(format!("{}: more than {FILES_MAX} files are included", directive.at));
            }
            let text = self
                .folder
                .read(&file)
                .map_err(|why| format!("{}: cannot include {file}: {why}", directive.at))?;
            self.files.push(file.clone());
            into.extend(self.file(&file, &text, depth)?);
            self.files.pop();
        }
        Ok(())
    }

    /// Files of a pattern: as nginx sees them from its own folder, which is this file's or one above it.
    fn matching(&self, pattern: &str) -> Vec<String> {
        let own = self.main.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let bases = if pattern.starts_with('/') {
            vec![String::new()]
        } else {
            vec![own.clone(), format!("{own}../")]
        };
        for base in bases {
            let whole = format!("{base}{pattern}");
            let (folder, last) = whole.rsplit_once('/').unwrap_or((".", &whole));
            let Some((before, behind)) = last.split_once('*') else {
                if self.folder.has(&whole) {
                    return vec![whole];
                }
                continue;
            };
            let inside = if folder == "." { String::new() } else { format!("{folder}/") };
            let names = self.folder.names(folder).into_iter().filter(|name| {
                name.len() >= before.len() + behind.len()
                    && name.starts_with(before)
                    && name.ends_with(behind)
                    && !name.starts_with('.')
            });
            let files: Vec<String> =
                names.map(|name| format!("{inside}{name}")).filter(|path| self.folder.has(path)).collect();
            if !files.is_empty() {
                return files;
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Memory;

    #[test]
    fn words_are_cut_as_nginx_cuts_them() {
        let text = "a b 'c d' \"e\\\"f\" ${g}h; # no\nlocation ~ \\.(x|y)$ { return 200 '{}'; }\ncontent_by_lua_block { if a then { } end }";
        let read = read(&Memory::default(), "f", text).unwrap();
        let words = ["b", "c d", "e\"f", "$gh"].map(str::to_owned).to_vec();
        assert_eq!((read.directives[0].name.as_str(), &read.directives[0].words), ("a", &words));
        assert_eq!(read.directives[1].words, ["~", "\\.(x|y)$"].map(str::to_owned));
        assert_eq!(read.directives[1].inside()[0].words, ["200", "{}"].map(str::to_owned));
        assert_eq!((read.directives.len(), read.directives[2].at.line), (3, 3));
    }

    #[test]
    fn what_breaks_off_is_told_with_its_line() {
        check("a {\nb;\n", "f:1: this { is never closed");
        check("a;\n}", "f:2: a } that closes nothing");
        check("a\n{ b }", "f:2: a ; is missing before this }");
        check("a 'b\n\n", "f:1: a ' that is never closed");
        check("\na b", "f:2: \"a\" has no ; and no block");
        check("{ }", "f:1: a { without a name");
        check(&"a { ".repeat(40), "f:1: blocks nest deeper than 32");

        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(read(&Memory::default(), "f", text).err().as_deref(), Some(want));
        }
    }
}
