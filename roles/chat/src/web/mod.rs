//! The chat as browsers and programs reach it by HTTP, below a folder of a site.
//!
//! **Job.** Find what a path below the folder means and answer it. **Called by** `roles/web`, through the engine's `Service`.
//! **Calls** the files beside this one, one for each kind of path.
//!
//! | path | what |
//! |---|---|
//! | (nothing), `chat.js`, … | the page |
//! | `ws` | the JSON protocol over a websocket; IRC, for clients that ask for `text.ircv3.net` or `binary.ircv3.net` |
//! | `rooms` | GET: the open rooms |
//! | `rooms/ROOM/messages` | POST: say something; GET: what was said |
//! | `rooms/ROOM/events` | GET: what happens, as server-sent events |
//! | `hooks/TOKEN` | POST: say something in one room, as a program |
//! | `files?name=…` | POST: a file to attach to a message |
//! | `files/ID/NAME` | GET: the file |
//!
//! Invariants
//! 1. What is answered has `nosniff`; nothing that clients wrote is ever a page.
//!
//! Not here: what requests mean (`hub`), who may reach the site (`roles/web`).

pub mod files;
mod page;
mod posts;
mod query;
mod rooms;
mod sse;
mod ws;

use std::rc::Rc;

use madang_host::connection::Connection;
use madang_http::body::LocalFuture;
use madang_http::credential::{self, Shown};
use madang_http::exchange::{Exchange, Outcome, Reply, Service};
use madang_http::websocket::{self, Limits, Offer, Origins};
use madang_wire::request::{RequestHead, Scheme, Version};

use crate::config;
use crate::here::Here;
use crate::irc;
use crate::post::Claim;
use crate::refusal::Refusal;

/// What is spoken over a websocket: of those that a client offers, the first; without an offer, the first of all.
const PROTOCOLS: [&str; 3] = ["madang.chat.v1", irc::TEXT, irc::BINARY];

type Answering = Box<dyn FnOnce(Box<Exchange>) -> LocalFuture<Box<Exchange>>>;

/// A chat below folders of a site, on one worker.
pub struct ChatService {
    here: Rc<Here>,
    /// With a slash at the end.
    folders: Vec<String>,
}

impl ChatService {
    /// For a route with these folders.
    pub fn new(here: &Rc<Here>, folders: Vec<String>) -> Rc<Self> {
        Rc::new(Self { here: Rc::clone(here), folders })
    }

    /// What lies below a folder of the chat's.
    fn deeper(&self, below: &str) -> Option<Answering> {
        let here = Rc::clone(&self.here);
        if let Some((id, _)) = below.strip_prefix("files/").and_then(|below| below.split_once('/')) {
            let id = id.to_owned();
            return Some(Box::new(move |exchange| Box::pin(files::give(here, exchange, id))));
        }
        if let Some(token) = below.strip_prefix("hooks/").map(str::to_owned) {
            return Some(Box::new(move |exchange| Box::pin(posts::post(here, exchange, token))));
        }
        let (room, what) = below.strip_prefix("rooms/")?.rsplit_once('/')?;
        let room = room.to_owned();
        match what {
            "messages" => Some(Box::new(move |exchange| Box::pin(rooms::messages(here, exchange, room)))),
            "events" => Some(Box::new(move |exchange| Box::pin(sse::events(here, exchange, room)))),
            _ => None,
        }
    }

    fn upgrade(here: &Rc<Here>, exchange: &mut Exchange, signed_in: Result<Option<Claim>, Refusal>) {
        let signed_in = match signed_in {
            Ok(signed_in) => signed_in,
            Err(refusal) => return refuse(exchange, &refusal),
        };
        let settings = here.settings();
        let origins = match &settings.origins {
            config::Origins::Any => Origins::Any,
            config::Origins::Only(named) => Origins::SameHostAnd(named),
        };
        let spoken = |one: &str| PROTOCOLS.into_iter().find(|have| *have == one);
        let protocol = websocket::offered(&exchange.head).find_map(spoken);
        let limits = Limits {
            message_bytes_max: settings.frame_bytes_max,
            outbox_bytes_max: settings.outbox_bytes_max,
            ping: settings.ping,
            stalled: settings.stalled,
        };
        let hall = Rc::clone(&here.hall);
        let here = Rc::clone(here);
        let offer = Offer { origins, protocol, limits };
        // A refusal is the answer, and noted.
        let connection = Rc::clone(&exchange.connection);
        let _ = websocket::accept(exchange, &hall, &offer, move |socket| match protocol {
            Some(irc::TEXT | irc::BINARY) => {
                irc::open_websocket(&here, socket, protocol == Some(irc::BINARY), connection, signed_in)
            }
            _ => ws::Talk::open(&here, socket, signed_in),
        });
    }
}

