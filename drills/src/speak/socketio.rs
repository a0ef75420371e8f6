//! socket.io 4 (engine.io 4) over websocket, as `benches/chat/socketio.js` serves it.
//!
//! **Job.** Open, connect, `join` a room, `say` something; what others said comes as the event `said`.

use memchr::memmem;

use super::{Heard, Seat, Talk, Trouble, What, frame, stamp};

const UPGRADE: u8 = 0;
const OPEN: u8 = 1;
const CONNECT: u8 = 2;
const JOIN: u8 = 3;

pub(super) fn hear(seat: Seat, talk: &mut Talk, input: &[u8], out: &mut Vec<u8>) -> Result<Heard, Trouble> {
    if talk.step == UPGRADE {
        let Some(bytes) = frame::upgraded(input)? else { return Ok(Heard::MORE) };
        talk.step = OPEN;
        return Ok(Heard::new(bytes, What::Nothing));
    }
    let Some(frame) = frame::take(input)? else { return Ok(Heard::MORE) };
    if frame.opcode == 8 {
        return Err(frame::closed(frame.payload));
    }
    let said = frame.payload;
    if let Some(stamp) = stamp::find(said) {
        return Ok(Heard::new(frame.bytes, What::Delivered(stamp)));
    }
    let what = match said {
        // Its ping is a message of its own.
        b"2" => {
            frame::text(b"3", out);
            What::Nothing
        }
        [b'0', ..] if talk.step == OPEN => {
            talk.step = CONNECT;
            frame::text(b"40", out);
            What::Nothing
        }
        [b'4', b'0', ..] if talk.step == CONNECT => {
            talk.step = JOIN;
            frame::text(format!(r#"42["join","r{}"]"#, seat.room).as_bytes(), out);
            What::Nothing
        }
        _ if talk.step == JOIN && memmem::find(said, b"joined").is_some() => {
            talk.step += 1;
            What::Ready
        }
        [b'4', b'4' | b'1', ..] | [b'1', ..] => return Err(Trouble::said(said)),
        _ => What::Nothing,
    };
    Ok(Heard::new(frame.bytes, what))
}

pub(super) fn say(text: &[u8], out: &mut Vec<u8>) {
    frame::text(&[br#"42["say",""#, text, br#""]"#].concat(), out);
}
