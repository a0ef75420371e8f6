//! Why a request is refused before anybody looks at what it asks for.
//!
//! **Job.** Name every refusal once: its fact, its status, its stable name for logs and metrics, its sentence for people.
//! **Filled by** `http1`, `parts`, `request`. **Read by** `http` (the answer), telemetry (the name).
//!
//! Invariants
//! 1. The status follows from the variant alone; no sentence is ever parsed back.
//! 2. Names are stable: dashboards and the corpus in `tests/corpus/http1` hold them.
//!
//! Not here: the checks themselves (`http1::head`, `http1::framing`, `parts`, `path`).

use std::fmt;

use crate::path::PathError;

/// Why a request is refused before anybody looks at what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// A line ended in LF without CR, or a CR stood alone.
    BareLineEnd,
    /// A field continued on the next line (RFC 9112 5.2).
    ObsoleteFolding,
    /// Not a method token, or over 32 bytes.
    Method,
    /// Not a request line.
    RequestLine,
    /// Neither HTTP/1.0 nor 1.1.
    Version,
    /// Not a field name, or a space before the colon.
    FieldName,
    /// A control byte in a value.
    FieldValue {
        /// Which field.
        name: String,
    },
    /// Both `transfer-encoding` and `content-length`.
    LengthAndChunked,
    /// Not one plain decimal number.
    ContentLength,
    /// `transfer-encoding` on HTTP/1.0, or `chunked` not last, or twice.
    TransferEncoding,
    /// A transfer coding we do not speak.
    UnknownCoding,
    /// No Host on HTTP/1.1, or none at all where one is needed.
    HostMissing,
    /// More than one.
    HostRepeated,
    /// Not `name[:port]`.
    Host,
    /// The target names another host than Host or `:authority`.
    HostDiffers,
    /// The target is none of the forms of RFC 9112 3.2, or has bytes it may not.
    Target,
    /// The path cannot be read in one way only.
    Path(PathError),
    /// Over `head_bytes_max`.
    HeadTooLarge {
        /// The limit.
        max: usize,
    },
    /// Over `headers_max`.
    TooManyFields {
        /// The limit.
        max: usize,
    },
    /// Over `uri_bytes_max`.
    TargetTooLong {
        /// The limit.
        max: usize,
    },
    /// An expectation other than 100-continue.
    Expectation,
    /// `connection` names a field that concerns both ends.
    ConnectionNames {
        /// The field.
        name: String,
    },
    /// `connection` names more fields than anybody honest would.
    ConnectionTooLong {
        /// The limit.
        max: usize,
    },
    /// HTTP/2 or 3: a field that only HTTP/1 has.
    ConnectionField {
        /// The field.
        name: String,
    },
    /// A field with this name came twice but may not.
    Repeated {
        /// The field.
        name: &'static str,
    },
    /// A CONNECT with a body or without host and port, or `:protocol` on another method.
    Connect,
}

impl Malformed {
    /// The status that refuses it.
    pub fn status(&self) -> u16 {
        match self {
            Self::TargetTooLong { .. } => 414,
            Self::HeadTooLarge { .. } | Self::TooManyFields { .. } => 431,
            Self::Expectation => 417,
            Self::UnknownCoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BareLineEnd => "bare-line-end",
            Self::ObsoleteFolding => "obsolete-folding",
            Self::Method => "bad-method",
            Self::RequestLine => "bad-request-line",
            Self::Version => "unsupported-version",
            Self::FieldName => "bad-field-name",
            Self::FieldValue { .. } => "bad-field-value",
            Self::LengthAndChunked => "length-and-chunked",
            Self::ContentLength => "bad-content-length",
            Self::TransferEncoding => "bad-transfer-encoding",
            Self::UnknownCoding => "unknown-transfer-coding",
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::Host => "bad-host",
            Self::HostDiffers => "host-differs",
            Self::Target => "bad-target",
            Self::Path(_) => "bad-path",
            Self::HeadTooLarge { .. } => "head-too-large",
            Self::TooManyFields { .. } => "too-many-fields",
            Self::TargetTooLong { .. } => "target-too-long",
            Self::Expectation => "unknown-expectation",
            Self::ConnectionNames { .. } => "connection-names-end-to-end-field",
            Self::ConnectionTooLong { .. } => "connection-names-too-many",
            Self::ConnectionField { .. } => "connection-specific-field",
            Self::Repeated { .. } => "repeated-field",
            Self::Connect => "bad-connect",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BareLineEnd => f.write_str("lines end in CR LF, here one did not"),
            Self::ObsoleteFolding => f.write_str("a header field continues on a second line"),
            Self::Method => f.write_str("the method is not a token"),
            Self::RequestLine => f.write_str("the first line is not `METHOD target HTTP/1.1`"),
            Self::Version => f.write_str("only HTTP/1.0 and HTTP/1.1 are spoken here"),
            Self::FieldName => f.write_str("a header field's name is not a token directly before its colon"),
            Self::FieldValue { name } => write!(f, "the field {name} holds a control character"),
            Self::LengthAndChunked => f.write_str("both Content-Length and Transfer-Encoding"),
            Self::ContentLength => f.write_str("Content-Length is not one decimal number"),
            Self::TransferEncoding => {
                f.write_str("Transfer-Encoding is not exactly one final `chunked` on HTTP/1.1")
            }
            Self::UnknownCoding => f.write_str("the only transfer coding understood is chunked"),
            Self::HostMissing => f.write_str("the Host field is missing"),
            Self::HostRepeated => f.write_str("more than one Host field"),
            Self::Host => f.write_str("Host is not `name` or `name:port`"),
            Self::HostDiffers => f.write_str("the request's target and its Host field name different hosts"),
            Self::Target => f.write_str("the request target has a form or a byte it may not have"),
            Self::Path(error) => error.fmt(f),
            Self::HeadTooLarge { max } => write!(f, "the request head is larger than {max} bytes"),
            Self::TooManyFields { max } => write!(f, "more than {max} header fields"),
            Self::TargetTooLong { max } => write!(f, "the request target is longer than {max} bytes"),
            Self::Expectation => f.write_str("the only expectation understood is 100-continue"),
            Self::ConnectionNames { name } => write!(f, "Connection may not name {name}"),
            Self::ConnectionTooLong { max } => write!(f, "Connection names more than {max} fields"),
            Self::ConnectionField { name } => {
                write!(f, "the field {name} does not exist in this version of HTTP")
            }
            Self::Repeated { name } => write!(f, "the field {name} may be there only once"),
            Self::Connect => f.write_str("CONNECT needs host:port and no body"),
        }
    }
}
impl std::error::Error for Malformed {}

impl From<PathError> for Malformed {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}