impl Service for ChatService {
    fn call(&self, mut exchange: Box<Exchange>) -> Reply {
        if exchange.head.version() != Version::Http2 {
            exchange.connection.set_role("chat");
        }
        let path = exchange.head.path();
        let below = self.folders.iter().find_map(|folder| path.strip_prefix(folder.as_str()));
        match below {
            // `/chat` itself: what its page names is below `/chat/`.
            None => {
                let to = format!("{path}/");
                exchange.response.status = 308;
                exchange.response.fields.set("location", to);
            }
            Some("ws") => match who_now(&self.here, &exchange.head) {
                Seen::Now(signed_in) => Self::upgrade(&self.here, &mut exchange, signed_in),
                Seen::Later(asking) => {
                    let here = Rc::clone(&self.here);
                    return Reply::Later(Box::pin(async move {
                        let signed_in = asking.await.map(Some);
                        Self::upgrade(&here, &mut exchange, signed_in);
                        exchange
                    }));
                }
            },
            Some("rooms") => return Reply::Later(Box::pin(rooms::open(Rc::clone(&self.here), exchange))),
            Some("files") => return Reply::Later(Box::pin(files::take(Rc::clone(&self.here), exchange))),
            Some(below) => {
                if let Some(later) = self.deeper(below) {
                    return Reply::Later(later(exchange));
                }
                let name = below.to_owned();
                if !page::answer(&mut exchange, &name) {
                    exchange.response.status = 404;
                    exchange.notes.error = Some("no-such-page");
                }
            }
        }
        Reply::Now(exchange)
    }

    fn record(&self, _: &Exchange, _: Outcome) {}

    fn refused(&self, _: &Connection, _: u16, _: &'static str) {}
}

/// Who a request shows to be, by its token or cookie; `None`: nobody. A cookie that is not good is none: it may be an old one,
/// and whoever sends it can still come as a guest.
async fn who(here: &Here, head: &RequestHead) -> Result<Option<Claim>, Refusal> {
    match who_now(here, head) {
        Seen::Now(seen) => seen,
        Seen::Later(asking) => asking.await.map(Some),
    }
}

/// What a look at a request says.
enum Seen {
    Now(Result<Option<Claim>, Refusal>),
    /// Perhaps an API key: the store knows.
    Later(LocalFuture<Result<Claim, Refusal>>),
}

fn who_now(here: &Here, head: &RequestHead) -> Seen {
    let Some(logins) = here.logins() else { return Seen::Now(Ok(None)) };
    Seen::Now(match credential::shown(head, logins.cookie(head.scheme() == Scheme::Https)) {
        Shown::Nothing => Ok(None),
        Shown::Bearer(token) => match logins.check(token) {
            Err(Refusal::BadToken) => return Seen::Later(logins.ask(token)),
            checked => checked.map(Some),
        },
        Shown::Cookie(token) => Ok(logins.check(token).ok()),
    })
}

/// Only these methods.
fn only(exchange: &mut Exchange, allowed: &'static str) {
    exchange.response.status = 405;
    exchange.response.fields.set("allow", allowed);
    exchange.notes.error = Some("method-not-allowed");
}

/// Says why not.
fn refuse(exchange: &mut Exchange, refusal: &Refusal) {
    let status = refusal.status();
    let told = serde_json::json!({ "error": ws::Told::of(refusal) });
    exchange.response.text(status, format!("{told}\n"));
    exchange.response.fields.set("content-type", "application/json");
    exchange.response.fields.set("x-content-type-options", "nosniff");
    if let Some(again_ms) = refusal.again_ms() {
        exchange.response.fields.set("retry-after", again_ms.div_ceil(1000).to_string());
    }
    if status == 401 {
        exchange.response.fields.set("www-authenticate", "Bearer");
    }
    exchange.notes.error = Some(refusal.name());
}
