//! A request whose parts HTTP/2 or 3 has already split (RFC 9113 8.2-8.3, RFC 9114 4.2-4.3).
//!
//! **Job.** Put such parts through the same checks as the bytes of HTTP/1 and into the same [`RequestHead`].
//! **Called by** `http::http2`. **Calls** `request`, `grammar`.
//!
//! Invariants
//! 1. What HTTP/1 would refuse is refused here too: there is one canonical request, whatever way it came.
//! 2. Fields that concern one HTTP/1 connection do not exist here; one of them refuses the request.
//!
//! Not here: HPACK and streams (`http::http2`), the bytes of HTTP/1 (`http1::head`).

use crate::grammar::{TOKEN_LOWER, expects_continue, is_field_value, is_method, is_token_byte, parse_length};
use crate::request::{Framing, HeadLimits, Malformed, Method, RequestHead, Scheme, Version};

/// A request that its protocol has already split (HTTP/2, HTTP/3).
pub struct Parts<'a> {
    /// `:method`.
    pub method: &'a str,
    /// `:scheme`, or what the connection says.
    pub scheme: Scheme,
    /// `:authority`.
    pub authority: Option<&'a str>,
    /// `:path`.
    pub path_and_query: &'a str,
    /// Which protocol.
    pub version: Version,
    /// `:protocol` (RFC 8441).
    pub protocol: Option<&'a str>,
    /// Whether the stream ended with the head.
    pub ended: bool,
}

impl RequestHead {
    /// Fills a head from parts that HTTP/2 or 3 has split, with the same checks as HTTP/1 (RFC 9113 8.2, 8.3).
    pub fn fill<'a>(
        &mut self,
        parts: &Parts<'a>,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
        limits: &HeadLimits,
    ) -> Result<(), Malformed> {
        self.clear();
        self.version = parts.version;
        self.scheme = parts.scheme;
        self.keep_alive = true;
        if !is_method(parts.method.as_bytes()) {
            return Err(Malformed::Method);
        }
        self.method = Method::from_token(parts.method.as_bytes());
        self.method_text = self.store(parts.method.as_bytes());
        if parts.path_and_query.len() > limits.target_bytes_max {
            return Err(Malformed::TargetTooLong { max: limits.target_bytes_max });
        }
        let (mut host, mut cookies) = (None, 0);
        let (mut count, mut bytes) = (0, parts.path_and_query.len());
        let mut length = None;
        for (name, value) in fields {
            count += 1;
            bytes += name.len() + value.len() + 32; // RFC 9113 6.5.2: what a field costs
            if count > limits.fields_max {
                return Err(Malformed::TooManyFields { max: limits.fields_max });
            }
            if bytes > limits.head_bytes_max + 32 * limits.fields_max {
                return Err(Malformed::HeadTooLarge { max: limits.head_bytes_max });
            }
            // Upper case does not exist here (RFC 9113 8.2.1): a name that slips past our own comparisons must not go on.
            if name.is_empty()
                || !name.bytes().all(|byte| TOKEN_LOWER[usize::from(byte)] == byte && byte != 0)
            {
                return Err(Malformed::FieldName);
            }
            if !is_field_value(value) {
                return Err(Malformed::FieldValue { name: name.to_owned() });
            }
            match name {
                "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
                    return Err(Malformed::ConnectionField { name: name.to_owned() });
                }
                "te" if value.eq_ignore_ascii_case(b"trailers") => self.accepts_trailers = true,
                "te" => return Err(Malformed::ConnectionField { name: name.to_owned() }),
                "host" if host.is_some() => return Err(Malformed::HostRepeated),
                "host" => host = Some(value),
                "content-length" if length.is_some() => return Err(Malformed::ContentLength),
                "content-length" => length = Some(parse_length(value).ok_or(Malformed::ContentLength)?),
                "expect" => self.expects_continue = expects_continue(value)?,
                "proxy" => {}
                _ if name.contains('_') => {}
                _ => {
                    cookies += usize::from(name == "cookie");
                    self.push_field(name, value);
                }
            }
        }
        if cookies > 1 {
            self.join_cookies();
        }
        match (parts.authority, host) {
            (Some(authority), host) => {
                self.set_authority(authority.as_bytes())?;
                if let Some(host) = host
                    && !self.same_authority(host)?
                {
                    return Err(Malformed::HostDiffers);
                }
            }
            (None, Some(host)) => self.set_authority(host)?,
            (None, None) => return Err(Malformed::HostMissing),
        }
        self.framing = match (parts.ended, length) {
            (true, None | Some(0)) => Framing::None,
            (true, Some(_)) => return Err(Malformed::ContentLength),
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Stream,
        };
        match (self.method, parts.protocol) {
            (Method::Connect, None) => return Err(Malformed::Connect), // no forward proxy here
            (Method::Connect, Some(protocol)) if protocol.bytes().all(is_token_byte) => {
                self.protocol = Some(self.store_lower(protocol.as_bytes()));
            }
            (_, Some(_)) => return Err(Malformed::Connect), // RFC 8441 4: of CONNECT only
            (_, None) => {}
        }
        if self.method == Method::Options && parts.path_and_query == "*" {
            self.path = self.store(b"*");
            self.target = self.path;
            return Ok(());
        }
        self.set_target(parts.path_and_query.as_bytes())
    }
}
