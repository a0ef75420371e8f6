//! IRC, as far as a crowd in a channel needs it.
//!
//! **Job.** Register, join the seat's channel, PRIVMSG; a delivery is a line with a stamp.

use super::{Heard, Seat, Talk, Trouble, What, put, stamp};

const REGISTER: u8 = 0;
const JOIN: u8 = 1;

pub(super) fn begin(seat: Seat, out: &mut Vec<u8>) {
    put!(out, "NICK m{0}\r\nUSER m{0} 0 * :m{0}\r\n", seat.number);
}

pub(super) fn hear(seat: Seat, talk: &mut Talk, input: &[u8], out: &mut Vec<u8>) -> Result<Heard, Trouble> {
    let Some(end) = memchr::memchr(b'\n', input) else { return Ok(Heard::MORE) };
    let (line, bytes) = (&input[..end], end + 1);
    if let Some(stamp) = stamp::find(line) {
        return Ok(Heard::new(bytes, What::Delivered(stamp)));
    }
    let mut words = line.split(|byte| *byte == b' ' || *byte == b'\r').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let (command, parameter) = match first {
        [b':', ..] => (words.next().unwrap_or_default(), b"".as_slice()),
        plain => (plain, words.next().unwrap_or_default()),
    };
    let what = match command {
        b"PING" => {
            out.extend_from_slice(&[b"PONG ", parameter, b"\r\n"].concat());
            What::Nothing
        }
        // The end of the message of the day, or that there is none.
        b"376" | b"422" if talk.step == REGISTER => {
            talk.step = JOIN;
            put!(out, "JOIN #r{}\r\n", seat.room);
            What::Nothing
        }
        b"366" if talk.step == JOIN => {
            talk.step += 1;
            What::Ready
        }
        b"ERROR" | b"FAIL" => return Err(Trouble::said(line)),
        [b'4', _, _] if command != b"422" => return Err(Trouble::said(line)),
        _ => What::Nothing,
    };
    Ok(Heard::new(bytes, what))
}

pub(super) fn say(seat: Seat, text: &[u8], out: &mut Vec<u8>) {
    put!(out, "PRIVMSG #r{} :", seat.room);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}
