//! One HTTP/2 stream: a request and its answer.
//!
//! **Job.** Fill the exchange from the split head, feed the body as the handler takes it, send the answer under flow control.
//! **Called by** `http2` (a task per stream). **Calls** the service, `body_in`, h2.
//!
//! Invariants
//! 1. A reset by the peer drops the handler's work at once.
//! 2. Once the last byte of an answer was handed over, nothing of ours resets its stream: a reset would overtake the answer.
//!
//! Not here: the connection's limits (`http2`).

use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderValue;
use madang_host::clock;
use madang_host::connection::{Connection, Phase};
use madang_wire::request::{Method, Parts, Scheme, Version};

use super::Score;
use super::body_in::BodyIn;
use super::duplex::H2Duplex;
use crate::body::{Body, FileBody, Frame, RequestBody};
use crate::endpoint::Endpoint;
use crate::exchange::{Exchange, Outcome, Reply};
use crate::interim::{Interim, InterimSlot};

/// A piece of a file in memory on its way.
const FILE_PIECE_BYTES: usize = 32 * 1024;
/// How often a stalled answer is judged.
const JUDGE_EVERY: Duration = Duration::from_secs(1);

pub(super) enum End {
    Answered,
    Reset,
}

/// Serves one stream to its end.
pub(super) async fn serve(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: &Rc<Connection>,
    endpoint: &Rc<Endpoint>,
    score: &Rc<Score>,
) -> End {
    let serving = endpoint.serving();
    let date = endpoint.worker.clock.date();
    let (parts, body) = request.into_parts();
    let mut exchange = endpoint.pool.exchange(connection);
    exchange.started = clock::now();
    if let Err(malformed) = fill(&mut exchange, &parts, &body, connection.secure, &serving.limits.head) {
        serving.service.refused(connection, malformed.status(), malformed.name());
        exchange.response.text(malformed.status(), format!("{} {malformed}\n", malformed.status()));
        if let Body::Bytes(text) = std::mem::take(&mut exchange.response.body)
            && let Some(head) = response_head(&exchange, Some(text.len() as u64), date)
        {
            let bodiless = parts.method == http::Method::HEAD;
            if let Ok(mut send) = respond.send_response(head, bodiless)
                && !bodiless
            {
                // The peer may have reset it: then nobody waits for the text.
                let _ = send.send_data(text, true);
            }
        }
        endpoint.pool.give_exchange(exchange);
        return End::Reset;
    }
    let mut body_in = BodyIn::new(body, &exchange.head, serving.limits.body_bytes_max, connection, score);
    exchange.body = body_in.as_ref().map_or_else(RequestBody::default, BodyIn::handler_end);
    let interim = InterimSlot::open(&exchange);
    let mut continue_due = exchange.head.expects_continue();
    let reply = if serving.service.misdirected(&exchange) {
        exchange.response.text(421, "421 Misdirected Request: this name belongs to another connection\n");
        Reply::Now(exchange)
    } else {
        serving.service.call(exchange)
    };
    let mut exchange = match reply {
        Reply::Now(exchange) => exchange,
        Reply::Later(mut answer) => {
            let waited = poll_fn(|cx| {
                let answered = answer.as_mut().poll(cx);
                while let Some(one) = interim.as_ref().and_then(|slot| slot.take()) {
                    send_interim(&mut respond, &one);
                }
                if let Poll::Ready(exchange) = answered {
                    return Poll::Ready(Some(exchange));
                }
                if let Some(body_in) = &mut body_in {
                    if continue_due && body_in.is_wanted() {
                        continue_due = false;
                        send_interim(&mut respond, &Interim { status: 100, fields: Vec::new() });
                    }
                    body_in.poll_feed(cx);
                }
                match respond.poll_reset(cx) {
                    Poll::Ready(_) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            match waited {
                Some(exchange) => exchange,
                None => return End::Reset,
            }
        }
    };
    if matches!(exchange.response.body, Body::Upgrade(_)) {
        return upgrade(exchange, respond, body_in, &serving, connection, score, date).await;
    }
    // Nobody will read the rest of the body. Who is refused may stop sending and hears it at once; for anybody else the
    // answer waits until the body is past, because some clients look at it only then (`BodyIn::poll_read_past`).
    let settled = !matches!(exchange.response.body, Body::Stream(_));
    if settled
        && exchange.response.status < 400
        && let Some(body_in) = &mut body_in
    {
        poll_fn(|cx| body_in.poll_read_past(cx)).await;
    }
    let now = clock::now();
    let mut answer = Answer { date, sent: 0, judge: None, started: now, moved: now, connection };
    let complete = answer.send(&mut exchange, &mut respond, body_in.as_mut()).await;
    let received = body_in.as_ref().map_or(0, BodyIn::received);
    serving.service.record(&exchange, Outcome { bytes_out: answer.sent, bytes_in: received, complete });
    endpoint.pool.give_exchange(exchange);
    if complete && let Some(body_in) = &mut body_in {
        poll_fn(|cx| body_in.poll_read_past(cx)).await;
    }
    if complete { End::Answered } else { End::Reset }
}

/// An interim answer. Nobody waits for it when the stream is gone, which its own wait notices.
fn send_interim(respond: &mut SendResponse<Bytes>, interim: &Interim) {
    let mut head = http::Response::new(());
    let Ok(status) = http::StatusCode::from_u16(interim.status) else { return };
    *head.status_mut() = status;
    *head.version_mut() = http::Version::HTTP_2;
    for (name, value) in &interim.fields {
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value.clone()))
        {
            head.headers_mut().append(name, value);
        }
    }
    let _ = respond.send_informational(head);
}

fn fill(
    exchange: &mut Exchange,
    parts: &http::request::Parts,
    body: &RecvStream,
    secure: bool,
    limits: &madang_wire::request::HeadLimits,
) -> Result<(), madang_wire::request::Malformed> {
    let split = Parts {
        method: parts.method.as_str(),
        scheme: if secure { Scheme::Https } else { Scheme::Http },
        authority: parts.uri.authority().map(http::uri::Authority::as_str),
        path_and_query: parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
        version: Version::Http2,
        protocol: parts.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str),
        ended: body.is_end_stream(),
    };
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    exchange.head.fill(&split, fields, limits)
}

