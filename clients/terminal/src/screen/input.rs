//! The line being typed.
//!
//! **Job.** Insert, move, delete by what people see as one character; earlier lines; completion. **Called by** `online`, `screen`.
//!
//! A terminal's input method gives whole syllables: a half-typed one is never here, and nothing here can send it.
//!
//! Invariants
//! 1. The cursor stands between two characters as people see them (grapheme clusters).
//!
//! Not here: which key does what (`online::windows`), what a line means (`command`).

use std::collections::VecDeque;

use unicode_segmentation::UnicodeSegmentation;

use super::wrap::width;

/// Earlier lines that are kept.
const EARLIER_MAX: usize = 200;
/// Bytes of one line.
const LINE_BYTES_MAX: usize = 32 * 1024;

/// A line editor.
#[derive(Debug, Default)]
pub struct Input {
    text: String,
    /// In bytes.
    cursor: usize,
    earlier: VecDeque<String>,
    /// Which of the earlier lines is shown, from the newest; and what had been typed before.
    shown: Option<(usize, String)>,
}

impl Input {
    /// What is typed so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Inserts; line ends become blanks unless they were asked for, other control characters are left out.
    pub fn insert(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n").replace(['\r', '\t'], " ");
        let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
        if self.text.len() + text.len() <= LINE_BYTES_MAX {
            self.text.insert_str(self.cursor, &text);
            self.cursor += text.len();
            // A mark typed behind a letter becomes one with it.
            if !self.stops().contains(&self.cursor) {
                self.cursor =
                    self.stops().into_iter().find(|stop| *stop >= self.cursor).unwrap_or(self.text.len());
            }
        }
    }

    fn stops(&self) -> Vec<usize> {
        self.text.grapheme_indices(true).map(|(at, _)| at).chain([self.text.len()]).collect()
    }

    fn before(&self) -> usize {
        self.stops().into_iter().rev().find(|stop| *stop < self.cursor).unwrap_or(0)
    }

    fn behind(&self) -> usize {
        self.stops().into_iter().find(|stop| *stop > self.cursor).unwrap_or(self.text.len())
    }

    fn word_before(&self) -> usize {
        let head = self.text[..self.cursor].trim_end();
        head.rfind(char::is_whitespace)
            .map_or(0, |at| at + head[at..].chars().next().map_or(1, char::len_utf8))
    }

    /// One to the left.
    pub fn left(&mut self) {
        self.cursor = self.before();
    }

    /// One to the right.
    pub fn right(&mut self) {
        self.cursor = self.behind();
    }

    /// To the beginning.
    pub fn home(&mut self) {
        self.cursor = 0;
    }

    /// To the end.
    pub fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// A word to the left.
    pub fn word_left(&mut self) {
        self.cursor = self.word_before();
    }

    /// Takes away what is before the cursor.
    pub fn backspace(&mut self) {
        let before = self.before();
        self.text.replace_range(before..self.cursor, "");
        self.cursor = before;
    }

    /// Takes away what is behind it.
    pub fn delete(&mut self) {
        let behind = self.behind();
        self.text.replace_range(self.cursor..behind, "");
    }

    /// Takes away the word before it.
    pub fn delete_word(&mut self) {
        let before = self.word_before();
        self.text.replace_range(before..self.cursor, "");
        self.cursor = before;
    }

    /// Takes away everything before it.
    pub fn delete_to_start(&mut self) {
        self.text.replace_range(..self.cursor, "");
        self.cursor = 0;
    }

    /// Takes away everything behind it.
    pub fn delete_to_end(&mut self) {
        self.text.truncate(self.cursor);
    }

    /// Nothing is typed.
    pub fn clear(&mut self) {
        self.text.clear();
        self.cursor = 0;
        self.shown = None;
    }

