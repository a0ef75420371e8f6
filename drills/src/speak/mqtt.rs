//! MQTT 3.1.1, as far as a crowd on a topic needs it.
//!
//! **Job.** Connect, subscribe to the seat's topic, publish; acknowledge what comes with QoS 1.

use super::{Heard, Seat, Talk, Trouble, What, stamp};

const CONNECTED: u8 = 2;
const PUBLISH: u8 = 3;
const ACKED: u8 = 4;
const SUBSCRIBED: u8 = 9;

pub(super) fn begin(seat: Seat, out: &mut Vec<u8>) {
    let mut rest = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0]; // version 3.1.1, clean session, no keep-alive
    text(&format!("m{}", seat.number), &mut rest);
    packet(0x10, &rest, out);
}

pub(super) fn hear(seat: Seat, qos: u8, input: &[u8], out: &mut Vec<u8>) -> Result<Heard, Trouble> {
    let Some((length, head)) = length(input) else { return Ok(Heard::MORE) };
    let bytes = head + length;
    let Some(rest) = input.get(head..bytes) else { return Ok(Heard::MORE) };
    let what = match input[0] >> 4 {
        CONNECTED if rest == [0, 0] => {
            let mut subscription = vec![0, 1];
            text(&topic(seat), &mut subscription);
            subscription.push(qos);
            packet(0x82, &subscription, out);
            What::Nothing
        }
        SUBSCRIBED if rest == [0, 1, qos] => What::Ready,
        PUBLISH => {
            let Some(topic_bytes) = rest.first_chunk::<2>().map(|two| usize::from(u16::from_be_bytes(*two)))
            else {
                return Err(Trouble::said(rest));
            };
            if input[0] & 0x06 == 2 {
                match rest.get(2 + topic_bytes..4 + topic_bytes) {
                    Some(id) => out.extend_from_slice(&[0x40, 2, id[0], id[1]]),
                    None => return Err(Trouble::said(rest)),
                }
            }
            stamp::find(rest).map_or(What::Nothing, What::Delivered)
        }
        ACKED => What::Acked,
        _ => return Err(Trouble { said: format!("packet {:02x} with {rest:02x?}", input[0]) }),
    };
    Ok(Heard::new(bytes, what))
}

pub(super) fn say(seat: Seat, talk: &mut Talk, qos: u8, said: &[u8], out: &mut Vec<u8>) {
    talk.asked += 1;
    let mut rest = Vec::with_capacity(said.len() + 16);
    text(&topic(seat), &mut rest);
    if qos > 0 {
        // Numbers come round: never 0, and far apart from those under way.
        let id = u16::try_from(talk.asked % 65_535).unwrap_or_default() + 1;
        rest.extend_from_slice(&id.to_be_bytes());
    }
    rest.extend_from_slice(said);
    packet(0x30 | qos << 1, &rest, out);
}

fn topic(seat: Seat) -> String {
    format!("r{}", seat.room)
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(first: u8, rest: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let mut left = rest.len();
    while left >= 128 {
        out.push(0x80 | u8::try_from(left % 128).unwrap_or_default());
        left /= 128;
    }
    out.push(u8::try_from(left).unwrap_or_default());
    out.extend_from_slice(rest);
}

/// The remaining length, and how many bytes come before it ends (MQTT 2.2.3).
fn length(input: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, byte) in input.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((length, at + 2));
        }
    }
    None
}
