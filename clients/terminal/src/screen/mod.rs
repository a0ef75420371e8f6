//! The chat as a screen.
//!
//! **Job.** Draw the model: rooms on the left, what is said, people on the right, the state of things and the line being typed
//! below. **Called by** `online`. **Calls** ratatui.
//!
//! Widths: under 60 columns only what is said; under 90 no people; else everything.
//!
//! Invariants
//! 1. Whatever the size, what is typed and where the cursor stands is seen, and nothing panics.
//! 2. Who has scrolled back stays there: what comes meanwhile does not move what is read.
//!
//! Not here: keys (`online::windows`), the model (`client`).

mod entry;
pub mod input;
pub(crate) mod wrap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::client::{Client, Phase, Room};
use input::Input;
use wrap::{cut, width};

/// Columns from which rooms are shown beside what is said.
const ROOMS_FROM: u16 = 60;
/// Columns from which people are, too, and messages' numbers.
const PEOPLE_FROM: u16 = 90;
/// Rows that what is typed takes at most.
const INPUT_ROWS_MAX: usize = 5;

/// What belongs to the screen alone.
#[derive(Debug, Default)]
pub struct View {
    /// The line being typed.
    pub input: Input,
    /// Rows scrolled back.
    pub scroll: usize,
    /// Rows that what is said had at the last drawing.
    pub page: usize,
    /// Everything that is held was in sight at the last drawing.
    pub at_top: bool,
    /// The conversation that was drawn, and the newest of it.
    drawn: Option<(String, u64)>,
}

impl View {
    /// Scrolls back by some rows.
    pub fn back(&mut self, rows: usize) {
        if !self.at_top {
            self.scroll += rows;
        }
    }

    /// Scrolls towards the newest.
    pub fn forth(&mut self, rows: usize) {
        self.scroll = self.scroll.saturating_sub(rows);
    }
}

/// Draws everything. `time` makes a time of day of milliseconds since 1970.
pub fn draw(frame: &mut Frame<'_>, client: &Client, view: &mut View, now: u64, time: &dyn Fn(u64) -> String) {
    let area = frame.area();
    if area.width < 4 || area.height < 3 {
        return;
    }
    let prompt = 2;
    let (rows, cursor) = view.input.rows(usize::from(area.width).saturating_sub(prompt));
    let fits = rows.len().min(INPUT_ROWS_MAX).min(usize::from(area.height) / 2).max(1);
    let input_rows = u16::try_from(fits).unwrap_or(1);
    let [middle, status, input] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(input_rows)])
            .areas(area);
    let rooms_columns = if area.width >= ROOMS_FROM { 20 } else { 0 };
    let people_columns = if area.width >= PEOPLE_FROM { 20 } else { 0 };
    let [rooms, said, people] = Layout::horizontal([
        Constraint::Length(rooms_columns),
        Constraint::Fill(1),
        Constraint::Length(people_columns),
    ])
    .areas(middle);
    if rooms_columns > 0 {
        draw_rooms(frame, client, rooms);
    }
    if people_columns > 0
        && let Some(room) = client.rooms.get(&client.front)
    {
        draw_people(frame, room, people);
    }
    draw_said(frame, client, view, said, time);
    draw_status(frame, client, view, status, now);
    // The row with the cursor is always among those shown.
    let from = (cursor.0 + 1).saturating_sub(fits);
    let typed: Vec<Line<'_>> = rows
        .iter()
        .enumerate()
        .skip(from)
        .take(fits)
        .map(|(at, row)| {
            Line::from(vec![Span::styled(if at == 0 { "> " } else { "  " }, dim()), Span::raw(row.as_str())])
        })
        .collect();
    frame.render_widget(Paragraph::new(typed), input);
    let column = u16::try_from(prompt + cursor.1).unwrap_or(u16::MAX);
    let row = u16::try_from(cursor.0 - from).unwrap_or(0);
    let x = input.x.saturating_add(column).min(area.right().saturating_sub(1));
    frame.set_cursor_position(Position::new(x, input.y.saturating_add(row)));
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// A colour for a name: the same everywhere, of those every terminal has and can show on light and dark.
fn colour(name: &str) -> Color {
    const COLOURS: [Color; 6] =
        [Color::Red, Color::Green, Color::Yellow, Color::Blue, Color::Magenta, Color::Cyan];
    let sum = name.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    COLOURS[sum % COLOURS.len()]
}

/// What is to the left of a line: everything but a column of space and the line.
fn inner(area: Rect) -> usize {
    usize::from(area.width).saturating_sub(2)
}

