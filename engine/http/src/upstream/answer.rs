//! An upstream's answer becomes the exchange's.
//!
//! **Job.** Fields into the answer, what was read of the body in front of what is still to come, the connection back where
//! it can be used again. **Called by** `Upstream::send`. **Calls** `body`.
//!
//! Invariants
//! 1. A short answer that came whole costs one allocation for head and body together.
//!
//! Not here: fields that a route adds or takes out (`roles/web`, `roles/balance`).

use std::rc::Rc;

use bytes::Bytes;
use madang_wire::http1::answer_head::BodyFraming;
use tokio::io::AsyncWriteExt;

use super::Upstream;
use super::attempt::Answered;
use super::body::UpstreamBody;
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
fn is_copied(name: &[u8]) -> bool {
    match name.first() {
        Some(b'd') => name != b"date",
        Some(b'x') => !name.starts_with(b"x-accel-") && name != b"x-sendfile",
        _ => true,
    }
}

pub(super) fn fill(
    upstream: &Rc<Upstream>,
    exchange: &mut Exchange,
    answered: Answered,
    watch: impl FnOnce() -> Box<dyn Watch>,
) {
    let Answered { stream, input, head_end, end, head, sent_whole } = answered;
    let whole_length = match head.framing {
        BodyFraming::None => Some(0),
        BodyFraming::Length(length) => {
            usize::try_from(length).ok().filter(|length| *length <= end - head_end)
        }
        BodyFraming::Chunked | BodyFraming::UntilClose => None,
    };
    // One copy for the head and what came behind it: fields and body are slices of it.
    let mut copy = input[..end].to_vec();
    upstream.pool.give_input(input);
    head.lower_names(&mut copy);
    let copy = Bytes::from(copy);
    let response = &mut exchange.response;
    response.status = head.status;
    for (name, value) in &head.fields {
        if !is_copied(&copy[name.clone()]) {
            continue;
        }
        response.fields.add(Text::from(copy.slice(name.clone())), Text::from(copy.slice(value.clone())));
    }
    if head.status == 101 {
        if let Some(upgrade) = head.upgrade.clone() {
            response.fields.add("upgrade", Text::from(copy.slice(upgrade)));
        }
        let (early, mut watch) = (copy.slice(head_end..), watch());
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
                response.body = Body::Bytes(copy.slice(head_end..head_end + length));
            }
            if head.keep_alive && sent_whole && in_step {
                upstream.give_back(stream);
            }
            upstream.give_head(head);
        }
        None => {
            let keep = head.keep_alive && sent_whole;
            let body =
                UpstreamBody::new(upstream, stream, copy.slice(head_end..), head.framing, keep, watch());
            response.body = Body::Stream(Box::new(body));
        }
    }
}
