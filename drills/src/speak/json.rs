//! Madang's JSON over websocket.
//!
//! **Job.** Hello as a guest, join the seat's room, send; tell deliveries from answers without reading JSON.
//!
//! Not here: resume, history, order (the drill of crashes checks those).

use memchr::memmem;

use super::{Heard, Seat, Talk, Trouble, What, frame, put, stamp};

const UPGRADE: u8 = 0;
const HELLO: u8 = 1;
const JOIN: u8 = 2;

pub(super) fn hear(seat: Seat, talk: &mut Talk, input: &[u8], out: &mut Vec<u8>) -> Result<Heard, Trouble> {
    if talk.step == UPGRADE {
        let Some(bytes) = frame::upgraded(input)? else { return Ok(Heard::MORE) };
        talk.step = HELLO;
        ask(talk, &format!(r#""do":"hello","name":"m{}""#, seat.number), out);
        return Ok(Heard::new(bytes, What::Nothing));
    }
    let Some(frame) = frame::take(input)? else { return Ok(Heard::MORE) };
    match frame.opcode {
        9 => frame::pong(frame.payload, out),
        8 => return Err(frame::closed(frame.payload)),
        _ => {}
    }
    let said = frame.payload;
    if let Some(stamp) = stamp::find(said) {
        return Ok(Heard::new(frame.bytes, What::Delivered(stamp)));
    }
    // An answer, as its first field tells; events have no id.
    if !said.starts_with(br#"{"id":"#) {
        return Ok(Heard::new(frame.bytes, What::Nothing));
    }
    if memmem::find(said, br#""ok":"#).is_none() {
        return Err(Trouble::said(said));
    }
    let what = match talk.step {
        HELLO => {
            talk.step = JOIN;
            ask(talk, &format!(r#""do":"join","room":"r{}""#, seat.room), out);
            What::Nothing
        }
        JOIN => {
            talk.step += 1;
            What::Ready
        }
        _ => What::Acked,
    };
    Ok(Heard::new(frame.bytes, what))
}

pub(super) fn say(seat: Seat, talk: &mut Talk, text: &[u8], out: &mut Vec<u8>) {
    let (text, nonce) = (String::from_utf8_lossy(text), talk.asked);
    ask(talk, &format!(r#""do":"send","room":"r{}","text":"{text}","nonce":"n{nonce}""#, seat.room), out);
}

fn ask(talk: &mut Talk, fields: &str, out: &mut Vec<u8>) {
    talk.asked += 1;
    let mut whole = Vec::with_capacity(fields.len() + 20);
    put!(whole, r#"{{"id":{},{fields}}}"#, talk.asked);
    frame::text(&whole, out);
}
