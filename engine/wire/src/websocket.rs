//! Websocket frames of a server (RFC 6455 5): reading a client's, writing our own.
//!
//! **Job.** Say what the next frame in a buffer is, put messages together, write frames. **Called by** `http::websocket`.
//! **Calls** nothing of ours.
//!
//! Invariants
//! 1. What a client sends is masked, uses no extension, and a control frame is short and whole: else it is refused.
//! 2. A message is never larger than the limit, and one of text is UTF-8.
//! 3. A reader between two messages holds no memory.
//!
//! Not here: the handshake and the socket (`http::websocket`), compression (no extension is ever agreed on).

/// A control frame's payload (RFC 6455 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// What a server's own frame begins with at most.
pub const HEAD_BYTES_MAX: usize = 10;

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message.
    Text(String),
    /// A whole message.
    Binary(Vec<u8>),
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// An answer to a ping of ours, or a sign of life.
    Pong(Vec<u8>),
    /// The client ends; with its code, if it gave one.
    Close(Option<u16>),
}

/// Why a client's frames are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A reserved bit is set, and no extension was agreed on.
    Reserved,
    /// An opcode that means nothing.
    Opcode(u8),
    /// A client's frame without a mask.
    Unmasked,
    /// A control frame in pieces, or of more than 125 bytes.
    Control,
    /// A piece of a message that has not begun, or a message within another.
    Sequence,
    /// A length in a longer form than it needs.
    Length,
    /// A message of more than `max` bytes.
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// Text that is not UTF-8.
    Utf8,
    /// A close frame of one byte, or with a code that may not be sent.
    CloseCode,
}

impl FrameError {
    /// A stable name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserved => "websocket-reserved-bit",
            Self::Opcode(_) => "websocket-opcode",
            Self::Unmasked => "websocket-unmasked",
            Self::Control => "websocket-control-frame",
            Self::Sequence => "websocket-sequence",
            Self::Length => "websocket-length",
            Self::TooLarge { .. } => "websocket-message-too-large",
            Self::Utf8 => "websocket-not-utf8",
            Self::CloseCode => "websocket-close-code",
        }
    }

    /// The code of the close frame that answers it (RFC 6455 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::TooLarge { .. } => 1009,
            Self::Utf8 => 1007,
            _ => 1002,
        }
    }
}

/// What the front of a buffer was.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// So many bytes are done with.
    pub bytes: usize,
    /// What they ended, if anything; `None` with `bytes` 0: more are needed.
    pub event: Option<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// Puts a client's frames together.
#[derive(Debug)]
pub struct Reader {
    message: Vec<u8>,
    /// Of the message that has begun.
    kind: Option<Kind>,
    message_bytes_max: usize,
}

struct Head {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    head_bytes: usize,
    payload_bytes: usize,
}

