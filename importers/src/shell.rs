//! Command lines as a shell reads them (POSIX 2.2, the part that package scripts and Procfiles use).
//!
//! **Job.** Tell a plain command from one that needs a shell, cut it into words, put words together again.
//! **Called by** the importers of commands. Pure.
//!
//! Invariants
//! 1. What is not surely plain words goes to a shell as it stands.
//!
//! Not here: systemd's quoting (`systemd`).

/// A command that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Command {
    /// Assignments in front of it.
    pub(crate) env: Vec<(String, String)>,
    /// What Madang runs.
    pub(crate) run: Vec<String>,
    /// A shell reads it.
    pub(crate) shell: bool,
}

/// Reads a command line.
pub(crate) fn command(text: &str) -> Command {
    let text = text.trim();
    let Some(mut words) = plain_words(text) else {
        return Command { env: Vec::new(), run: in_shell(text), shell: true };
    };
    let count = words.iter().take_while(|word| assignment(word).is_some()).count();
    let env = words.drain(..count).filter_map(|word| assignment(&word)).collect();
    Command { env, run: words, shell: false }
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let fine = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    fine.then(|| (name.to_owned(), value.to_owned()))
}

/// The words of a command that needs no shell; `None`: it needs one.
pub(crate) fn plain_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => into.push(c),
                    }
                }
            }
            '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '$' | '`' => return None,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => into.push(c),
                            '\n' => {}
                            c => into.extend(['\\', c]),
                        },
                        c => into.push(c),
                    }
                }
            }
            '\\' => match chars.next()? {
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            '\n' => return None,
            c if c.is_whitespace() => words.extend(word.take()),
            '$' | '`' | ';' | '|' | '&' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '!' | '{' | '}' => {
                return None;
            }
            '~' | '#' if word.is_none() => return None,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!words.is_empty()).then_some(words)
}

/// The same by way of a shell, which is gone once the program runs: signals reach the program itself.
pub(crate) fn in_shell(text: &str) -> Vec<String> {
    let single = !text.contains([';', '|', '&', '(', ')', '\n', '`']);
    let text = if single && !text.starts_with("exec ") {
        let mut rest = text.trim_start();
        while let Some((word, more)) = rest.split_once(char::is_whitespace) {
            let quoted = word.contains(['"', '\'', '$']);
            if assignment(word).is_none() || quoted {
                break;
            }
            rest = more.trim_start();
        }
        let front = &text[..text.len() - rest.len()];
        // An assignment with quotes is not told apart from the command: leave that to the shell.
        if assignment(rest.split_whitespace().next().unwrap_or_default()).is_some() {
            text.to_owned()
        } else {
            format!("{front}exec {rest}")
        }
    } else {
        text.to_owned()
    };
    vec!["sh".to_owned(), "-c".to_owned(), text]
}

/// Words as a shell reads them back; `$PORT` stays a variable.
pub(crate) fn joined(words: &[String]) -> String {
    let quote = |word: &String| {
        let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        let rest = word.replace("$PORT", "");
        if !word.is_empty() && rest.chars().all(bare) {
            return word.clone();
        }
        format!("'{}'", word.replace('\'', "'\\''"))
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_commands_need_no_shell_and_others_get_one() {
        check("node server.js", &[], &["node", "server.js"]);
        check("NODE_ENV=production node 'a b.js'", &[("NODE_ENV", "production")], &["node", "a b.js"]);
        check("node \"a \\\"b\\\".js\"", &[], &["node", "a \"b\".js"]);
        check("a\\ b c", &[], &["a b", "c"]);
        check("puma -p $PORT", &[], &["sh", "-c", "exec puma -p $PORT"]);
        check("A=1 puma -p ${PORT:-3000}", &[], &["sh", "-c", "A=1 exec puma -p ${PORT:-3000}"]);
        check("npm run build && node x", &[], &["sh", "-c", "npm run build && node x"]);
        check("node 'never closed", &[], &["sh", "-c", "exec node 'never closed"]);
        check("exec a $B", &[], &["sh", "-c", "exec a $B"]);

        #[track_caller]
        fn check(text: &str, env: &[(&str, &str)], run: &[&str]) {
            let command = command(text);
            let have: Vec<(&str, &str)> = command.env.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(have, env);
            assert_eq!(command.run, run);
        }
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_read_them() {
        let words = ["gunicorn", "--bind", "127.0.0.1:$PORT", "it's", "a b", ""].map(str::to_owned);
        assert_eq!(joined(&words), "gunicorn --bind 127.0.0.1:$PORT 'it'\\''s' 'a b' ''");
    }
}
