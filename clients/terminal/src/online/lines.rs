//! A chat as lines: for pipes, scripts and terminals that want no screen.
//!
//! **Job.** What is said goes to standard output, a line each (or a JSON object each); what is fed in is sent, and the end waits until all
//! of it is acknowledged. **Called by** `online`. **Calls** `console`.
//!
//! Not here: how messages are kept and sent again (`client`).

use std::io;

use madang_wire::clean::clean;
use serde_json::json;

use super::{Face, Wanted, Wish};
use crate::client::{Client, Phase, Tell};
use crate::console::{Input, Output};
use crate::protocol::{Event, What};

/// Messages that wait for the server before no more input is read.
const WAITING_MAX: usize = 32;

/// The face.
pub(super) struct Lines {
    input: Input,
    output: Output,
    json: bool,
    follow: bool,
    commands: bool,
    patience_ms: u64,
    /// The input has ended.
    ended: bool,
    /// A message of ours was refused for good.
    refused: bool,
    /// Without a connection since.
    lost_at: Option<u64>,
}

impl Lines {
    pub(super) fn start(wish: &Wish) -> io::Result<Self> {
        let input = Input::start()?;
        Ok(Self {
            commands: wish.commands || input.is_terminal,
            input,
            output: Output::start()?,
            json: wish.json,
            follow: wish.follow,
            patience_ms: u64::try_from(wish.patience.as_millis()).unwrap_or(u64::MAX),
            ended: false,
            refused: false,
            lost_at: Some(0),
        })
    }

    async fn line(&self, line: String) -> Wanted {
        // Nobody reads what is said any more (`| head`): that is an end, not a failure.
        if self.output.line(line).await.is_ok() { Wanted::Nothing } else { Wanted::End }
    }

    async fn notice(&self, text: String) -> Wanted {
        if self.output.notice(text).await.is_ok() { Wanted::Nothing } else { Wanted::End }
    }

    async fn object(&self, object: serde_json::Value) -> Wanted {
        self.line(object.to_string()).await
    }
}

/// An event as a line; `None`: it changes something that was shown before and cannot be changed on paper.
fn shown(event: &Event) -> Option<String> {
    let (room, by) = (&event.room, &event.by.name);
    let text = match &event.what {
        What::Message { text, action, notice, files, .. } => {
            let files: String = files.iter().map(|file| format!(" [{} {}]", file.name, file.url)).collect();
            match (action, notice) {
                (true, _) => format!("* {by} {text}{files}"),
                (false, true) => format!("-{by}- {text}{files}"),
                (false, false) => format!("{by}: {text}{files}"),
            }
        }
        What::Edited { of, text } if !text.is_empty() => format!("{by} (#{of} is now): {text}"),
        What::Deleted { of } => format!("{by} took #{of} back"),
        What::Reaction { of, emoji, add: true } => format!("{by} {emoji} (#{of})"),
        What::Topic { text } => format!("{by} changed the topic: {text}"),
        What::Kicked { who, .. } => format!("{by} showed {} the door", who.name),
        What::Banned { who, .. } => format!("{by} banned {}", who.name),
        _ => return None,
    };
    Some(text.split('\n').map(|line| format!("[{room}] {line}")).collect::<Vec<_>>().join("\n"))
}

impl Face for Lines {
    async fn tell(&mut self, tell: &Tell) -> Wanted {
        match tell {
            Tell::Earlier(_, raw) if self.json => self.object(raw.clone()).await,
            Tell::Event(event) | Tell::Earlier(event, _) if !self.json => match shown(event) {
                Some(line) => self.line(line).await,
                None => Wanted::Nothing,
            },
            Tell::Event(_) | Tell::Earlier(..) | Tell::Key(_) => Wanted::Nothing,
            Tell::Here(you) => {
                self.lost_at = None;
                if self.json {
                    return self
                        .object(json!({ "on": "connected", "you": { "id": you.id, "name": you.name } }))
                        .await;
                }
                self.notice(format!("you are {}", you.name)).await
            }
            Tell::Lost(why, again_ms) => {
                if self.json {
                    return self
                        .object(json!({ "on": "disconnected", "why": why, "again_ms": again_ms }))
                        .await;
                }
                let seconds = again_ms.div_ceil(1000);
                self.notice(format!("{why}; again in {seconds} s")).await
            }
            Tell::Word(text) => self.notice(text.clone()).await,
            Tell::Sent(nonce, kept) if self.json => {
                let sent = json!({
                    "on": "sent", "room": kept.room, "nonce": nonce, "epoch": kept.epoch, "offset": kept.offset,
                    "at_ms": kept.at_ms, "duplicate": kept.duplicate,
                });
                self.object(sent).await
            }
            Tell::Sent(..) => Wanted::Nothing,
            Tell::Refused(draft, refusal) => {
                self.refused = true;
                if self.json {
                    let error = json!({ "name": refusal.name, "text": refusal.text });
                    let told =
                        json!({ "on": "refused", "room": draft.room, "text": draft.text, "error": error });
                    return self.object(told).await;
                }
                self.notice(format!("not sent: {}: {}", refusal.text, draft.text)).await
            }
        }
    }

    async fn frame(&mut self, frame: &str) -> Wanted {
        // Answers are told in words of ours; what happens is told as the server says it.
        let is_answer =
            serde_json::from_str::<serde_json::Value>(frame).is_ok_and(|value| value.get("on").is_none());
        if !self.json || is_answer {
            return Wanted::Nothing;
        }
        let line = if self.output.is_terminal { clean(frame.as_bytes()) } else { frame.replace('\n', " ") };
        self.line(line).await
    }

    fn draw(&mut self, client: &Client, now: u64) {
        if client.phase == Phase::Here {
            self.lost_at = None;
        } else if self.lost_at.is_none() {
            self.lost_at = Some(now);
        }
    }

    async fn next(&mut self, client: &mut Client, now: &dyn Fn() -> u64) -> Wanted {
        if self.ended || client.outbox.len() >= WAITING_MAX {
            return std::future::pending().await;
        }
        let commands = self.commands;
        match self.input.line().await {
            None => self.ended = true,
            Some(line) => {
                // Bytes that are no text cannot be said in JSON.
                let text = String::from_utf8_lossy(line);
                if commands {
                    client.typed(&text, now());
                } else {
                    client.say(&text, now());
                }
                self.input.used();
            }
        }
        Wanted::Nothing
    }

    fn due(&self, _: &Client) -> Option<u64> {
        self.lost_at.map(|since| since.saturating_add(self.patience_ms))
    }

    fn is_over(&self, client: &Client, now: u64) -> Option<Wanted> {
        if self.ended && !self.follow && client.is_settled() {
            let failed = Wanted::Fail("a message was refused (see above)".to_owned());
            return Some(if self.refused { failed } else { Wanted::End });
        }
        let since = self.lost_at?;
        if now >= since.saturating_add(self.patience_ms) {
            let left = client.outbox.len();
            let waited = self.patience_ms / 1000;
            return Some(Wanted::Fail(format!(
                "no connection for {waited} s; {left} messages were not sent"
            )));
        }
        None
    }

    async fn finish(self) {
        self.output.finish().await;
    }
}
