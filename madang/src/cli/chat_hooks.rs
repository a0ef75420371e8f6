//! `madang chat hooks CHAT`: what other servers are told of a chat, and what they did not take.
//!
//! **Job.** Show hooks; have dead letters tried again or thrown away. **Called by** `cli`. **Calls** `orders`, `table`.
//!
//! Not here: what the server does (`chats::hooks`).

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::orders::{asked, done};
use super::table::{Column, Screen, printable, table};
use super::{Asked, Ended, screen};
use crate::control::encode;

/// Of which chat, and what to do.
#[derive(Args, Clone)]
#[command(group = clap::ArgGroup::new("order"))]
pub(super) struct HooksArgs {
    /// The chat's name
    chat: String,
    /// A hook's dead letters wait again, and it is switched on if it was off
    #[arg(long, value_name = "HOOK", group = "order")]
    retry: Option<String>,
    /// A hook's dead letters are thrown away
    #[arg(long, value_name = "HOOK", group = "order")]
    drop: Option<String>,
    #[command(flatten)]
    asked: Asked,
}

pub(super) fn hooks(args: &HooksArgs) -> Ended {
    let chat = encode(&args.chat);
    let order = |word: &str, hook: &str, told: &str| {
        let path = format!("/api/v1/chat/hooks/{word}?chat={chat}&hook={}", encode(hook));
        match asked(&args.asked, "POST", &path) {
            Ok(value) if args.asked.output.json => {
                say!("{value}");
                Ended::Done
            }
            Ok(_) => {
                say!("{hook}: {told}");
                Ended::Done
            }
            Err(ended) => ended,
        }
    };
    match (&args.retry, &args.drop) {
        (Some(hook), _) => order("retry", hook, "its dead letters wait again"),
        (_, Some(hook)) => order("drop", hook, "its dead letters are thrown away"),
        _ => done(&args.asked, "GET", &format!("/api/v1/chat/hooks?chat={chat}"), |value| {
            super::put(&show(value, &args.chat, screen()));
        }),
    }
}

fn show(value: &Value, chat: &str, screen: Screen) -> String {
    let all = value.as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return format!("{chat} has no hooks; docs/chat-hooks.md shows how to write one\n");
    }
    let text = |value: &Value| printable(value.as_str().unwrap_or(""));
    let number = |hook: &Value, key: &str| hook[key].as_u64().unwrap_or(0).to_string();
    let rows = all.iter().map(|hook| {
        let last = &hook["last"];
        let state = match (&hook["off"], hook["elsewhere"] == true, last["taken"] == false) {
            (Value::String(why), ..) => format!("off: {}", printable(why)),
            (_, true, _) => "sent by another machine".to_owned(),
            (_, _, true) => format!("failing: {}", text(&last["text"])),
            _ if last.is_object() => text(&last["text"]),
            _ => "nothing sent yet".to_owned(),
        };
        vec![
            text(&hook["hook"]),
            text(&hook["to"]),
            number(hook, "waiting"),
            number(hook, "delivered"),
            number(hook, "dead"),
            state,
        ]
    });
    let columns = [
        Column::Text("HOOK"),
        Column::Text("TO"),
        Column::Number("WAITING"),
        Column::Number("DELIVERED"),
        Column::Number("DEAD"),
        Column::Text("STATE"),
    ];
    let mut out = table(&columns, &rows.collect::<Vec<_>>(), screen);
    for hook in all {
        let dead = hook["dead_letters"].as_array().map_or(&[][..], Vec::as_slice);
        if dead.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\ndead letters of {}, the newest first:", text(&hook["hook"]));
        for letter in dead {
            let at = letter["dead_ms"].as_u64().unwrap_or(0) / 1000;
            let _ = writeln!(
                out,
                "  {}  {} in {}: {}",
                madang_host::clock::shown(at),
                text(&letter["kind"]),
                text(&letter["room"]),
                text(&letter["why"])
            );
        }
    }
    out
}