impl Reader {
    /// A reader that takes messages of at most so many bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message: Vec::new(), kind: None, message_bytes_max }
    }

    /// Reads the front of `input`, whose bytes it may change. A frame is taken only when it is there as a whole, so a buffer
    /// of the message limit and a head always suffices.
    ///
    /// # Errors
    /// [`FrameError`]: the connection has to be ended with its close code; nothing behind it is read.
    pub fn take(&mut self, input: &mut [u8]) -> Result<Taken, FrameError> {
        let Some(head) = self.head(input)? else { return Ok(Taken { bytes: 0, event: None }) };
        let bytes = head.head_bytes + head.payload_bytes;
        let Some(payload) = input.get_mut(head.head_bytes..bytes) else {
            return Ok(Taken { bytes: 0, event: None });
        };
        unmask(payload, head.mask);
        let event =
            if head.opcode >= 8 { Some(control(head.opcode, payload)?) } else { self.data(&head, payload)? };
        Ok(Taken { bytes, event })
    }

    /// Whether a message has begun and its end is awaited.
    pub fn is_within_message(&self) -> bool {
        self.kind.is_some()
    }

    fn head(&self, input: &[u8]) -> Result<Option<Head>, FrameError> {
        let [first, second, rest @ ..] = input else { return Ok(None) };
        let (fin, opcode, short) = (first & 0x80 != 0, first & 0x0f, usize::from(second & 0x7f));
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        if matches!(opcode, 3..=7 | 11..=15) {
            return Err(FrameError::Opcode(opcode));
        }
        if second & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        if opcode >= 8 && (!fin || short > CONTROL_BYTES_MAX) {
            return Err(FrameError::Control);
        }
        if opcode < 8 && (opcode == 0) != self.kind.is_some() {
            return Err(FrameError::Sequence);
        }
        let (length, length_bytes) = match short {
            126 => match rest {
                [a, b, ..] => (u64::from(u16::from_be_bytes([*a, *b])), 2),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(eight) => (u64::from_be_bytes(*eight), 8),
                None => return Ok(None),
            },
            short => (short as u64, 0),
        };
        if (short == 126 && length < 126) || (short == 127 && (length <= 0xffff || length >> 63 != 0)) {
            return Err(FrameError::Length);
        }
        // Refused by its head: nobody waits for bytes that would not be taken.
        let max = self.message_bytes_max;
        let room = max.saturating_sub(self.message.len());
        let payload_bytes = usize::try_from(length).ok().filter(|bytes| opcode >= 8 || *bytes <= room);
        let Some(payload_bytes) = payload_bytes else { return Err(FrameError::TooLarge { max }) };
        let Some(mask) = rest[length_bytes..].first_chunk::<4>() else { return Ok(None) };
        Ok(Some(Head { fin, opcode, mask: *mask, head_bytes: 2 + length_bytes + 4, payload_bytes }))
    }

    fn data(&mut self, head: &Head, payload: &[u8]) -> Result<Option<Event>, FrameError> {
        let kind = match head.opcode {
            1 => Kind::Text,
            2 => Kind::Binary,
            _ => self.kind.unwrap_or(Kind::Binary),
        };
        self.message.extend_from_slice(payload);
        if !head.fin {
            self.kind = Some(kind);
            return Ok(None);
        }
        self.kind = None;
        let message = std::mem::take(&mut self.message);
        Ok(Some(match kind {
            Kind::Text => Event::Text(String::from_utf8(message).map_err(|_| FrameError::Utf8)?),
            Kind::Binary => Event::Binary(message),
        }))
    }
}

fn control(opcode: u8, payload: &[u8]) -> Result<Event, FrameError> {
    Ok(match opcode {
        9 => Event::Ping(payload.to_vec()),
        10 => Event::Pong(payload.to_vec()),
        _ => Event::Close(match payload {
            [] => None,
            [_] => return Err(FrameError::CloseCode),
            [a, b, reason @ ..] => {
                let code = u16::from_be_bytes([*a, *b]);
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(FrameError::CloseCode);
                }
                std::str::from_utf8(reason).map_err(|_| FrameError::Utf8)?;
                Some(code)
            }
        }),
    })
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    // Eight at once: the optimiser makes wide instructions of it.
    let word = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for eight in words {
        *eight = (u64::from_ne_bytes(*eight) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// A message of text as one frame; the same bytes for every client.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_frame(out, 1, text);
}

/// A message of bytes as one frame.
pub fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    write_frame(out, 2, bytes);
}

/// The answer to a ping.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_frame(out, 10, payload);
}

/// Asks for a sign of life.
pub fn write_ping(out: &mut Vec<u8>) {
    write_frame(out, 9, b"");
}

/// The end, with its code and a reason that is cut to what fits.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let fits = reason.floor_char_boundary(CONTROL_BYTES_MAX - 2);
    let mut payload = Vec::with_capacity(2 + fits);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..fits]);
    write_frame(out, 8, &payload);
}