fn draw_rooms(frame: &mut Frame<'_>, client: &Client, area: Rect) {
    let columns = inner(area);
    let rows = usize::from(area.height);
    let at = client.rooms.keys().position(|name| *name == client.front).unwrap_or(0);
    let lines: Vec<Line<'_>> = client
        .rooms
        .iter()
        .skip((at + 1).saturating_sub(rows))
        .take(rows)
        .map(|(name, room)| {
            let count = match (room.unread, room.mentions) {
                (0, _) => String::new(),
                (100.., _) => " 99+".to_owned(),
                (unread, 0) => format!(" {unread}"),
                (unread, _) => format!(" {unread}!"),
            };
            let name = cut(name, columns.saturating_sub(width(&count)));
            let space = columns.saturating_sub(width(&name) + width(&count));
            let style = if *name == cut(&client.front, columns) {
                Style::new().add_modifier(Modifier::REVERSED)
            } else if room.unread > 0 {
                bold()
            } else {
                Style::new()
            };
            let shown = format!("{name}{}{count}", " ".repeat(space));
            Line::from(vec![Span::styled(shown, style), Span::styled(" │", dim())])
        })
        .chain(std::iter::repeat_n(
            Line::from(Span::styled(format!("{} │", " ".repeat(columns)), dim())),
            rows,
        ))
        .take(rows)
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_people(frame: &mut Frame<'_>, room: &Room, area: Rect) {
    let columns = inner(area);
    let rows = usize::from(area.height);
    let edge = || Span::styled("│ ", dim());
    let mut lines = vec![Line::from(vec![edge(), Span::styled(format!("{} here", room.count), dim())])];
    for (name, present) in room.people.iter().take(rows.saturating_sub(1)) {
        // As on IRC: who may keep order has a sign before the name.
        let sign = if matches!(present.role.as_str(), "owner" | "moderator") { "@" } else { "" };
        let style = if present.away.is_some() { dim() } else { Style::new().fg(colour(name)) };
        lines.push(Line::from(vec![edge(), Span::styled(cut(&format!("{sign}{name}"), columns), style)]));
    }
    while lines.len() < rows {
        lines.push(Line::from(edge()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_said(
    frame: &mut Frame<'_>,
    client: &Client,
    view: &mut View,
    area: Rect,
    time: &dyn Fn(u64) -> String,
) {
    let rows = usize::from(area.height);
    view.page = rows;
    let Some(room) = client.rooms.get(&client.front) else {
        let word =
            if client.phase == Phase::Here { "/join ROOM enters a room, /rooms lists them" } else { "" };
        frame.render_widget(Paragraph::new(Line::from(Span::styled(word, dim()))), area);
        return;
    };
    let look = entry::Look {
        columns: usize::from(area.width).saturating_sub(1).max(2),
        numbers: area.width >= PEOPLE_FROM - 40 && frame.area().width >= PEOPLE_FROM,
        me: &client.me,
        time,
    };
    let newest = room.entries().next_back().map_or(0, |(offset, _)| offset);
    if let Some((name, drawn)) = &view.drawn
        && *name == client.front
        && view.scroll > 0
    {
        let come: usize = room
            .entries()
            .rev()
            .take_while(|(offset, _)| offset > drawn)
            .map(|(offset, entry)| look.lines(room, offset, entry).len())
            .sum();
        view.scroll += come;
    } else if view.drawn.as_ref().is_some_and(|(name, _)| *name != client.front) {
        view.scroll = 0;
    }
    view.drawn = Some((client.front.clone(), newest));

    // From the newest upwards, no more than is in sight.
    let wanted = rows + view.scroll;
    let mut upwards: Vec<Line<'static>> = Vec::with_capacity(wanted);
    for draft in client.drafts(&client.front).rev() {
        upwards.extend(look.draft(&draft.text).into_iter().rev());
    }
    for (offset, entry) in room.entries().rev() {
        if upwards.len() >= wanted {
            break;
        }
        upwards.extend(look.lines(room, offset, entry).into_iter().rev());
    }
    view.at_top = upwards.len() <= wanted;
    view.scroll = view.scroll.min(upwards.len().saturating_sub(rows));
    let mut lines: Vec<Line<'static>> = upwards.into_iter().skip(view.scroll).take(rows).collect();
    lines.reverse();
    // What is said stands at the bottom, where the next thing will be.
    let empty = rows - lines.len();
    let mut all = vec![Line::default(); empty];
    all.extend(lines);
    frame.render_widget(Paragraph::new(all), area);
}

fn draw_status(frame: &mut Frame<'_>, client: &Client, view: &View, area: Rect, now: u64) {
    let room = client.rooms.get(&client.front);
    let waiting = client.outbox.len();
    let state = match client.phase {
        Phase::Here => client.me.clone(),
        Phase::Connecting | Phase::Greeting(_) => "connecting".to_owned(),
        Phase::Away(at) => format!("no connection, again in {} s", at.saturating_sub(now).div_ceil(1000)),
    };
    let state = if waiting > 0 && client.phase != Phase::Here {
        format!("{state}, {waiting} waiting")
    } else {
        state
    };
    let typing: Vec<&str> = room.map(|room| room.typing(now).take(3).collect()).unwrap_or_default();
    let elsewhere: u64 =
        client.rooms.iter().filter(|(name, _)| **name != client.front).map(|(_, room)| room.unread).sum();
    let mut parts = vec![client.front.clone()];
    if view.scroll > 0 {
        parts.push("scrolled back".to_owned());
    }
    if !typing.is_empty() {
        let verb = if typing.len() == 1 { "is" } else { "are" };
        parts.push(format!("{} {verb} typing", typing.join(", ")));
    }
    if elsewhere > 0 && area.width < ROOMS_FROM {
        parts.push(format!("{elsewhere} unread"));
    }
    if let Some(room) = room {
        if area.width < PEOPLE_FROM {
            parts.push(format!("{} here", room.count));
        }
        if !room.topic.is_empty() {
            parts.push(room.topic.replace('\n', " "));
        }
    }
    let columns = usize::from(area.width);
    let right = cut(&format!(" {state} "), columns);
    let left = cut(&format!(" {}", parts.join(" · ")), columns.saturating_sub(width(&right)));
    let space = columns.saturating_sub(width(&left) + width(&right));
    let style = Style::new().add_modifier(Modifier::REVERSED);
    let line = Line::from(Span::styled(format!("{left}{}{right}", " ".repeat(space)), style));
    frame.render_widget(Paragraph::new(line), area);
}
