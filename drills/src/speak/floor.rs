//! The floor: a frame is passed on to everybody in the room as it came (`benches/chat/floor.c`).
//!
//! **Job.** Its frames: a server's websocket frames, so that the bytes are those of the others.

use super::{Heard, Trouble, What, frame, stamp};

pub(super) fn hear(input: &[u8]) -> Result<Heard, Trouble> {
    Ok(match frame::take(input)? {
        None => Heard::MORE,
        Some(frame) => {
            Heard::new(frame.bytes, stamp::find(frame.payload).map_or(What::Nothing, What::Delivered))
        }
    })
}

/// Unmasked: nobody reads it but the others.
pub(super) fn say(text: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match u8::try_from(text.len()) {
        Ok(length @ 0..=125) => out.push(length),
        _ => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}