/// An answer on its way.
struct Answer<'a> {
    date: [u8; 29],
    sent: u64,
    judge: Option<tokio::time::Interval>,
    started: Instant,
    moved: Instant,
    connection: &'a Connection,
}

impl Answer<'_> {
    /// True when all of it left.
    async fn send(
        &mut self,
        exchange: &mut Exchange,
        respond: &mut SendResponse<Bytes>,
        mut body_in: Option<&mut BodyIn>,
    ) -> bool {
        let body = std::mem::take(&mut exchange.response.body);
        let bodiless =
            exchange.head.method() == Method::Head || matches!(exchange.response.status, 204 | 304);
        let length = match (bodiless, body.is_empty()) {
            (true, true) => exchange.response.length_hint,
            _ => body.length(),
        };
        let length = if exchange.response.status == 204 { None } else { length };
        let Some(head) = response_head(exchange, length, self.date) else { return false };
        let ended = bodiless || body.length() == Some(0);
        let Ok(mut send) = respond.send_response(head, ended) else { return false };
        if ended {
            return true;
        }
        match body {
            Body::Empty | Body::Upgrade(_) => true,
            Body::Bytes(bytes) => self.data(&mut send, bytes, true, None).await,
            Body::File(file) => self.file(&mut send, &file).await,
            Body::Stream(mut stream) => loop {
                let frame = poll_fn(|cx| {
                    if let Poll::Ready(frame) = stream.poll_next(cx) {
                        return Poll::Ready(Ok(frame));
                    }
                    if let Some(body_in) = body_in.as_deref_mut() {
                        body_in.poll_feed(cx);
                    }
                    send.poll_reset(cx).map(|_| Err(()))
                })
                .await;
                match frame {
                    Ok(Some(Ok(Frame::Data(data)))) => {
                        if !self.data(&mut send, data, false, body_in.as_deref_mut()).await {
                            return false;
                        }
                    }
                    Ok(Some(Ok(Frame::Trailers(list)))) => {
                        let mut map = http::HeaderMap::new();
                        for (name, value) in list {
                            if let (Ok(name), Ok(value)) =
                                (http::HeaderName::from_bytes(&name), HeaderValue::from_maybe_shared(value))
                            {
                                map.append(name, value);
                            }
                        }
                        return send.send_trailers(map).is_ok();
                    }
                    Ok(None) => return send.send_data(Bytes::new(), true).is_ok(),
                    Ok(Some(Err(fault))) => {
                        exchange.notes.error = Some(fault.name());
                        send.send_reset(Reason::INTERNAL_ERROR);
                        return false;
                    }
                    Err(()) => {
                        send.send_reset(Reason::INTERNAL_ERROR);
                        return false;
                    }
                }
            },
        }
    }

    async fn file(&mut self, send: &mut SendStream<Bytes>, file: &FileBody) -> bool {
        let mut done = 0;
        while done < file.length {
            let want = usize::try_from(file.length - done).unwrap_or(FILE_PIECE_BYTES).min(FILE_PIECE_BYTES);
            let mut piece = vec![0; want];
            let got = file.file.read_at(&mut piece, file.offset + done).unwrap_or(0);
            if got == 0 {
                send.send_reset(Reason::INTERNAL_ERROR);
                return false;
            }
            piece.truncate(got);
            done += got as u64;
            if !self.data(send, Bytes::from(piece), done == file.length, None).await {
                return false;
            }
        }
        true
    }

    /// Sends as the windows open. False: the peer reset the stream or starved it. The request's body, where it is still
    /// coming, goes on meanwhile: a peer may want to send its last byte before it reads our first.
    async fn data(
        &mut self,
        send: &mut SendStream<Bytes>,
        mut data: Bytes,
        last: bool,
        mut body_in: Option<&mut BodyIn>,
    ) -> bool {
        while !data.is_empty() {
            send.reserve_capacity(data.len());
            if send.capacity() == 0 {
                self.connection.enter_if_new(Phase::Handling);
                let waited = poll_fn(|cx| {
                    if let Some(body_in) = body_in.as_deref_mut() {
                        body_in.poll_feed(cx);
                    }
                    self.poll_capacity(send, cx)
                });
                match waited.await {
                    Ok(()) => {}
                    Err(reason) => {
                        send.send_reset(reason);
                        return false;
                    }
                }
            }
            let take = send.capacity().min(data.len());
            let piece = data.split_to(take);
            let end = last && data.is_empty();
            self.sent += piece.len() as u64;
            self.moved = clock::now();
            if send.send_data(piece, end).is_err() {
                return false;
            }
        }
        true
    }

    fn poll_capacity(
        &mut self,
        send: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        loop {
            match send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) if send.capacity() > 0 => {
                    self.judge = None;
                    return Poll::Ready(Ok(()));
                }
                // Room that another stream took meanwhile: asked again, or nobody would wake us.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Pending => break,
                Poll::Ready(_) => return Poll::Ready(Err(Reason::CANCEL)),
            }
        }
        if send.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Reason::CANCEL));
        }
        let waiting_since = clock::now();
        let judge = self.judge.get_or_insert_with(|| {
            tokio::time::interval_at(tokio::time::Instant::from_std(waiting_since) + JUDGE_EVERY, JUDGE_EVERY)
        });
        while judge.poll_tick(cx).is_ready() {
            let (lasted, quiet) = (self.started.elapsed(), self.moved.elapsed());
            if self.connection.phase_limits().judge(Phase::Writing, lasted, quiet, self.sent).is_some() {
                return Poll::Ready(Err(Reason::ENHANCE_YOUR_CALM));
            }
        }
        Poll::Pending
    }
}

