//! One thing that was said or happened, as rows.
//!
//! **Job.** Time, number, name, text with what hangs on it. **Called by** `screen`. **Calls** `wrap`.
//!
//! Not here: which entries are in sight (`screen`).

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::wrap::{cut, width, wrap};
use super::{bold, colour, dim};
use crate::client::{Entry, Message, Room};

/// How entries are to look.
pub(super) struct Look<'a> {
    /// Columns there are.
    pub(super) columns: usize,
    /// Whether messages' numbers are shown.
    pub(super) numbers: bool,
    /// Who sits here.
    pub(super) me: &'a str,
    /// Milliseconds since 1970 as a time of day.
    pub(super) time: &'a dyn Fn(u64) -> String,
}

impl Look<'_> {
    /// The rows of an entry.
    pub(super) fn lines(&self, room: &Room, offset: u64, entry: &Entry) -> Vec<Line<'static>> {
        match entry {
            Entry::Said(message) => self.message(room, offset, message),
            Entry::Removed => vec![Line::from(Span::styled("      (deleted)", dim()))],
            Entry::Happened(what) => self.plain("    — ", what, dim()),
            Entry::Word(text) => self.plain("    · ", text, Style::new().fg(Color::Cyan)),
        }
    }

    /// What waits to be sent.
    pub(super) fn draft(&self, text: &str) -> Vec<Line<'static>> {
        self.plain("    … ", text, dim().add_modifier(Modifier::ITALIC))
    }

    fn plain(&self, begin: &str, text: &str, style: Style) -> Vec<Line<'static>> {
        let indent = width(begin).min(self.columns / 3);
        let columns = self.columns.saturating_sub(indent);
        wrap(text, columns, columns)
            .into_iter()
            .enumerate()
            .map(|(at, row)| {
                let begin = if at == 0 { cut(begin, indent) } else { " ".repeat(indent) };
                Line::from(Span::styled(format!("{begin}{row}"), style))
            })
            .collect()
    }

    fn message(&self, room: &Room, offset: u64, message: &Message) -> Vec<Line<'static>> {
        let mut head = vec![Span::styled(format!("{} ", (self.time)(message.at_ms)), dim())];
        if self.numbers {
            head.push(Span::styled(format!("#{offset} "), dim()));
        }
        let mut name = Style::new().fg(colour(&message.by)).add_modifier(Modifier::BOLD);
        if message.to_me && message.by != self.me {
            name = name.add_modifier(Modifier::REVERSED);
        }
        if message.notice {
            name = name.add_modifier(Modifier::DIM);
        }
        if message.action {
            head.push(Span::styled("* ", name));
        }
        head.push(Span::styled(cut(&message.by, self.columns / 2), name));
        head.push(Span::raw(" "));
        let used: usize = head.iter().map(|span| width(&span.content)).sum();
        // Later rows stand under the text while there is room for it.
        let indent = if used <= self.columns / 3 { used } else { 2 };
        let text = if message.edited { format!("{} (edited)", message.text) } else { message.text.clone() };
        let mut style =
            if message.action { Style::new().add_modifier(Modifier::ITALIC) } else { Style::new() };
        if message.notice {
            style = style.add_modifier(Modifier::DIM);
        }
        let rest = self.columns.saturating_sub(indent);
        let mut lines = Vec::new();
        if let Some(of) = message.reply {
            let quoted = room.message(of).map_or_else(
                || format!("  > #{of}"),
                |quoted| format!("  > {}: {}", quoted.by, quoted.text.replace('\n', " ")),
            );
            lines.push(Line::from(Span::styled(cut(&quoted, self.columns), dim())));
        }
        let mut rows = wrap(&text, self.columns.saturating_sub(used), rest).into_iter();
        head.push(Span::styled(rows.next().unwrap_or_default(), style));
        lines.push(Line::from(head));
        lines.extend(rows.map(|row| Line::from(Span::styled(format!("{}{row}", " ".repeat(indent)), style))));
        for file in &message.files {
            let shown = format!("{}[{}] {}", " ".repeat(indent), file.name, file.url);
            lines.push(Line::from(Span::styled(cut(&shown, self.columns), Style::new().fg(Color::Blue))));
        }
        if !message.reactions.is_empty() {
            let signs: Vec<String> =
                message.reactions.iter().map(|(sign, whose)| format!("{sign} {}", whose.len())).collect();
            let shown = format!("{}{}", " ".repeat(indent), signs.join("  "));
            let mine = message.reactions.values().any(|whose| whose.contains(self.me));
            lines
                .push(Line::from(Span::styled(cut(&shown, self.columns), if mine { bold() } else { dim() })));
        }
        lines
    }
}
