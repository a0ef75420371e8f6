//! Connections to a pool, byte by byte (layer 4).
//!
//! **Job.** The path of one connection: its name where names decide, TLS where it ends here, its route, a server, bytes both
//! ways, one record at its end. **Called by** the worker for each connection of a stream's listener. **Calls** `hello`,
//! `open`, `pass`, `host::tls`.
//!
//! Invariants
//! 1. Every connection that was admitted is recorded once.
//! 2. What was read before a server was known goes to that server first.
//!
//! Not here: HTTP (`proxy`), decisions (`pick`), who may come (`host::gate`).

mod door;
pub mod end;
mod hello;
mod open;
mod pass;
pub mod program;
pub mod udp;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use madang_host::clock;
use madang_host::connection::{Connection, Phase};
use madang_host::net::stream::{Plain, Prefixed, Stream};
use madang_host::telemetry::streams::StreamBlock;
use madang_host::tls::{self, TlsPolicies};
use madang_host::worker::Acceptor;

pub use self::door::{Kit, Serving, StreamDoor, Way};
use self::end::{End, Ended, StreamObserver};
use self::pass::Passing;
use crate::server::Server;

/// Takes connections for a door.
pub struct StreamAcceptor {
    /// The door.
    pub door: Rc<StreamDoor>,
}

impl Acceptor for StreamAcceptor {
    fn accept(&self, stream: Plain, connection: Rc<Connection>) -> Pin<Box<dyn Future<Output = ()>>> {
        let (serving, block) = self.door.serving();
        let kit = Rc::clone(&self.door.kit);
        Box::pin(async move {
            let begun = clock::now();
            connection.set_role("stream");
            block.begun.add(1);
            let mut seen = Seen::default();
            let end = serve(stream, &serving, &kit, &block, &connection, &mut seen).await;
            block.ended(end.name(), end.failed());
            kit.observer.ended(&Ended {
                stream: &serving.settings.name,
                client: connection.peer(),
                protocol: if serving.tls.is_some() { "TLS" } else { "TCP" },
                name: seen.name.as_deref(),
                server: seen.server.as_ref().map(|server| server.name()),
                end: &end,
                bytes: connection.bytes(),
                took: begun.elapsed(),
            });
        })
    }
}

/// What is known of a connection when it ends, however it does.
#[derive(Default)]
struct Seen {
    name: Option<String>,
    server: Option<Arc<Server>>,
}

/// The steps, in order.
async fn serve(
    stream: Plain,
    serving: &Serving,
    kit: &Kit,
    block: &StreamBlock,
    connection: &Rc<Connection>,
    seen: &mut Seen,
) -> End {
    // The name first: it decides where everything after it goes. Boxed, as most connections never need the room.
    let named = match &serving.tls {
        Some(policies) => Box::pin(agree(stream, policies, connection, &*kit.observer)).await,
        None if serving.settings.by_name() => Box::pin(read_name(stream, connection, block)).await,
        None => Ok((Stream::Plain(stream), None, Vec::new())),
    };
    let (mut client, name, early) = match named {
        Ok(named) => named,
        Err(end) => return end,
    };
    connection.enter(Phase::Tunnel);
    let route = serving.settings.route(name.as_deref());
    let way = route.and_then(|at| serving.ways.get(at)).map(Rc::clone);
    seen.name = name;
    let Some(way) = way else { return End::NoRoute { name: seen.name.clone() } };
    let opened = open::open(&way, kit, serving.settings.proxy_header, connection, &mut seen.server).await;
    let mut opened = match opened {
        Ok(opened) => opened,
        Err(end) => return end,
    };
    let mut first = opened.greeting;
    first.extend_from_slice(&early);
    let with = Passing {
        connection,
        idle: way.here.deadline(serving.settings.idle),
        idle_after: serving.settings.idle,
        block,
        buffers: &kit.buffers,
        pipes: &kit.pipes,
    };
    let end = pass::pass(&mut client, &mut opened.stream, &mut opened.bond, first, with).await;
    // Before the place is: the program learns from it that nobody is there.
    drop(opened.stream);
    open::close(&way, opened.place, opened.bond, &end);
    end
}

type Named = (Stream, Option<String>, Vec<u8>);

async fn read_name(mut stream: Plain, connection: &Connection, block: &StreamBlock) -> Result<Named, End> {
    let (name, early) = hello::read(&mut stream, connection).await?;
    block.bytes_in.add(early.len() as u64);
    Ok((Stream::Plain(stream), name, early))
}

/// TLS that ends here.
async fn agree(
    stream: Plain,
    policies: &TlsPolicies,
    connection: &Connection,
    observer: &dyn StreamObserver,
) -> Result<Named, End> {
    let mut handshake = std::pin::pin!(tls::accept(Prefixed::new(Vec::new(), stream), policies));
    let agreed = poll_fn(|cx| match connection.poll_cut(cx) {
        Some(cut) => Poll::Ready(Err(End::Cut(cut))),
        None => handshake.as_mut().poll(cx).map(Ok),
    });
    match agreed.await? {
        Ok((stream, facts)) => {
            let name = facts.sni.clone();
            connection.set_tls(facts);
            observer.secured(connection);
            Ok((Stream::Tls(Box::new(stream)), name, Vec::new()))
        }
        Err(failure) if failure.name() == "closed-in-handshake" => Err(End::ClientLeft),
        Err(failure) => Err(End::Handshake(failure.name())),
    }
}