    /// The line is done.
    pub fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.text);
        self.cursor = 0;
        self.shown = None;
        if !line.trim().is_empty() && self.earlier.back() != Some(&line) {
            if self.earlier.len() >= EARLIER_MAX {
                self.earlier.pop_front();
            }
            self.earlier.push_back(line.clone());
        }
        line
    }

    /// The line typed before the one shown.
    pub fn up(&mut self) {
        let next = self.shown.as_ref().map_or(0, |(at, _)| at + 1);
        let Some(line) = self.earlier.iter().rev().nth(next).cloned() else { return };
        let typed = self.shown.take().map_or_else(|| self.text.clone(), |(_, typed)| typed);
        self.shown = Some((next, typed));
        self.text = line;
        self.end();
    }

    /// The one after it.
    pub fn down(&mut self) {
        let Some((at, typed)) = self.shown.take() else { return };
        match at.checked_sub(1) {
            None => self.text = typed,
            Some(next) => {
                self.text = self.earlier.iter().rev().nth(next).cloned().unwrap_or_default();
                self.shown = Some((next, typed));
            }
        }
        self.end();
    }

    /// Completes the word before the cursor from these, in turn when several fit: to what they have in common.
    pub fn complete<'w>(&mut self, words: impl Iterator<Item = &'w str>) {
        let head = &self.text[..self.cursor];
        let from = head
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + head[at..].chars().next().map_or(1, char::len_utf8));
        let begun = head[from..].to_lowercase();
        if begun.is_empty() {
            return;
        }
        let fits: Vec<&str> = words.filter(|word| word.to_lowercase().starts_with(&begun)).collect();
        let Some(first) = fits.first() else { return };
        let mut common = (*first).to_owned();
        for word in &fits {
            while !word.to_lowercase().starts_with(&common.to_lowercase()) {
                common.pop();
            }
        }
        if fits.len() == 1 {
            common.push(' ');
        }
        if common.to_lowercase().len() >= begun.len() {
            self.text.replace_range(from..self.cursor, &common);
            self.cursor = from + common.len();
        }
    }

    /// Rows of so many columns, and where the cursor stands: row and column.
    pub fn rows(&self, columns: usize) -> (Vec<String>, (usize, usize)) {
        let columns = columns.max(2);
        let mut rows = vec![String::new()];
        let mut used = 0;
        let mut cursor = (0, 0);
        for (at, piece) in self.text.grapheme_indices(true) {
            let wide = width(piece);
            if piece != "\n" && used + wide > columns {
                rows.push(String::new());
                used = 0;
            }
            if at == self.cursor {
                cursor = (rows.len() - 1, used);
            }
            if piece == "\n" {
                rows.push(String::new());
                used = 0;
            } else if let Some(row) = rows.last_mut() {
                row.push_str(piece);
                used += wide;
            }
        }
        if self.cursor == self.text.len() {
            // Behind a full row there is only the next one.
            if used >= columns {
                rows.push(String::new());
                used = 0;
            }
            cursor = (rows.len() - 1, used);
        }
        (rows, cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        input.insert(text);
        input
    }

    // Goal: keys move and delete by what people see as one character, syllables and families included.
    #[test]
    fn the_cursor_moves_by_characters_as_people_see_them() {
        let mut input = typed("가e\u{301}👨‍👩‍👧");
        input.backspace();
        assert_eq!(input.text(), "가e\u{301}");
        input.left();
        input.left();
        input.insert("나");
        assert_eq!(input.text(), "나가e\u{301}");
        input.right();
        input.delete();
        assert_eq!(input.text(), "나가");
        input.insert("e");
        input.insert("\u{301}");
        input.backspace();
        assert_eq!(input.text(), "나가");
    }

    #[test]
    fn words_and_halves_are_deleted() {
        let mut input = typed("one two  three ");
        input.delete_word();
        assert_eq!(input.text(), "one two  ");
        input.word_left();
        input.delete_to_end();
        assert_eq!(input.text(), "one ");
        input.delete_to_start();
        assert_eq!(input.text(), "");
    }

    #[test]
    fn what_is_pasted_holds_no_control_characters() {
        assert_eq!(typed("a\x1b[2Jb\r\nc\td\u{9b}").text(), "a[2Jb\nc d");
        assert_eq!(typed(&"x".repeat(LINE_BYTES_MAX + 1)).text(), "");
    }

    #[test]
    fn earlier_lines_come_back_and_what_was_begun_is_not_lost() {
        let mut input = typed("one");
        input.take();
        input.insert("two");
        input.take();
        input.insert("begun");
        input.up();
        assert_eq!(input.text(), "two");
        input.up();
        input.up();
        assert_eq!(input.text(), "one");
        input.down();
        assert_eq!(input.text(), "two");
        input.down();
        assert_eq!(input.text(), "begun");
        input.down();
        assert_eq!(input.text(), "begun");
    }

    #[test]
    fn a_word_is_completed_as_far_as_it_is_clear() {
        check("/jo", &["/join", "/jump"], "/join ");
        check("hi mi", &["mina", "minho"], "hi min");
        check("MI", &["mina"], "mina ");
        check("미", &["미나"], "미나 ");
        check("x", &["mina"], "x");
        check("hi ", &["mina"], "hi ");

        #[track_caller]
        fn check(text: &str, words: &[&str], want: &str) {
            let mut input = typed(text);
            input.complete(words.iter().copied());
            assert_eq!(input.text(), want);
        }
    }

    #[test]
    fn rows_are_as_wide_as_what_is_in_them() {
        check("가나다", 4, &["가나", "다"], (1, 2));
        check("가나", 4, &["가나", ""], (1, 0));
        check("abc", 4, &["abc"], (0, 3));
        check("a\nb", 4, &["a", "b"], (1, 1));
        check("a가나", 4, &["a가", "나"], (1, 2));
        check("", 4, &[""], (0, 0));

        #[track_caller]
        fn check(text: &str, columns: usize, rows: &[&str], cursor: (usize, usize)) {
            let (got, at) = typed(text).rows(columns);
            assert_eq!((got.iter().map(String::as_str).collect::<Vec<_>>(), at), (rows.to_vec(), cursor));
        }
    }
}
