//! HTTP/1.0 and 1.1 (RFC 9112): the thin driver around `wire`'s pure parser.
//!
//! **Job.** One connection's life: read a head, hand the exchange to the service, write the answer, again.
//! **Called by** `accept`. **Calls** `wire::http1`, the service, `body_in`, `answer`.
//!
//! Invariants
//! 1. Bytes after a request are only read as the next request when this one's framing was certain and its body whole.
//! 2. An idle connection holds no buffer and no exchange.
//! 3. Every wait ends with a cut (`host::connection`).
//!
//! Not here: parsing (`wire::http1`), how an answer becomes bytes (`answer`), request bodies (`body_in`).

mod answer;
mod body_in;
mod io;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use madang_host::connection::{Connection, Cut, Phase};
use madang_host::net::stream::Stream;
use madang_wire::http1::head::{HeadParser, Parsed};
use madang_wire::request::{Framing, Malformed, Version};

use crate::body::{Body, RequestBody};
use crate::endpoint::{Endpoint, Serving};
use crate::exchange::{Exchange, Outcome, Reply};
use crate::interim::InterimSlot;
use answer::Plan;
use body_in::BodyIn;
use io::{Ended, Io};

/// The first bytes of HTTP/2 (RFC 9113 3.4): a parser of HTTP/1 never gets to see them.
pub(crate) const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the connection goes on after a request.
enum After {
    Next,
    Close,
    Upgraded(Box<Exchange>),
}

/// What became of an HTTP/1 connection.
pub(crate) enum End {
    /// Over.
    Closed,
    /// It turned out to speak HTTP/2: the stream and what was read of it.
    Http2(Stream, Vec<u8>),
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    stream: Stream,
    early: Vec<u8>,
    connection: Rc<Connection>,
    endpoint: Rc<Endpoint>,
) -> End {
    let mut driver = Driver { io: Io::new(stream, &early, connection, &endpoint), endpoint };
    driver.io.connection.enter(Phase::Head);
    loop {
        match driver.one_request().await {
            Ok(After::Next) => {}
            Ok(After::Close) => {
                driver.io.close().await;
                return End::Closed;
            }
            Ok(After::Upgraded(mut exchange)) => {
                let Body::Upgrade(task) = std::mem::take(&mut exchange.response.body) else {
                    return End::Closed;
                };
                driver.endpoint.pool.give_exchange(exchange);
                driver.io.connection.enter(Phase::Tunnel);
                task(Box::new(driver.io.into_tunnel())).await;
                return End::Closed;
            }
            Err(Ended::Preface) => {
                let (stream, early) = driver.io.into_parts();
                return End::Http2(stream, early);
            }
            Err(Ended::Gone | Ended::Cut(_) | Ended::Source(_)) => return End::Closed,
        }
    }
}

struct Driver {
    io: Io,
    endpoint: Rc<Endpoint>,
}

impl Driver {
    async fn one_request(&mut self) -> Result<After, Ended> {
        let Some((serving, mut exchange)) = self.read_head().await? else { return Ok(After::Close) };
        let count = self.io.connection.count_request();
        let client_keeps = exchange.head.keep_alive();
        let mut keep = client_keeps && count < serving.limits.requests_per_connection_max;
        let mut body = BodyIn::new(&exchange.head, serving.limits.body_bytes_max);
        exchange.body = body.as_ref().map_or_else(RequestBody::default, BodyIn::handler_end);
        let interim = InterimSlot::open(&exchange);

        let reply = if serving.service.misdirected(&exchange) {
            exchange.response.text(421, "421 Misdirected Request: this name belongs to another connection\n");
            Reply::Now(exchange)
        } else {
            serving.service.call(exchange)
        };
        let mut exchange = match reply {
            Reply::Now(exchange) => exchange,
            Reply::Later(mut answer) => {
                self.io.connection.enter(Phase::Handling);
                let io = &mut self.io;
                poll_fn(|cx| {
                    let answered = answer.as_mut().poll(cx);
                    while let Some(one) = interim.as_ref().and_then(|slot| slot.take()) {
                        answer::write_interim(io.out(), &one);
                    }
                    if let Poll::Ready(exchange) = answered {
                        return Poll::Ready(Ok(exchange));
                    }
                    io.poll_while_handled(cx, body.as_mut()).map(Err)
                })
                .await?
            }
        };

        if let Body::Upgrade(_) = exchange.response.body {
            return self.upgrade(&serving, exchange).await;
        }
        // What the peer has not sent of its body would be read as the next request: either it is little enough to
        // read past, or the connection ends.
        keep &= body.as_ref().is_none_or(BodyIn::can_read_past)
            && !exchange.response.close
            && !self.io.connection.draining();
        let plan = Plan::new(&exchange, keep);
        self.io.connection.enter(Phase::Writing);
        let result = self
            .io
            .write_answer(&mut exchange, &plan, body.as_mut(), &self.endpoint.worker.clock.date())
            .await;
        let outcome = Outcome {
            bytes_out: self.io.body_sent,
            bytes_in: body.as_ref().map_or(0, BodyIn::received),
            complete: result.is_ok(),
        };
        match &result {
            Err(Ended::Cut(cut)) => exchange.notes.limit = Some(cut.name()),
            Err(Ended::Source(what)) => exchange.notes.error = Some(what),
            _ => {}
        }
        serving.service.record(&exchange, outcome);
        self.endpoint.pool.give_exchange(exchange);
        result?;

        if !plan.keep_alive {
            let client_asked = !client_keeps && body.as_ref().is_none_or(BodyIn::is_done);
            self.io.linger = !client_asked || !self.io.input.is_empty();
            return Ok(After::Close);
        }
        if let Some(body) = &mut body
            && !self.io.read_past(body).await?
        {
            return Ok(After::Close);
        }
        self.io.next_request();
        Ok(After::Next)
    }

