//! The health service of gRPC: its question and its answer as bytes (grpc.health.v1).
//!
//! **Job.** Write `HealthCheckRequest`, read `HealthCheckResponse`: one field each. **Called by** `probe`. Pure.
//!
//! Not here: asking (`probe`, `http::upstream::http2::ask`), when (`health`).

use madang_http::upstream::http2::ask::Answer;

use crate::health::ProbeFailure;

/// `ServingStatus::SERVING`.
const SERVING: u64 = 1;

/// The question about a service, framed (a flag, four bytes of length); the empty name is the whole server.
pub(crate) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 4);
    if !service.is_empty() {
        message.push(0x0a); // field 1, bytes
        write_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0]; // not compressed
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.append(&mut message);
    framed
}

/// Whether the answer says SERVING.
pub(crate) fn judge(answer: &Answer) -> Result<(), ProbeFailure> {
    if answer.status != 200 {
        return Err(ProbeFailure::Status(answer.status));
    }
    let grpc_status = answer.fields.iter().find(|(name, _)| name == "grpc-status");
    match grpc_status.map(|(_, value)| value.as_str()) {
        Some("0") => {}
        // An unknown service (5), no such service at this server (12), or whatever else it has against us.
        Some(_) => return Err(ProbeFailure::NotServing),
        None => return Err(ProbeFailure::Nonsense),
    }
    let [0, a, b, c, d, message @ ..] = &answer.body[..] else { return Err(ProbeFailure::Nonsense) };
    if u32::from_be_bytes([*a, *b, *c, *d]) as usize != message.len() {
        return Err(ProbeFailure::Nonsense);
    }
    match serving_status(message) {
        Some(SERVING) => Ok(()),
        Some(_) => Err(ProbeFailure::NotServing),
        None => Err(ProbeFailure::Nonsense),
    }
}

/// Field 1 of the message; 0 (UNKNOWN) when it is not there. `None`: no such message.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = read_varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = read_varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(0x80 | u8::try_from(value & 0x7f).unwrap_or(0));
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(place * 7)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(status: u16, grpc_status: Option<&str>, body: &[u8]) -> Answer {
        let field = |value: &str| ("grpc-status".to_owned(), value.to_owned());
        Answer { status, fields: grpc_status.map(field).into_iter().collect(), body: body.to_vec() }
    }

    // Goal: the bytes are those of the protocol. Method: by hand from the two messages' definitions.
    #[test]
    fn the_question_names_the_service() {
        assert_eq!(request(""), b"\0\0\0\0\0");
        assert_eq!(request("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = request(&"x".repeat(200));
        assert_eq!(&long[..8], b"\0\0\0\0\xcb\x0a\xc8\x01");
    }

    // Goal: only SERVING is good, and nonsense is told apart from an honest no.
    #[test]
    fn only_serving_is_good() {
        use ProbeFailure::{Nonsense, NotServing, Status};
        check(200, Some("0"), b"\0\0\0\0\x02\x08\x01", Ok(()));
        check(200, Some("0"), b"\0\0\0\0\x05\x12\x01x\x08\x01", Ok(())); // an unknown field before it
        check(200, Some("0"), b"\0\0\0\0\x02\x08\x02", Err(NotServing));
        check(200, Some("0"), b"\0\0\0\0\x02\x08\x03", Err(NotServing));
        check(200, Some("0"), b"\0\0\0\0\0", Err(NotServing));
        check(200, Some("5"), b"", Err(NotServing));
        check(200, Some("12"), b"", Err(NotServing));
        check(200, None, b"\0\0\0\0\x02\x08\x01", Err(Nonsense));
        check(200, Some("0"), b"", Err(Nonsense));
        check(200, Some("0"), b"\0\0\0\0\x03\x08\x01", Err(Nonsense));
        check(200, Some("0"), b"\x01\0\0\0\x02\x08\x01", Err(Nonsense)); // compressed, which nobody asked for
        check(200, Some("0"), b"\0\0\0\0\x01\x08", Err(Nonsense));
        check(503, Some("0"), b"\0\0\0\0\x02\x08\x01", Err(Status(503)));

        #[track_caller]
        fn check(status: u16, grpc_status: Option<&str>, body: &[u8], want: Result<(), ProbeFailure>) {
            assert_eq!(judge(&answer(status, grpc_status, body)), want, "{body:?}");
        }
    }

    proptest! {
        // Goal: no bytes break the reader, and what the writer writes is read back.
        #[test]
        fn numbers_come_back_and_noise_breaks_nothing(value: u64, noise in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, value);
            prop_assert_eq!(read_varint(&mut &bytes[..]), Some(value));
            let _ = judge(&answer(200, Some("0"), &noise));
        }
    }
}
