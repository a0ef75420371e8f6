//! Tables for people.
//!
//! **Job.** Rows as aligned columns, or, where the terminal is too narrow for them, as one block for each row. Pure.
//! **Called by** `show`, `doctor`. **Reads** nothing but its arguments; how wide the terminal is comes from `cli`.
//!
//! Invariants
//! 1. Columns are aligned for Hangul, Han and Kana too, which take two cells each.
//! 2. A column in which no row has anything is left out.
//! 3. Without colours the text has no byte that a terminal would act on, beyond line ends.
//!
//! Not here: what is shown (`show`).

use std::fmt::Write as _;

/// What stands in a cell that has nothing.
pub(super) const NOTHING: &str = "-";

/// Where the text goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Screen {
    /// Whether it takes colours.
    pub(super) colour: bool,
    /// Cells in a line; `None`: no terminal, lines may have any length.
    pub(super) width: Option<usize>,
}

impl Screen {
    /// `text` in a colour (SGR code), where there are colours.
    pub(super) fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A column: its title, and whether it holds numbers, which stand at the right.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Text(&'static str),
    Number(&'static str),
    /// How something is, in a colour: well, changing, or not.
    State(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Text(title) | Self::Number(title) | Self::State(title) => title,
        }
    }
}

/// The rows under their titles.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>], screen: Screen) -> String {
    let cell = |row: &'_ [String], at: usize| row.get(at).map_or(String::new(), |cell| printable(cell));
    let used: Vec<(usize, Column)> = columns
        .iter()
        .copied()
        .enumerate()
        .filter(|(at, _)| rows.iter().any(|row| !matches!(cell(row, *at).as_str(), "" | NOTHING)))
        .collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| used.iter().map(|(at, _)| cell(row, *at)).collect()).collect();
    let columns: Vec<Column> = used.into_iter().map(|(_, column)| column).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| rows.iter().map(|row| cells(&row[at])).chain([cells(column.title())]).max())
        .map(|widest| widest.unwrap_or(0))
        .collect();
    let whole = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    if screen.width.is_some_and(|width| whole > width) {
        return blocks(&columns, &rows, screen);
    }
    let mut out = String::new();
    let titles: Vec<String> = columns.iter().map(|column| column.title().to_owned()).collect();
    out.push_str(&screen.paint("2", &line(&columns, &widths, &titles, Screen::default())));
    out.push('\n');
    for row in &rows {
        out.push_str(&line(&columns, &widths, row, screen));
        out.push('\n');
    }
    out
}

fn line(columns: &[Column], widths: &[usize], row: &[String], screen: Screen) -> String {
    let mut text = String::new();
    for ((column, width), cell) in columns.iter().zip(widths).zip(row) {
        let space = " ".repeat(width.saturating_sub(cells(cell)));
        // Writing to a string cannot fail, here and below.
        let _ = match column {
            Column::Text(_) => write!(text, "{cell}{space}  "),
            Column::Number(_) => write!(text, "{space}{cell}  "),
            Column::State(_) => write!(text, "{}{space}  ", state(cell, screen)),
        };
    }
    text.trim_end().to_owned()
}

/// A state in its colour. Here and not before: what comes as a cell has nothing that a terminal acts on.
fn state(text: &str, screen: Screen) -> String {
    let colour = match text {
        "up" => "32",
        "draining" | "disabled" | "probing" => "33",
        _ => "31",
    };
    screen.paint(colour, text)
}

/// Each row on lines of its own, under its first cell.
fn blocks(columns: &[Column], rows: &[Vec<String>], screen: Screen) -> String {
    let widest = columns.iter().skip(1).map(|column| column.title().len()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        let _ = writeln!(out, "{}", screen.paint("1", row.first().map_or("", String::as_str)));
        for (column, cell) in columns.iter().zip(row).skip(1) {
            let title = screen.paint("2", &format!("{:<widest$}", column.title()));
            let cell = if matches!(column, Column::State(_)) { state(cell, screen) } else { cell.clone() };
            let _ = writeln!(out, "  {title}  {cell}");
        }
    }
    out
}

/// A control character could move the cursor or change colours: names come from outside.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// How many cells of a terminal a text takes.
pub(super) fn cells(text: &str) -> usize {
    let cells = |c: char| match c {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ff60}' => 2,
        _ => 1,
    };
    text.chars().map(cells).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [Column::Text("NAME"), Column::Number("COUNT"), Column::Text("USER"), Column::Text("STATE")];

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        vec![row(["main", "7", "-", "idle"]), row(["한옥", "12345", "-", "\x1b[2Jgone"])]
    }

    // Goal: columns are aligned for words, numbers and wide characters; empty columns are left out; nothing acts on the terminal.
    // Method: the same rows on paper, on a wide screen and on a narrow one.
    #[test]
    fn rows_are_aligned_and_narrow_screens_get_blocks() {
        let lines = "NAME  COUNT  STATE\nmain      7  idle\n한옥  12345  \u{fffd}[2Jgone\n";
        check(None, lines);
        check(Some(80), lines);
        check(Some(20), "main\n  COUNT  7\n  STATE  idle\n한옥\n  COUNT  12345\n  STATE  \u{fffd}[2Jgone\n");

        #[track_caller]
        fn check(width: Option<usize>, want: &str) {
            assert_eq!(table(&COLUMNS, &rows(), Screen { colour: false, width }), want);
        }
    }

    // Goal: a state has its colour, and only what is ours has one. Method: a state and a name that tries.
    #[test]
    fn states_have_their_colours() {
        check(true, None, "\u{fffd}[31ma  \x1b[32mup\x1b[0m");
        check(true, None, "b       \x1b[31mdown\x1b[0m");
        check(true, Some(8), "STATE\x1b[0m  \x1b[31mdown\x1b[0m");
        check(false, None, "b       down");

        #[track_caller]
        fn check(colour: bool, width: Option<usize>, want: &str) {
            let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
            let rows = [row(["\x1b[31ma", "up"]), row(["b", "down"])];
            let columns = [Column::Text("SERVER"), Column::State("STATE")];
            let text = table(&columns, &rows, Screen { colour, width });
            assert!(text.contains(want), "{text:?}");
        }
    }

    // Goal: colours come only where they are wanted.
    #[test]
    fn colours_come_only_where_wanted() {
        for (colour, codes) in [(true, 2), (false, 0)] {
            let text = table(&COLUMNS, &rows(), Screen { colour, width: None });
            assert_eq!(text.matches('\x1b').count(), codes, "{text:?}");
        }
    }

    // Goal: titles without rows make no noise.
    #[test]
    fn no_rows_no_columns() {
        assert_eq!(table(&COLUMNS, &[], Screen::default()), "\n");
    }
}
