//! An error answer as a client of gRPC understands it.
//!
//! **Job.** A [`Failure`] as status 200 with `grpc-status` and `grpc-message` in the head and nothing behind it
//! ("trailers-only"): a page of HTML would be an unknown error to every library. **Called by** `error_page`.
//!
//! Invariants
//! 1. Codes follow the table that gRPC has for HTTP statuses; where that only says "unknown" and we know more, more is said.
//! 2. As in `error_page`: one sentence and the request's id, nothing of `failure.detail`.
//!
//! Not here: answers of servers, which pass as they are (`roles/balance`); gRPC-Web, which reads HTTP statuses.

use madang_http::body::Body;
use madang_http::exchange::Exchange;
use madang_wire::request::RequestHead;

use crate::verdict::Failure;

/// Whether this is a request of gRPC: `application/grpc`, alone or with a message format (`+proto`) or parameters.
pub(crate) fn is_grpc(head: &RequestHead) -> bool {
    let Some(kind) = head.get("content-type") else { return false };
    let Some((name, rest)) = kind.split_at_checked(b"application/grpc".len()) else { return false };
    name.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Writes the answer.
pub(crate) fn write(exchange: &mut Exchange, failure: &Failure, sentence: &str) {
    let id = exchange.notes.request_id.as_deref().and_then(|id| std::str::from_utf8(id).ok());
    let message = id.map_or_else(|| sentence.to_owned(), |id| format!("{sentence} Request {id}."));
    let response = &mut exchange.response;
    response.status = 200;
    response.body = Body::Empty;
    response.length_hint = None;
    for meant_for_the_answer in ["etag", "last-modified", "content-encoding", "accept-ranges"] {
        response.fields.remove(meant_for_the_answer);
    }
    response.fields.set("content-type", "application/grpc");
    response.fields.set("grpc-status", code(failure.status));
    response.fields.set("grpc-message", escaped(&message));
}

/// The code for a status of ours.
fn code(status: u16) -> &'static str {
    match status {
        400 | 500 => "13",       // INTERNAL
        401 => "16",             // UNAUTHENTICATED
        403 => "7",              // PERMISSION_DENIED
        404 | 405 | 501 => "12", // UNIMPLEMENTED
        // Larger than a limit of ours: the same call will not fit later either.
        413 | 431 => "8",        // RESOURCE_EXHAUSTED
        429 | 502..=504 => "14", // UNAVAILABLE
        _ => "2",                // UNKNOWN
    }
}

/// Percent-encoded but for printable ASCII, as `grpc-message` is defined.
fn escaped(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::exchange;
    use crate::verdict::Blame;

    // Goal: exactly the media type of gRPC is meant.
    #[test]
    fn a_request_of_grpc_is_known_by_its_media_type() {
        check("application/grpc", true);
        check("application/grpc+proto", true);
        check("application/grpc; charset=x", true);
        check("Application/GRPC", true);
        check("application/grpc-web", false);
        check("application/grpc-web+proto", false);
        check("application/json", false);
        check("", false);

        #[track_caller]
        fn check(kind: &str, want: bool) {
            let exchange = exchange("POST", "/x", &[("Content-Type", kind)]);
            assert_eq!(is_grpc(&exchange.head), want, "{kind}");
        }
    }

    // Goal: a refusal is a head with a code, a sentence and the id; no page follows and no detail leaves.
    #[test]
    fn a_refusal_is_a_code_and_a_sentence() {
        check(400, "13");
        check(401, "16");
        check(403, "7");
        check(404, "12");
        check(413, "8");
        check(418, "2");
        check(429, "14");
        check(500, "13");
        check(502, "14");
        check(503, "14");
        check(504, "14");

        #[track_caller]
        fn check(status: u16, want: &str) {
            let mut exchange = exchange("POST", "/x", &[("Content-Type", "application/grpc")]);
            exchange.response.fields.set("retry-after", "1");
            exchange.notes.request_id = Some(bytes::Bytes::from_static(b"abc"));
            crate::error_page::write(&mut exchange, &Failure::new(status, Blame::Us, "test", "secret"), &[]);
            let response = &exchange.response;
            let field =
                |name| response.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
            assert_eq!((response.status, field("grpc-status")), (200, Some(want.to_owned())), "{status}");
            assert_eq!(field("content-type").as_deref(), Some("application/grpc"));
            assert_eq!(field("retry-after").as_deref(), Some("1"));
            let message = field("grpc-message").unwrap();
            assert!(message.ends_with("Request abc.") && !message.contains("secret"), "{message}");
            assert!(response.body.is_empty());
        }
    }

    #[test]
    fn a_message_is_printable_ascii() {
        assert_eq!(escaped("100% 마당\n"), "100%25 %EB%A7%88%EB%8B%B9%0A");
    }
}
