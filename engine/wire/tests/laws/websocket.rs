//! The laws of a client's websocket frames.
//!
//! **Job.** 1. However frames arrive, they are read the same, refusal and all. 2. The reader agrees with a naive one, written here
//! from RFC 6455 5.2 to 5.5 with the whole input at hand. 3. No message is above the limit, and between two messages nothing is held.
//! 4. What we write a naive client reads as it was meant.
//!
//! Not here: single cases with known answers (the unit tests of `websocket.rs`).

use madang_wire::websocket::{Event, FrameError, Reader, write_close, write_ping, write_pong, write_text};

use super::Pieces;

const CONTROL_BYTES_MAX: usize = 125;

#[derive(Debug, PartialEq, Eq, Clone)]
enum End {
    Refused,
    Unfinished,
}

/// A byte that chooses the pieces, one that chooses the limit, then the frames.
pub fn from_fuzz(data: &[u8]) {
    let [pieces, limit, bytes @ ..] = data else { return };
    hold(bytes, usize::from(*limit) * 5, Pieces::new(*pieces));
}

/// All laws for one input.
pub fn hold(bytes: &[u8], message_bytes_max: usize, pieces: Pieces) {
    let (events, end, error) = read(bytes, message_bytes_max, std::iter::repeat(bytes.len().max(1)));
    let split = read(bytes, message_bytes_max, pieces);
    assert_eq!((&events, &end, error), (&split.0, &split.1, split.2), "in pieces it reads differently");

    let (naive_events, naive_end) = naive(bytes, message_bytes_max);
    assert_eq!((&events, &end), (&naive_events, &naive_end), "the naive reader says otherwise ({error:?})");

    if let Some(error) = error {
        assert!(error.name().starts_with("websocket-") && matches!(error.close_code(), 1002 | 1007 | 1009));
    }
    events.iter().for_each(written_reads_the_same);
}

/// What the reader says of bytes that arrive in such pieces.
fn read(
    bytes: &[u8],
    max: usize,
    mut pieces: impl Iterator<Item = usize>,
) -> (Vec<Event>, End, Option<FrameError>) {
    let (mut reader, mut buffer, mut events, mut seen) = (Reader::new(max), Vec::new(), Vec::new(), 0);
    loop {
        match reader.take(&mut buffer) {
            Err(error) => return (events, End::Refused, Some(error)),
            Ok(taken) if taken.bytes > 0 => {
                assert!(taken.bytes <= buffer.len(), "bytes that did not arrive");
                buffer.drain(..taken.bytes);
                if let Some(Event::Text(_) | Event::Binary(_)) = &taken.event {
                    let held = format!("{reader:?}");
                    assert!(held.contains("message: []"), "between two messages it holds {held}");
                }
                events.extend(taken.event);
            }
            Ok(taken) => {
                assert_eq!(taken.event, None, "an event out of nothing");
                assert!(
                    buffer.len() <= max.max(CONTROL_BYTES_MAX) + 14,
                    "a buffer of limit and head suffices"
                );
                if seen == bytes.len() {
                    return (events, End::Unfinished, None);
                }
                let more = (seen + pieces.next().unwrap_or(1)).min(bytes.len());
                // At once means at once as far as a connection's buffer goes.
                let room = (max.max(CONTROL_BYTES_MAX) + 14).saturating_sub(buffer.len()).max(1);
                let more = more.min(seen + room);
                buffer.extend_from_slice(&bytes[seen..more]);
                seen = more;
            }
        }
    }
}

/// The naive reader: frame after frame, each from all bytes behind the one before.
fn naive(bytes: &[u8], max: usize) -> (Vec<Event>, End) {
    let (mut events, mut rest) = (Vec::new(), bytes);
    let mut message: Option<(u8, Vec<u8>)> = None;
    loop {
        let [first, second, after @ ..] = rest else { return (events, End::Unfinished) };
        let (fin, opcode, masked, short) = (first >> 7 == 1, first & 15, second >> 7 == 1, second & 127);
        let is_control = opcode & 8 != 0;
        let known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
        let in_order = is_control || (opcode == 0) == message.is_some();
        if first & 0x70 != 0 || !known || !masked || is_control && (!fin || short > 125) || !in_order {
            return (events, End::Refused);
        }
        let digits = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(long) = after.get(..digits) else { return (events, End::Unfinished) };
        let length = long.iter().fold(0_u128, |sum, byte| sum * 256 + u128::from(*byte));
        let (length, least, most) = match short {
            126 => (length, 126, 0xffff),
            127 => (length, 0x1_0000, (1 << 63) - 1),
            short => (u128::from(short), 0, 125),
        };
        let begun = message.as_ref().map_or(0, |(_, begun)| begun.len());
        if length < least || length > most || !is_control && length + begun as u128 > max as u128 {
            return (events, End::Refused);
        }
        let length = usize::try_from(length).unwrap();
        let Some(mask) = after.get(digits..digits + 4) else { return (events, End::Unfinished) };
        let Some(payload) = after.get(digits + 4..digits + 4 + length) else {
            return (events, End::Unfinished);
        };
        let plain: Vec<u8> =
            payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        rest = &after[digits + 4 + length..];
        let event = match opcode {
            8 => closing(&plain),
            9 => Some(Event::Ping(plain)),
            10 => Some(Event::Pong(plain)),
            _ => {
                let (_, whole) = message.get_or_insert_with(|| (opcode, Vec::new()));
                whole.extend(plain);
                if !fin {
                    continue;
                }
                let (kind, whole) = message.take().unwrap();
                if kind == 1 {
                    String::from_utf8(whole).ok().map(Event::Text)
                } else {
                    Some(Event::Binary(whole))
                }
            }
        };
        let Some(event) = event else { return (events, End::Refused) };
        events.push(event);
    }
}

/// RFC 6455 5.5.1, 7.4: which codes a client may send.
fn closing(payload: &[u8]) -> Option<Event> {
    if payload.is_empty() {
        return Some(Event::Close(None));
    }
    let code = u16::from_be_bytes([payload[0], *payload.get(1)?]);
    let never_sent = [1004, 1005, 1006, 1015];
    let known = (1000..=1014).contains(&code) && !never_sent.contains(&code) || (3000..=4999).contains(&code);
    std::str::from_utf8(&payload[2..]).ok().filter(|_| known)?;
    Some(Event::Close(Some(code)))
}

/// A naive client: one frame, unmasked, whole, in the shortest form.
fn written_reads_the_same(event: &Event) {
    let (mut out, opcode, payload) = (Vec::new(), 0, Vec::new());
    let (opcode, payload) = match event {
        Event::Text(text) => {
            write_text(&mut out, text.as_bytes());
            (1, text.as_bytes().to_vec())
        }
        Event::Ping(payload) => {
            write_pong(&mut out, payload);
            (10, payload.clone())
        }
        Event::Pong(_) => {
            write_ping(&mut out);
            (9, payload)
        }
        Event::Close(code) => {
            write_close(&mut out, code.unwrap_or(1000), "가나");
            (8, [&code.unwrap_or(1000).to_be_bytes()[..], "가나".as_bytes()].concat())
        }
        Event::Binary(_) => (opcode, payload),
    };
    if opcode == 0 {
        return;
    }
    let length = payload.len();
    let head = match length {
        0..=125 => vec![0x80 | opcode, u8::try_from(length).unwrap()],
        126..=0xffff => [&[0x80 | opcode, 126][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
        _ => [&[0x80 | opcode, 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    assert_eq!(out, [head, payload].concat(), "a frame of ours");
}
