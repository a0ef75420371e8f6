//! The laws of reading a ClientHello.
//!
//! **Job.** 1. However the bytes arrive, they are read the same. 2. There is an answer or an error within the most that is
//! read. 3. A name that was read is one spelling of a name; what is behind the hello does not change it.
//!
//! Not here: single messages with their known answers (the unit tests).

use madang_wire::client_hello::{ClientHello, HelloError, HelloReader, WIRE_BYTES_MAX};

use super::Pieces;

type Answer = Result<Option<ClientHello>, HelloError>;

/// A fuzzer's input: a byte that chooses the pieces, then the connection's beginning.
pub fn from_fuzz(data: &[u8]) {
    if let Some((pieces, bytes)) = data.split_first() {
        hold(bytes, Pieces::new(*pieces));
    }
}

/// All laws for one input.
pub fn hold(bytes: &[u8], mut pieces: Pieces) {
    let whole = HelloReader::default().read(bytes);
    assert_eq!(read(bytes, || pieces.next()), whole, "in pieces it reads differently");
    match &whole {
        Ok(None) => assert!(bytes.len() < WIRE_BYTES_MAX, "still waiting after {} bytes", bytes.len()),
        Ok(Some(hello)) => {
            if let Some(name) = &hello.server_name {
                assert!(!name.is_empty() && name.len() <= 253);
                assert!(name.bytes().all(|byte| !byte.is_ascii_uppercase() && byte.is_ascii_graphic()));
            }
            let longer = [bytes, b"\x16\x03\x01\0\x05\x02\0\0\x01\0"].concat();
            assert_eq!(HelloReader::default().read(&longer), whole, "what follows changed it");
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.name().is_empty()),
    }
}

/// The first answer other than "more" when the bytes come in these pieces.
fn read(bytes: &[u8], mut piece: impl FnMut() -> Option<usize>) -> Answer {
    let (mut reader, mut rest) = (HelloReader::default(), bytes);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().unwrap_or(1).min(rest.len()));
        match reader.read(now) {
            Ok(None) => rest = later,
            answer => return answer,
        }
    }
    Ok(None)
}