    /// Reads one head. `None`: the connection is to be closed (an answer may have been written).
    async fn read_head(&mut self) -> Result<Option<(Rc<Serving>, Box<Exchange>)>, Ended> {
        let mut parser = HeadParser::default();
        let mut exchange = None;
        loop {
            if !self.io.input.is_empty() {
                self.io.connection.enter_if_new(Phase::Head);
                let serving = self.endpoint.serving();
                if self.io.first && serving.h2c && is_preface(self.io.input.bytes()) {
                    return Err(Ended::Preface);
                }
                let mut filled =
                    exchange.take().unwrap_or_else(|| self.endpoint.pool.exchange(&self.io.connection));
                let secure = self.io.connection.secure;
                match parser.parse(self.io.input.bytes(), secure, &serving.limits.head, &mut filled.head) {
                    Ok(Parsed::Complete { consumed }) => {
                        self.io.input.consume(consumed);
                        self.io.first = false;
                        filled.started = madang_host::clock::now();
                        return Ok(Some((serving, filled)));
                    }
                    Ok(Parsed::Partial) => exchange = Some(filled),
                    Err(malformed) => {
                        self.endpoint.pool.give_exchange(filled);
                        self.refuse(&serving, &malformed).await?;
                        return Ok(None);
                    }
                }
                self.io.input.reserve(serving.limits.head.head_bytes_max);
            }
            match self.io.fill().await {
                Ok(0) => return Err(Ended::Gone),
                Ok(_) => {}
                Err(Ended::Cut(Cut::HeadTimeout)) if !self.io.input.is_empty() => {
                    let serving = self.endpoint.serving();
                    serving.service.refused(&self.io.connection, 408, Cut::HeadTimeout.name());
                    self.io.connection.begin_goodbye();
                    let date = self.endpoint.worker.clock.date();
                    self.io.write_refusal(408, "the request head took too long", &date).await?;
                    return Ok(None);
                }
                Err(ended) => return Err(ended),
            }
        }
    }

    /// Answers what could not be read as a request; the connection ends because its framing is in doubt.
    async fn refuse(&mut self, serving: &Serving, malformed: &Malformed) -> Result<(), Ended> {
        serving.service.refused(&self.io.connection, malformed.status(), malformed.name());
        self.io.connection.begin_goodbye();
        let date = self.endpoint.worker.clock.date();
        self.io.write_refusal(malformed.status(), &malformed.to_string(), &date).await
    }

    async fn upgrade(&mut self, serving: &Serving, mut exchange: Box<Exchange>) -> Result<After, Ended> {
        // Only what the client offered may be accepted, and never on HTTP/1.0 or with a body in flight (RFC 9110 7.8).
        let offered = exchange.head.upgrade().is_some() && exchange.head.version() == Version::Http11;
        if !offered || exchange.head.framing() != Framing::None || exchange.response.status != 101 {
            exchange.response.text(426, "426 Upgrade Required\n");
            exchange.response.fields.set("upgrade", "websocket");
            exchange.response.close = true;
            let plan = Plan::new(&exchange, false);
            self.io.write_answer(&mut exchange, &plan, None, &self.endpoint.worker.clock.date()).await?;
            serving
                .service
                .record(&exchange, Outcome { bytes_out: self.io.body_sent, bytes_in: 0, complete: true });
            return Ok(After::Close);
        }
        let plan = Plan::upgrade();
        self.io.connection.enter(Phase::Writing);
        self.io.write_answer(&mut exchange, &plan, None, &self.endpoint.worker.clock.date()).await?;
        serving.service.record(&exchange, Outcome { bytes_out: 0, bytes_in: 0, complete: true });
        Ok(After::Upgraded(exchange))
    }
}

/// Whether these first bytes are HTTP/2's (all that are there, at least three).
fn is_preface(bytes: &[u8]) -> bool {
    let length = bytes.len().min(H2_PREFACE.len());
    length >= 3 && bytes[..length] == H2_PREFACE[..length]
}
