//! A chat as a screen with windows.
//!
//! **Job.** Take the terminal, turn keys into what they do, draw, give the terminal back. **Called by** `online`.
//! **Calls** crossterm, `screen`.
//!
//! Invariants
//! 1. However it ends - in order, by a panic, by a signal that can be caught - the terminal is as it was.
//! 2. It draws at most about 60 times a second, however much is said.
//!
//! Not here: what is drawn (`screen`), the model (`client`).

use std::io::{self, Stdout, stdout};

use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read,
};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, SetTitle, disable_raw_mode, enable_raw_mode,
};
use madang_host::{clock, thread};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::mpsc;

use super::{Face, Wanted};
use crate::client::{Client, Tell};
use crate::command::COMMANDS;
use crate::screen::{View, draw};

/// Milliseconds between two drawings.
const DRAW_EVERY_MS: u64 = 16;
/// Keys that wait.
const QUEUE_KEYS: usize = 256;

/// The terminal, taken; given back when this is dropped.
struct Taken;

impl Taken {
    fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        let taken = Self;
        execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, SetTitle("madang chat"))?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(stdout(), DisableBracketedPaste, LeaveAlternateScreen, crossterm::cursor::Show);
        let _ = disable_raw_mode();
    }
}

/// The face.
pub(super) struct Windows {
    keys: mpsc::Receiver<Event>,
    terminal: Terminal<CrosstermBackend<Stdout>>,
    view: View,
    drawn_at: Option<u64>,
    /// Something has changed since.
    stale: bool,
    _taken: Taken,
}

impl Windows {
    pub(super) fn start() -> io::Result<Self> {
        let taken = Taken::take()?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        let (send, keys) = mpsc::channel(QUEUE_KEYS);
        thread::start("keys", move || {
            while let Ok(event) = read() {
                if send.blocking_send(event).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { keys, terminal, view: View::default(), drawn_at: None, stale: true, _taken: taken })
    }

    fn pressed(&mut self, key: KeyEvent, client: &mut Client, now: u64) -> Wanted {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let input = &mut self.view.input;
        match key.code {
            KeyCode::Char('c') if control => return Wanted::End,
            KeyCode::Char('d') if control && input.text().is_empty() => return Wanted::End,
            KeyCode::Char('d') if control => input.delete(),
            KeyCode::Char('a') if control => input.home(),
            KeyCode::Char('e') if control => input.end(),
            KeyCode::Char('b') if control => input.left(),
            KeyCode::Char('f') if control => input.right(),
            KeyCode::Char('h') if control => input.backspace(),
            KeyCode::Char('k') if control => input.delete_to_end(),
            KeyCode::Char('u') if control => input.delete_to_start(),
            KeyCode::Char('w') if control => input.delete_word(),
            KeyCode::Char('n') if control => client.turn(true, now),
            KeyCode::Char('p') if control => client.turn(false, now),
            KeyCode::Char('l') if control => {
                // It cannot be drawn anew: then it is not drawn at all.
                let _ = self.terminal.clear();
            }
            KeyCode::Char(_) if control => {}
            KeyCode::Down if alt => client.turn(true, now),
            KeyCode::Up if alt => client.turn(false, now),
            KeyCode::Left if alt => input.word_left(),
            KeyCode::Char(digit @ '1'..='9') if alt => {
                let place = usize::try_from(u32::from(digit) - u32::from('1')).unwrap_or(0);
                if let Some(name) = client.rooms.keys().nth(place).cloned() {
                    client.to_front(&name, now);
                }
            }
            KeyCode::Enter if alt || key.modifiers.contains(KeyModifiers::SHIFT) => input.insert("\n"),
            KeyCode::Char('j') if alt => input.insert("\n"),
            KeyCode::Enter => {
                let line = input.take();
                self.view.scroll = 0;
                client.typed(&line, now);
            }
            KeyCode::Char(letter) if !alt => {
                input.insert(letter.encode_utf8(&mut [0; 4]));
                // A command is nobody's business until it is given.
                if !input.text().starts_with('/') {
                    client.typing(now);
                }
            }
            KeyCode::Backspace => input.backspace(),
            KeyCode::Delete => input.delete(),
            KeyCode::Left => input.left(),
            KeyCode::Right => input.right(),
            KeyCode::Home => input.home(),
            KeyCode::End => input.end(),
            KeyCode::Up => input.up(),
            KeyCode::Down => input.down(),
            KeyCode::Esc if self.view.scroll > 0 => self.view.scroll = 0,
            KeyCode::Esc => input.clear(),
            KeyCode::PageUp => {
                if self.view.at_top {
                    client.older();
                }
                self.view.back((self.view.page / 2).max(1));
            }
            KeyCode::PageDown => self.view.forth((self.view.page / 2).max(1)),
            KeyCode::Tab => {
                let commands: Vec<String> = COMMANDS.iter().map(|(name, _, _)| format!("/{name}")).collect();
                let people = client.rooms.get(&client.front).into_iter().flat_map(|room| room.people.keys());
                let mentions: Vec<String> = people.clone().map(|name| format!("@{name}")).collect();
                let words = commands.iter().chain(people).chain(&mentions).chain(client.rooms.keys());
                input.complete(words.map(String::as_str));
            }
            _ => {}
        }
        Wanted::Nothing
    }
}

impl Face for Windows {
    async fn tell(&mut self, tell: &Tell) -> Wanted {
        self.stale = true;
        if let Tell::Event(event) = tell
            && let crate::protocol::What::Message { .. } = event.what
            && event.room.starts_with('@')
        {
            // The terminal's bell, which people turn into whatever they like.
            let _ = execute!(stdout(), crossterm::style::Print('\x07'));
        }
        Wanted::Nothing
    }

    async fn frame(&mut self, _: &str) -> Wanted {
        self.stale = true;
        Wanted::Nothing
    }

    fn draw(&mut self, client: &Client, now: u64) {
        if !self.stale || self.drawn_at.is_some_and(|at| now < at + DRAW_EVERY_MS) {
            return;
        }
        let view = &mut self.view;
        // A terminal that cannot be written to is noticed where keys are read.
        let _ = self.terminal.draw(|frame| draw(frame, client, view, now, &time_of_day));
        self.drawn_at = Some(now);
        self.stale = false;
    }

    async fn next(&mut self, client: &mut Client, now: &dyn Fn() -> u64) -> Wanted {
        let Some(event) = self.keys.recv().await else { return Wanted::End };
        self.stale = true;
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.pressed(key, client, now()),
            Event::Paste(text) => {
                self.view.input.insert(text.trim_end_matches(['\r', '\n']));
                Wanted::Nothing
            }
            _ => Wanted::Nothing,
        }
    }

    fn due(&self, _: &Client) -> Option<u64> {
        match self.drawn_at {
            Some(at) if self.stale => Some(at + DRAW_EVERY_MS),
            // What depends on time alone: who is typing, when it is tried again.
            Some(at) => Some(at + 1000),
            None => None,
        }
    }

    fn is_over(&self, _: &Client, _: u64) -> Option<Wanted> {
        None
    }

    async fn finish(self) {}
}

/// `14:02`, by this machine's clock and zone.
fn time_of_day(at_ms: u64) -> String {
    clock::shown(at_ms / 1000).get(11..16).unwrap_or("     ").to_owned()
}
