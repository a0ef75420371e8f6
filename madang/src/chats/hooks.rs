//! Hooks of chats, from the control side: their offices, and the orders of `madang chat hooks`.
//!
//! **Job.** Give every chat with hooks an office, show hooks, hand orders on. **Called by** `house`, `run`. **Calls**
//! `madang_chat::hooks`.
//!
//! Not here: sending (`madang_chat::hooks`), how they are shown (`cli::chat_hooks`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use madang_chat::hooks::Order;
use madang_chat::hooks::office::{Office, OfficeParts, Tell};
use madang_host::config::Level;
use madang_host::telemetry::metrics::Gauge;
use serde_json::json;

use super::Chats;
use crate::control::{Answer, parameter};
use crate::telemetry::Telemetry;

const JSON: &str = "application/json";

impl Chats {
    /// Has the hooks of all chats worked on, as the settings in force say.
    pub fn open_offices(
        &mut self,
        telemetry: &Arc<Telemetry>,
        name_servers: &[SocketAddr],
    ) -> io::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        for running in &mut self.running {
            let hooks = &running.settings.hooks;
            match &mut running.office {
                Some(office) => office.renew(hooks, name_servers),
                None if hooks.is_empty() => {}
                None => {
                    let telemetry = Arc::clone(telemetry);
                    let tell: Tell = Arc::new(move |bad, sentence| {
                        let level = if bad { Level::Warn } else { Level::Info };
                        telemetry.log.always(level, "chat", sentence);
                    });
                    let parts = OfficeParts {
                        chat: Arc::clone(&running.settings.name),
                        store: store.clone(),
                        shared: self.bus.is_some(),
                        board: Arc::clone(&running.board),
                        tell,
                    };
                    running.office = Some(Office::open(parts, hooks, name_servers)?);
                }
            }
        }
        Ok(())
    }

    /// The hooks of a chat, as JSON; the query names it.
    pub async fn hooks(&self, query: &str) -> Answer {
        let office = match self.office(query) {
            Ok(office) => office,
            Err(answer) => return answer,
        };
        let Some(office) = office else { return (200, JSON, "[]".to_owned()) };
        match office.views().await {
            Ok(views) => (200, JSON, serde_json::to_string(&views).unwrap_or_default()),
            Err(error) => refuse(503, &format!("the store cannot say: {error}")),
        }
    }

    /// Does something to a hook; the query names chat and hook.
    pub async fn hook_order(&self, order: Order, query: &str) -> Answer {
        let office = match self.office(query) {
            Ok(office) => office,
            Err(answer) => return answer,
        };
        let Some(name) = parameter(query, "hook") else {
            return refuse(400, "the query needs hook=NAME");
        };
        let Some(done) = office.and_then(|office| office.order(&name, order)) else {
            let known = self.hook_names(query);
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            return refuse(404, &format!("there is no hook {name:?}; hooks of this chat: {known}"));
        };
        match done.await {
            Ok(()) => (200, JSON, "{\"ok\":true}".to_owned()),
            Err(error) => refuse(503, &format!("the store did not take it: {error}")),
        }
    }

    fn hook_names(&self, query: &str) -> Vec<String> {
        let chat = parameter(query, "chat").unwrap_or_default();
        let of_it = self.running.iter().filter(|running| *running.settings.name == *chat);
        of_it.flat_map(|running| &running.settings.hooks).map(|hook| hook.name.to_string()).collect()
    }

    /// The office of the chat that the query names; `None`: it has no hooks.
    fn office(&self, query: &str) -> Result<Option<&Office>, Answer> {
        let Some(name) = parameter(query, "chat") else {
            return Err(refuse(400, "the query needs chat=NAME"));
        };
        match self.running.iter().find(|running| *running.settings.name == *name) {
            Some(running) => Ok(running.office.as_ref()),
            None => {
                let known: Vec<&str> = self.running.iter().map(|running| &*running.settings.name).collect();
                let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
                Err(refuse(404, &format!("there is no chat {name:?}; chats here: {known}")))
            }
        }
    }

    /// What is counted of hooks, for `/metrics`.
    #[allow(clippy::cast_precision_loss)] // Prometheus numbers are floats
    pub(super) fn hook_families(&self) -> Vec<Gauge> {
        let mut values = Vec::new();
        for running in &self.running {
            for hook in running.office.iter().flat_map(Office::tallies) {
                let counts = [("delivered", hook.delivered), ("failed", hook.failed), ("dead", hook.dead)];
                for (result, count) in counts {
                    let labels = vec![
                        ("chat", running.settings.name.to_string()),
                        ("hook", hook.name.to_string()),
                        ("result", result.to_owned()),
                    ];
                    values.push((labels, count as f64));
                }
            }
        }
        if values.is_empty() {
            return Vec::new();
        }
        let help = "Letters to hooks: delivered, given up as dead, and attempts that failed.";
        vec![Gauge { name: "madang_chat_hook_letters_total", help, values }]
    }
}

fn refuse(status: u16, message: &str) -> Answer {
    (status, JSON, json!({ "ok": false, "message": message }).to_string())
}
