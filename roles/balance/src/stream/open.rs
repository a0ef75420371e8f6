//! A server that takes the connection.
//!
//! **Job.** Pick, connect, greet, agree on TLS where the server's address asks for it; another server while that fails.
//! **Called by** `super`. **Calls** `here`, `pick`, `host::net::connect`.
//!
//! Invariants
//! 1. Another server is tried only while none has seen a byte of the client: a connection that did not open had no effect.
//! 2. Opening has the pool's `timeouts.connect`, TLS included; waiting for a place has the pool's `queue`.
//!
//! Not here: passing bytes (`pass`).

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use madang_host::clock;
use madang_host::connection::Connection;
use madang_host::net::connect::{plain, secure};
use madang_host::net::listen;
use madang_host::net::stream::Stream;
use madang_host::tls::connect::ClientTls;
use madang_wire::proxy_protocol::{write_v1, write_v2};
use tokio::io::AsyncWriteExt;

use super::door::{Kit, Way};
use super::end::End;
use super::program::Bond;
use crate::config::{Place, ProxyHeader};
use crate::here::Line;
use crate::pick::hash::key_of;
use crate::pick::{Ask, Chosen, Pick, Tried};
use crate::pool::Pool;
use crate::server::{InFlight, Outcome, Server};

/// A connection to a server that took it.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) place: InFlight,
    /// What has to be said to it before the client's first byte and was not yet.
    pub(super) greeting: Vec<u8>,
    /// Where it is a program.
    pub(super) bond: Option<Bond>,
}

/// Opens one, or says why there is none. `seen` is the server of the newest attempt.
pub(super) async fn open(
    way: &Way,
    kit: &Kit,
    header: ProxyHeader,
    connection: &Connection,
    seen: &mut Option<Arc<Server>>,
) -> Result<Opened, End> {
    let here = &way.here;
    let mut tried = Tried::default();
    let (mut attempts, mut last) = (0_u8, String::new());
    loop {
        let pool = here.pool();
        let settings = pool.settings();
        if attempts >= settings.retry.attempts.max(1) {
            return Err(End::NotConnected { pool: Arc::clone(&settings.name), last, attempts });
        }
        let chosen = match choose(way, &pool, connection.peer().ip(), &tried).await {
            Ok(chosen) => chosen,
            // Nobody is left who was not tried: what the last one said is the better reason.
            Err(End::NobodyUp { pool, .. }) if attempts > 0 => {
                return Err(End::NotConnected { pool, last, attempts });
            }
            Err(end) => return Err(end),
        };
        attempts += 1;
        let server = Arc::clone(chosen.place.server());
        tried.add(server.id());
        *seen = Some(Arc::clone(&server));
        let begun = clock::now();
        let deadline = here.deadline(settings.timeouts.connect);
        let mut connecting = std::pin::pin!(connect(way, kit, &pool, &server, header, connection));
        let connected = poll_fn(|cx| {
            if let Some(cut) = connection.poll_cut(cx) {
                return Poll::Ready(Err(End::Cut(cut)));
            }
            match connecting.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Ok(result.map_err(|error| error.to_string()))),
                Poll::Pending => deadline.poll(cx).map(|()| Ok(Err("timeouts.connect is over".to_owned()))),
            }
        })
        .await?;
        let now = clock::now();
        let took = now.saturating_duration_since(begun);
        let outcome = if connected.is_ok() { Outcome::Good } else { Outcome::NotConnected };
        here.note(&pool, &server, outcome, took, now);
        match connected {
            Ok((stream, greeting, bond)) => {
                return Ok(Opened { stream, place: chosen.place, greeting, bond });
            }
            Err(error) => last = format!("{}: {error}", server.name()),
        }
    }
}

/// The key of a client's address: of IPv6, its network.
pub(super) fn key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => key_of(&v4.octets()),
        IpAddr::V6(v6) => key_of(&v6.octets()[..8]),
    }
}

/// A server with a place for us, after standing in line where that is allowed.
async fn choose(way: &Way, pool: &Arc<Pool>, client: IpAddr, tried: &Tried) -> Result<Chosen, End> {
    let here = &way.here;
    let settings = pool.settings();
    let name = || Arc::clone(&settings.name);
    let mut line: Option<Line> = None;
    loop {
        let ask = Ask { key: Some(key(client)), sticky: None, tried, random: here.random() };
        match here.pick(pool, &ask, clock::now()) {
            Pick::Server(chosen) => return Ok(chosen),
            Pick::NoneUp(why) => return Err(End::NobodyUp { pool: name(), why }),
            Pick::Wait => {}
        }
        let stand = match &mut line {
            Some(line) => line,
            none => match here.stand_in_line(settings.queue.length, settings.queue.wait) {
                Some(place) => none.insert(place),
                None => return Err(End::QueueFull { pool: name() }),
            },
        };
        if !stand.next().await {
            return Err(End::QueueTimeout { pool: name() });
        }
    }
}

/// Connects and greets. Without TLS the greeting goes out with the client's first bytes, in one piece.
async fn connect(
    way: &Way,
    kit: &Kit,
    pool: &Pool,
    server: &Server,
    header: ProxyHeader,
    connection: &Connection,
) -> io::Result<(Stream, Vec<u8>, Option<Bond>)> {
    let mut greeting = Vec::new();
    let (peer, local): (SocketAddr, SocketAddr) = (connection.ends().peer, connection.ends().local);
    match header {
        ProxyHeader::Off => {}
        ProxyHeader::V1 => write_v1(&mut greeting, peer, local),
        ProxyHeader::V2 => write_v2(&mut greeting, peer, local),
    }
    let address = match server.place() {
        Place::Ip(address) => listen::Address::Tcp(*address),
        Place::Unix(path) => listen::Address::Unix(path.clone()),
        place @ (Place::Host(..) | Place::Service(_)) => {
            return Err(io::Error::other(format!("{place} has no address yet")));
        }
        Place::Program(app) => {
            let program = kit.programs.open(Arc::clone(app), connection.ends()).await?;
            return Ok((Stream::Plain(program.socket), greeting, Some(program.bond)));
        }
    };
    let tls: Option<ClientTls> = way.tls(pool, server).map_err(io::Error::other)?;
    let mut stream = plain(&address).await?;
    if tls.is_some() {
        stream.write_all(&greeting).await?;
        greeting.clear();
    }
    Ok((secure(stream, tls.as_ref()).await?, greeting, None))
}

/// Gives the place back and tells whoever waits for one; a program's once it has ended.
pub(super) fn close(way: &Rc<Way>, place: InFlight, bond: Option<Bond>, end: &End) {
    match bond {
        Some(Bond { ended, held, gone: false }) => {
            if *end == End::Done {
                // Whoever has gone need not know.
                let _ = held.send(());
            } else {
                drop(held);
            }
            let way = Rc::clone(way);
            tokio::task::spawn_local(async move {
                // An error says the same: nobody is left who would know.
                let _ = ended.await;
                drop(place);
                way.here.place_given_back();
            });
        }
        _ => {
            drop(place);
            way.here.place_given_back();
        }
    }
}