fn write_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.reserve(HEAD_BYTES_MAX + payload.len());
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 70_000;

    /// A client's frame.
    fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, first & 0x0f, payload);
        out[0] = first;
        out[1] |= 0x80;
        let head = out.len() - payload.len();
        out.splice(head..head, mask);
        let masked = out.len() - payload.len();
        unmask(&mut out[masked..], mask);
        out
    }

    /// All events of these bytes, fed so many at a time.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<Event>, FrameError> {
        let (mut reader, mut buffer, mut events) = (Reader::new(MAX), Vec::new(), Vec::new());
        for piece in bytes.chunks(step.max(1)) {
            buffer.extend_from_slice(piece);
            loop {
                let taken = reader.take(&mut buffer)?;
                if taken.bytes == 0 {
                    break;
                }
                buffer.drain(..taken.bytes);
                events.extend(taken.event);
            }
        }
        Ok(events)
    }

    // Goal: the examples of RFC 6455 5.7 are read as it says.
    #[test]
    fn the_examples_of_the_rfc() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(read(&hello, 1), Ok(vec![Event::Text("Hello".to_owned())]));
        let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(read(&ping, 3), Ok(vec![Event::Ping(b"Hello".to_vec())]));
        let mut out = Vec::new();
        write_text(&mut out, b"Hello");
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    // Goal: what RFC 6455 forbids a client is refused by name, as early as its first bytes tell it.
    #[test]
    fn what_is_forbidden_is_refused_by_name() {
        let key = [1, 2, 3, 4];
        check(&[0xc1, 0x80], FrameError::Reserved);
        check(&[0x83, 0x80], FrameError::Opcode(3));
        check(&[0x81, 0x01], FrameError::Unmasked);
        check(&[0x09, 0x80], FrameError::Control);
        check(&[0x89, 0xfe], FrameError::Control);
        check(&[0x80, 0x80], FrameError::Sequence);
        check(&[frame(0x01, b"a", key), frame(0x81, b"b", key)].concat(), FrameError::Sequence);
        check(&[0x81, 0xfe, 0, 125], FrameError::Length);
        check(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], FrameError::Length);
        check(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x71], FrameError::TooLarge { max: MAX });
        let half = vec![b'a'; MAX];
        check(&[frame(0x02, &half, key), frame(0x80, b"b", key)].concat(), FrameError::TooLarge { max: MAX });
        check(&frame(0x81, b"\xff", key), FrameError::Utf8);
        check(&frame(0x88, b"\x03", key), FrameError::CloseCode);
        check(&frame(0x88, &1005_u16.to_be_bytes(), key), FrameError::CloseCode);
        check(&frame(0x88, b"\x03\xe8\xff", key), FrameError::Utf8);

        #[track_caller]
        fn check(bytes: &[u8], want: FrameError) {
            assert_eq!(read(bytes, bytes.len()), Err(want));
            assert_eq!(read(bytes, 1), Err(want), "byte by byte");
        }
    }

    // Goal: a text whose letters are split over frames is whole again, with a ping in between.
    #[test]
    fn control_frames_may_come_within_a_message() {
        let text = "마당".as_bytes();
        let bytes =
            [frame(0x01, &text[..4], [9; 4]), frame(0x89, b"p", [7; 4]), frame(0x80, &text[4..], [5; 4])]
                .concat();
        assert_eq!(read(&bytes, 2), Ok(vec![Event::Ping(b"p".to_vec()), Event::Text("마당".to_owned())]));
    }

    #[test]
    fn a_close_has_a_code_and_a_reason_that_fits() {
        let mut out = Vec::new();
        write_close(&mut out, 1008, &"가".repeat(60));
        assert_eq!((out[0], usize::from(out[1])), (0x88, out.len() - 2));
        assert!(std::str::from_utf8(&out[4..]).is_ok_and(|reason| reason.len() > 120));
        assert_eq!(
            read(&frame(0x88, &1000_u16.to_be_bytes(), [0; 4]), 1),
            Ok(vec![Event::Close(Some(1000))])
        );
        assert_eq!(read(&frame(0x88, b"", [0; 4]), 1), Ok(vec![Event::Close(None)]));
    }

    proptest! {
        // Goal: whatever is sent in whatever pieces, frames and masks comes out as it went in.
        #[test]
        fn messages_survive_any_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in prop::collection::vec(1_usize..90, 1..9),
            mask in any::<[u8; 4]>(),
            step in 1_usize..64,
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                let mut at = 0;
                for cut in &cuts {
                    let end = (at + cut).min(message.len());
                    bytes.extend(frame(if at == 0 { 2 } else { 0 }, &message[at..end], mask));
                    if end == at { break }
                    at = end;
                }
                // Only the first piece names its kind; an empty first piece has been sent already.
                bytes.extend(frame(0x80, &message[at..], mask));
            }
            let want: Vec<Event> = messages.into_iter().map(Event::Binary).collect();
            prop_assert_eq!(read(&bytes, step), Ok(want));
        }

        // Goal: no bytes make it panic or hold more than its limit.
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2_000), step in 1_usize..64) {
            let mut reader = Reader::new(500);
            let mut buffer = Vec::new();
            'all: for piece in bytes.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Ok(taken) = reader.take(&mut buffer) {
                    prop_assert!(reader.message.len() <= 500);
                    if taken.bytes == 0 { continue 'all }
                    buffer.drain(..taken.bytes);
                }
                break;
            }
        }
    }
}
