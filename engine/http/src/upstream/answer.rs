//! An upstream's answer becomes the exchange's.
//!
//! **Job.** Fields into the answer, what was read of the body in front of what is still to come, the connection back where
//! it can be used again. **Called by** `Upstream::send`. **Calls** `body`.
//!
//! Invariants
//! 1. Passing on a head allocates nothing on a warm connection, a short body that came whole one piece of its size.
//!
//! Not here: fields that a route adds or takes out (`roles/web`, `roles/balance`).

use std::rc::Rc;

use bytes::Bytes;
use madang_wire::http1::answer_head::BodyFraming;
use tokio::io::AsyncWriteExt;

use super::attempt::Answered;
use super::body::UpstreamBody;
use super::{Replay, Upstream};
use crate::body::Body;
use crate::exchange::Exchange;
use crate::response::Text;

/// Lives as long as an answer is on its way, and is told how it ended. Dropped without a word: the client left.
pub trait Watch {
    /// The body was read to its end, or the server broke it off.
    fn ended(&mut self, whole: bool);
}

/// Whether a field goes on to the client. `date` is written by the protocol towards it; `x-accel-*` and `x-sendfile` are orders
/// to a front end that this one does not take, and tell where things lie inside.
pub(super) fn is_copied(name: &[u8]) -> bool {
    let begins = |with: &[u8]| name.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    match name.first() {
        Some(b'd' | b'D') => !name.eq_ignore_ascii_case(b"date"),
        Some(b'x' | b'X') => !begins(b"x-accel-") && !name.eq_ignore_ascii_case(b"x-sendfile"),
        _ => true,
    }
}

pub(super) fn fill(
    upstream: &Rc<Upstream>,
    exchange: &mut Exchange,
    answered: Answered,
    body: &mut Replay,
    watch: impl FnOnce() -> Box<dyn Watch>,
) {
    let Answered { stream, input, head_end, end, head, sent_whole, unfinished } = answered;
    let whole_length = match head.framing {
        BodyFraming::None => Some(0),
        BodyFraming::Length(length) => {
            usize::try_from(length).ok().filter(|length| *length <= end - head_end)
        }
        BodyFraming::Chunked | BodyFraming::UntilClose => None,
    };
    let response = &mut exchange.response;
    response.status = head.status;
    let copied = head.fields.iter().filter(|(name, _)| is_copied(&input[name.clone()]));
    response.fields.pass_on(&input[..head_end], copied);
    let behind = Bytes::copy_from_slice(&input[head_end..end]);
    let upgrade = head.upgrade.clone().map(|range| Bytes::copy_from_slice(&input[range]));
    upstream.pool.give_input(input);
    if head.status == 101 {
        if let Some(upgrade) = upgrade {
            response.fields.add("upgrade", Text::from(upgrade));
        }
        let (early, mut watch) = (behind, watch());
        response.body = Body::Upgrade(Box::new(move |mut client| {
            Box::pin(async move {
                let mut stream = stream;
                if client.write_all(&early).await.is_ok() {
                    // Either side's end ends both; whoever was cut has been told by its own connection.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
                }
                watch.ended(true);
            })
        }));
        return;
    }
    match whole_length {
        Some(length) => {
            // Bytes nobody announced: the connection is out of step.
            let in_step = head_end + length == end;
            response.length_hint = head.announced;
            if length > 0 {
                let mut body = behind;
                body.truncate(length);
                response.body = Body::Bytes(body);
            }
            if head.keep_alive && sent_whole && in_step {
                upstream.give_back(stream);
            }
            upstream.give_head(head);
        }
        None => {
            // A server that goes on reading while it answers gets the rest; one that refuses does not want it.
            let beside = unfinished.filter(|_| head.status < 400).map(|upload| upload.beside(body.take()));
            let keep = head.keep_alive && (sent_whole || beside.is_some());
            let body = UpstreamBody::new(upstream, stream, behind, head.framing, keep, beside, watch());
            response.body = Body::Stream(Box::new(body));
        }
    }
}