fn response_head(exchange: &Exchange, length: Option<u64>, date: [u8; 29]) -> Option<http::Response<()>> {
    let mut head = http::Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(exchange.response.status).ok()?;
    *head.version_mut() = http::Version::HTTP_2;
    let map = head.headers_mut();
    for (name, value) in exchange.response.fields.iter() {
        if let (Ok(name), Ok(value)) = (http::HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    if let Ok(date) = HeaderValue::from_bytes(&date) {
        map.insert(http::header::DATE, date);
    }
    if let Some(length) = length {
        map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Some(head)
}

/// Extended CONNECT (RFC 8441): a 200 and from then on the stream belongs to the role's task.
async fn upgrade(
    mut exchange: Box<Exchange>,
    mut respond: SendResponse<Bytes>,
    body_in: Option<BodyIn>,
    serving: &crate::endpoint::Serving,
    connection: &Rc<Connection>,
    score: &Rc<Score>,
    date: [u8; 29],
) -> End {
    let Body::Upgrade(task) = std::mem::take(&mut exchange.response.body) else { return End::Reset };
    let (Some(_), Some(body_in)) = (exchange.head.protocol(), body_in) else {
        respond.send_reset(Reason::REFUSED_STREAM);
        return End::Reset;
    };
    exchange.response.status = 200;
    exchange.response.fields.remove("upgrade");
    let Some(head) = response_head(&exchange, None, date) else { return End::Reset };
    let Ok(send) = respond.send_response(head, false) else { return End::Reset };
    serving.service.record(&exchange, Outcome { bytes_out: 0, bytes_in: 0, complete: true });
    connection.enter_if_new(Phase::Tunnel);
    task(Box::new(H2Duplex::new(body_in.into_stream(), send, Some(Rc::clone(score))))).await;
    End::Answered
}
