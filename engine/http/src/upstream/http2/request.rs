//! A request's head as HTTP/2 sends it (RFC 9113 8.3).
//!
//! **Job.** Take the head that `request_head` wrote apart into pseudo-fields and fields: the rules of what goes out are there
//! once, and what differs between the protocols is these few names. **Called by** `attempt`. **Calls** `http`.
//!
//! Invariants
//! 1. Nothing that concerns one HTTP/1.1 connection is left (RFC 9113 8.2.2); `te: trailers` stays.
//! 2. An upgrade to a websocket becomes an extended CONNECT (RFC 8441 4); any other is not passed on, as RFC 9110 7.8 allows.
//! 3. One copy of the head; all values are slices of it.
//!
//! Not here: which fields (`request_head`).

use bytes::Bytes;
use h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::upstream::websocket;

/// The head, and whether it is an extended CONNECT. `None`: it cannot be said in HTTP/2 (an authority that is none).
pub(super) fn of(head: &[u8], secure: bool) -> Option<Request<()>> {
    let head = Bytes::copy_from_slice(head);
    let mut lines = Lines { head: &head, at: 0 };
    let first = lines.next()?;
    let mut words = head[first.clone()].split(|byte| *byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let target = words.next()?;
    let path = first.start + method.as_str().len() + 1;
    let path = PathAndQuery::from_maybe_shared(head.slice(path..path + target.len())).ok()?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_2;
    let is_websocket = websocket::written(&head, "upgrade")
        .is_some_and(|offered| offered.eq_ignore_ascii_case(b"websocket"));
    if is_websocket {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from("websocket"));
    }
    let mut authority = None;
    let fields = request.headers_mut();
    fields.reserve(24);
    for line in lines {
        let colon = line.start + memchr_colon(&head[line.clone()])?;
        let (name, value) = (&head[line.start..colon], colon + 2..line.end);
        match name {
            b"host" => authority = Some(Authority::from_maybe_shared(head.slice(value)).ok()?),
            b"connection" | b"upgrade" | b"transfer-encoding" => {}
            b"sec-websocket-key" if is_websocket => {}
            name => {
                let value = HeaderValue::from_maybe_shared(head.slice(value)).ok()?;
                fields.append(HeaderName::from_bytes(name).ok()?, value);
            }
        }
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(authority?);
    uri.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    Some(request)
}

fn memchr_colon(line: &[u8]) -> Option<usize> {
    line.iter().position(|byte| *byte == b':')
}

/// The lines of a head until the empty one, as ranges.
struct Lines<'h> {
    head: &'h [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = std::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.head.get(self.at..)?;
        let length = rest.windows(2).position(|two| two == b"\r\n").filter(|length| *length > 0)?;
        let line = self.at..self.at + length;
        self.at = line.end + 2;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str, secure: bool) -> String {
        let request = of(head.as_bytes(), secure).expect("it can be said in HTTP/2");
        let mut text = format!("{} {}", request.method(), request.uri());
        if let Some(protocol) = request.extensions().get::<Protocol>() {
            text += &format!(" :protocol={}", protocol.as_str());
        }
        for (name, value) in request.headers() {
            text += &format!("\n{name}={}", value.to_str().unwrap());
        }
        text
    }

    // Goal: pseudo-fields from line and host, every end-to-end field, none of the connection's.
    #[test]
    fn a_head_is_said_in_http2_without_what_concerns_a_connection() {
        check(
            "POST /a?b=%2F HTTP/1.1\r\nhost: x.test:81\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 3\r\nte: trailers\r\n\
             connection: te\r\n\r\n",
            "POST http://x.test:81/a?b=%2F\nx-a=1\nx-a=2\ncontent-length=3\nte=trailers",
        );
        check("PUT /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", "PUT http://x/a");
        check("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", "OPTIONS http://x*");
        check(
            "GET /ws HTTP/1.1\r\nhost: x\r\nsec-websocket-key: k\r\nsec-websocket-version: 13\r\nupgrade: websocket\r\n\
             connection: upgrade\r\n\r\n",
            "CONNECT http://x/ws :protocol=websocket\nsec-websocket-version=13",
        );
        check("GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", "GET http://x/");

        #[track_caller]
        fn check(head: &str, want: &str) {
            assert_eq!(shown(head, false), want);
            assert_eq!(shown(head, true), want.replacen("http:", "https:", 1));
        }
    }

    #[test]
    fn a_host_that_is_no_authority_cannot_be_said() {
        assert!(of(b"GET / HTTP/1.1\r\nhost: \r\n\r\n", false).is_none());
        assert!(of(b"GET / HTTP/1.1\r\n\r\n", false).is_none());
    }
}
