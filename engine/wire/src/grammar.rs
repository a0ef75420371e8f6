//! The small grammars that heads are made of: tokens, field values, lengths, authorities (RFC 9110 5, RFC 3986 3.2).
//!
//! **Job.** Say yes or no to a handful of bytes. **Called by** `http1`, `parts`, `request`. **Calls** nothing of ours.
//!
//! Invariants
//! 1. Each answer has one reading: no sign, no space, no list where one number is wanted; no empty label in a host.
//!
//! Not here: paths (`path`), what a refusal is called (`malformed`).

use crate::malformed::Malformed;

/// The bytes of a token in lower case (RFC 9110 5.6.2), 0 for all others.
pub(crate) const TOKEN_LOWER: [u8; 256] = {
    let mut table = [0; 256];
    let marks = b"!#$%&'*+-.^_`|~";
    let mut i = 0;
    while i < marks.len() {
        table[marks[i] as usize] = marks[i];
        i += 1;
    }
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN_LOWER[usize::from(byte)] != 0
}

/// RFC 9110 5.5, RFC 9113 8.2.1: no control bytes but the tab, no white space around.
pub(crate) fn is_field_value(value: &[u8]) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !space(value.first())
        && !space(value.last())
        && !value.iter().any(|byte| matches!(byte, 0..=8 | 0x0a..=0x1f | 0x7f))
}

/// A method of sane length.
pub(crate) fn is_method(token: &[u8]) -> bool {
    !token.is_empty() && token.len() <= 32 && token.iter().all(|byte| is_token_byte(*byte))
}

/// Printable ASCII without space, `#`, quotes and brackets that no URI has. Raw backslashes are judged with the path.
pub(crate) fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e) && !matches!(byte, b'#' | b'<' | b'>' | b'"')
}

/// A plain decimal number: no sign, no space, no list.
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

pub(crate) fn expects_continue(value: &[u8]) -> Result<bool, Malformed> {
    if value.eq_ignore_ascii_case(b"100-continue") { Ok(true) } else { Err(Malformed::Expectation) }
}

/// Splits and checks `host[:port]`: a DNS-like name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn split_authority(raw: &[u8]) -> Result<(&[u8], Option<u16>), Malformed> {
    let (host, port) = if raw.first() == Some(&b'[') {
        let end = memchr::memchr(b']', raw).ok_or(Malformed::Host)?;
        ipv6(&raw[..=end]).ok_or(Malformed::Host)?;
        match &raw[end + 1..] {
            [] => (&raw[..=end], None),
            [b':', port @ ..] => (&raw[..=end], Some(port)),
            _ => return Err(Malformed::Host),
        }
    } else {
        match memchr::memchr(b':', raw) {
            None => (raw, None),
            Some(at) => (&raw[..at], Some(&raw[at + 1..])),
        }
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let bracketed = host.first() == Some(&b'[');
    // An empty label is no name, and `..` a step up for whoever keeps a folder per host.
    let empty_label = host.first() == Some(&b'.') || host.windows(2).any(|two| two == b"..");
    if host.is_empty() || host.len() > 255 || empty_label || !(bracketed || host.iter().all(plain)) {
        return Err(Malformed::Host);
    }
    let port = match port {
        // RFC 3986 3.2.3 allows an empty port; nothing sends one but attacks on parsers.
        None => None,
        Some(digits) if digits.len() <= 5 => {
            let number = parse_length(digits).ok_or(Malformed::Host)?;
            Some(u16::try_from(number).map_err(|_| Malformed::Host)?)
        }
        Some(_) => return Err(Malformed::Host),
    };
    Ok((host, port))
}

/// The address in `[…]`.
pub(crate) fn ipv6(host: &[u8]) -> Option<std::net::Ipv6Addr> {
    let inner = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inner).ok()?.parse().ok()
}
