//! What only the settings as a whole can tell of chats.
//!
//! **Job.** Every route leads to a chat that is there, by paths that have a folder of their own; every address is free.
//! **Called by** `super`. **Calls** nothing of ours.
//!
//! Not here: one chat by itself (`madang_chat::config`).

use std::sync::Arc;

use madang_balance::config::StreamSettings;
use madang_chat::config::ChatSettings;
use madang_host::net::listen::Address;
use madang_settings::reader::Reader;
use madang_web::config::{Action, Site};

use super::overlap;

/// Checks all chats.
pub(super) fn check(
    root: &mut Reader<'_>,
    chats: &[Arc<ChatSettings>],
    sites: &[Arc<Site>],
    streams: &[Arc<StreamSettings>],
) {
    let of_sites = sites.iter().map(|site| (&site.listen, format!("site.{}", site.name)));
    let of_streams = streams.iter().map(|stream| (&stream.listen, format!("stream.{}", stream.name)));
    let mut taken: Vec<(&Address, String)> = Vec::new();
    for (listen, whose) in of_sites.chain(of_streams) {
        taken.extend(listen.iter().map(|listen| (&listen.address, whose.clone())));
    }
    for chat in chats {
        for one in &chat.listen {
            let address = &one.listen.address;
            if let Some((_, whose)) = taken.iter().find(|(have, _)| overlap(have, address)) {
                let mark = root.mark_below(&["chat", &chat.name, "listen"]);
                let key = format!("chat.{}.listen", chat.name);
                root.report.error(mark, &key, format!("{address} is taken by {whose}"), None);
            }
            taken.push((address, format!("chat.{}", chat.name)));
        }
    }
    for site in sites {
        for (place, route) in site.routes.iter().enumerate() {
            let Action::Chat { chat } = &route.action else { continue };
            if chats.iter().any(|have| *have.name == **chat) {
                continue;
            }
            let mark = root.mark_below(&["site", &site.name, "route"]);
            let key = format!("site.{}.route[{place}].chat", site.name);
            let help = if chats.is_empty() {
                format!("a chat with every default is one line:\n    [chat.{chat}]")
            } else {
                let known: Vec<&str> = chats.iter().map(|chat| &*chat.name).collect();
                format!("known here: {}", known.join(", "))
            };
            root.report.error(mark, &key, format!("there is no chat {chat:?}"), Some(help));
        }
    }
    for chat in chats {
        let led = sites
            .iter()
            .flat_map(|site| &site.routes)
            .any(|route| matches!(&route.action, Action::Chat { chat: name } if **name == *chat.name));
        if !led && chat.listen.is_empty() {
            let mark = root.mark_below(&["chat", &chat.name]);
            let help =
                format!("a route of a site: {{ path = \"/chat/*\", chat = {:?} }}, or `listen`", &*chat.name);
            let message = "nothing leads to this chat: nobody can come in";
            root.report.warn(mark, &format!("chat.{}", chat.name), message, Some(help));
        }
    }
}
