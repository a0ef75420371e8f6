//! The first message of a TLS connection, read without ending TLS: which name and protocols the client asks for.
//!
//! **Job.** Take the bytes of a connection's beginning as they come, say what the ClientHello asks for once it is whole.
//! **Called by** streams that route by name and leave TLS to their servers. **Calls** nothing of ours.
//!
//! Invariants
//! 1. However the bytes are cut into records and pieces, the answer is the same, and each byte is looked at once.
//! 2. It ends within [`WIRE_BYTES_MAX`]: an answer or an error, never more waiting.
//! 3. A hello that says two names, or a name that is none, is an error: the server behind might read another one.
//!
//! Not here: answering it (`host::tls`), which route a name has (roles). A name hidden by Encrypted ClientHello is not seen:
//! what is read then is the outer, public one.

use std::fmt;

/// The longest ClientHello, in bytes. Those with post-quantum key shares have about 1,800.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// The most that is read of a connection while its hello is not whole: headers of records come on top.
pub const WIRE_BYTES_MAX: usize = 2 * HELLO_BYTES_MAX;

/// The longest name (RFC 1035 2.3.4, without the root's dot).
const NAME_BYTES_MAX: usize = 253;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
/// RFC 8446 5.1: a record of plain text.
const RECORD_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// What a client asks for before anything is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The server's name (SNI, RFC 6066 3), lower case, without a dot at its end.
    pub server_name: Option<String>,
    /// The protocols it offers (ALPN, RFC 7301), its favourite first.
    pub alpn: Vec<Vec<u8>>,
}

/// Why it is not the beginning of a TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelloError {
    /// Does not begin like TLS at all.
    NotTls,
    /// A record or the message is not built as RFC 8446 4.1.2 and 5.1 have it.
    Malformed,
    /// Two names, or something that is no name of a server.
    Name,
    /// Over [`HELLO_BYTES_MAX`], or over [`WIRE_BYTES_MAX`] with its records.
    TooLarge,
}

impl HelloError {
    /// A stable name for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotTls => "not-tls",
            Self::Malformed => "bad-client-hello",
            Self::Name => "bad-server-name",
            Self::TooLarge => "client-hello-too-large",
        }
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("the connection does not begin with TLS"),
            Self::Malformed => f.write_str("the ClientHello is malformed"),
            Self::Name => f.write_str("the ClientHello does not name exactly one server"),
            Self::TooLarge => write!(f, "the ClientHello is larger than {HELLO_BYTES_MAX} bytes"),
        }
    }
}
impl std::error::Error for HelloError {}

/// Reads a ClientHello from the pieces of a connection's beginning.
#[derive(Debug, Default)]
pub struct HelloReader {
    header: [u8; RECORD_HEADER],
    header_have: usize,
    record_left: usize,
    wire: usize,
    message: Vec<u8>,
}

impl HelloReader {
    /// Takes the next bytes. `None`: more are needed. After an answer or an error it has nothing more to say.
    ///
    /// Costs one copy of each byte, and an allocation per [`ClientHello`] field.
    pub fn read(&mut self, mut more: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        while let Some((first, rest)) = more.split_first() {
            if self.record_left == 0 {
                self.header[self.header_have] = *first;
                self.header_have += 1;
                self.header_byte()?;
                more = rest;
                continue;
            }
            let (content, behind) = more.split_at(self.record_left.min(more.len()));
            self.record_left -= content.len();
            self.message.extend_from_slice(content);
            more = behind;
            if let Some(whole) = self.whole()? {
                return parse(whole).map(Some);
            }
        }
        Ok(None)
    }

    /// Judges the newest byte of a record's header.
    fn header_byte(&mut self) -> Result<(), HelloError> {
        let first_record = self.wire == 0;
        let wrong = if first_record { HelloError::NotTls } else { HelloError::Malformed };
        match self.header_have {
            1 if self.header[0] != HANDSHAKE => Err(wrong),
            // 3.0 to 3.3: what comes here has not said much for twenty years (RFC 8446 5.1).
            2 if self.header[1] != 3 => Err(wrong),
            RECORD_HEADER => {
                let length = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                self.wire += RECORD_HEADER + length;
                if length == 0 || length > RECORD_BYTES_MAX {
                    return Err(HelloError::Malformed);
                }
                if self.wire > WIRE_BYTES_MAX {
                    return Err(HelloError::TooLarge);
                }
                (self.record_left, self.header_have) = (length, 0);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The message without its header, once it is there.
    fn whole(&self) -> Result<Option<&[u8]>, HelloError> {
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::Malformed);
        }
        let Some((&[_, a, b, c], rest)) = self.message.split_first_chunk::<MESSAGE_HEADER>() else {
            return Ok(None);
        };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length + MESSAGE_HEADER > HELLO_BYTES_MAX {
            return Err(HelloError::TooLarge);
        }
        Ok(rest.get(..length))
    }
}

/// What is left of a message, read from its front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
    fn short(&mut self) -> Result<usize, HelloError> {
        Ok(usize::from(self.take(1)?[0]))
    }
    fn long(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
    /// A list with its length in two bytes before it.
    fn list(&mut self) -> Result<Fields<'a>, HelloError> {
        let length = self.long()?;
        self.take(usize::from(length)).map(Fields)
    }
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// RFC 8446 4.1.2, and RFC 5246 7.4.1.2 for those who have no extensions.
fn parse(message: &[u8]) -> Result<ClientHello, HelloError> {
    let mut fields = Fields(message);
    fields.take(2 + 32)?; // version, random
    let session = fields.short()?;
    let suites = fields.take(session).and_then(|_| fields.long())?;
    let compressions = fields.take(usize::from(suites)).and_then(|_| fields.short())?;
    fields.take(compressions)?;
    if session > 32 || suites == 0 || suites % 2 == 1 || compressions == 0 {
        return Err(HelloError::Malformed);
    }
    let mut hello = ClientHello::default();
    if fields.is_empty() {
        return Ok(hello);
    }
    let mut extensions = fields.list()?;
    if !fields.is_empty() {
        return Err(HelloError::Malformed);
    }
    let (mut named, mut offered) = (false, false);
    while !extensions.is_empty() {
        let kind = extensions.long()?;
        let content = extensions.list()?;
        match kind {
            SERVER_NAME if std::mem::replace(&mut named, true) => return Err(HelloError::Name),
            SERVER_NAME => hello.server_name = Some(server_name(content)?),
            ALPN if std::mem::replace(&mut offered, true) => return Err(HelloError::Malformed),
            ALPN => hello.alpn = protocols(content)?,
            _ => {}
        }
    }
    Ok(hello)
}

/// RFC 6066 3: a list in which only one kind of entry was ever defined, and one of a kind may be there.
fn server_name(mut content: Fields<'_>) -> Result<String, HelloError> {
    let mut names = content.list()?;
    let kind = names.short()?;
    let name = names.list()?.0;
    if kind != 0 || !names.is_empty() || !content.is_empty() {
        return Err(HelloError::Name);
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(fine) {
        return Err(HelloError::Name);
    }
    Ok(name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect())
}

/// RFC 7301 3.1.
fn protocols(mut content: Fields<'_>) -> Result<Vec<Vec<u8>>, HelloError> {
    let mut names = content.list()?;
    let mut offered = Vec::new();
    while !names.is_empty() {
        let length = names.short()?;
        let name = names.take(length)?;
        if name.is_empty() {
            return Err(HelloError::Malformed);
        }
        offered.push(name.to_vec());
    }
    if offered.is_empty() || !content.is_empty() {
        return Err(HelloError::Malformed);
    }
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(length: usize, content: &[u8]) -> Vec<u8> {
        [&(content.len() as u64).to_be_bytes()[8 - length..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with(2, content)].concat()
    }

    fn named(names: &[&str]) -> Vec<u8> {
        let entries: Vec<u8> =
            names.iter().flat_map(|name| [&[0][..], &with(2, name.as_bytes())].concat()).collect();
        extension(SERVER_NAME, &with(2, &entries))
    }

    fn message(extensions: &[u8]) -> Vec<u8> {
        let body =
            [&[3, 3][..], &[7; 32], &with(1, &[9; 32]), &with(2, &[0x13, 1]), &with(1, &[0]), extensions]
                .concat();
        [&[CLIENT_HELLO][..], &with(3, &body)].concat()
    }

    fn record(content: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE, 3, 1][..], &with(2, content)].concat()
    }

    fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        record(&message(&with(2, &extensions.concat())))
    }

    #[track_caller]
    fn check(bytes: &[u8], want: Result<Option<&str>, HelloError>) {
        let read = HelloReader::default().read(bytes);
        let name = read.as_ref().map(|hello| hello.as_ref().and_then(|hello| hello.server_name.as_deref()));
        assert_eq!(name, want.as_ref().map(|name| *name), "{read:?}");
        // Whatever it is, it is the same byte by byte.
        let mut reader = HelloReader::default();
        let one = bytes.chunks(1).map(|byte| reader.read(byte)).find(|answer| *answer != Ok(None));
        assert_eq!(one.unwrap_or(Ok(None)), read);
    }

    // Goal: the name is found whatever stands around it and however the message is cut into records.
    #[test]
    fn the_name_is_found_in_any_cut() {
        let alpn = extension(ALPN, &with(2, &[with(1, b"h2"), with(1, b"imap")].concat()));
        let key_share = extension(51, &[5; 1216]);
        check(&hello(&[named(&["b.test"])]), Ok(Some("b.test")));
        check(
            &hello(&[key_share.clone(), named(&["WWW.Example.org."]), alpn.clone()]),
            Ok(Some("www.example.org")),
        );
        check(&[hello(&[named(&["b.test"])]), b"early data".to_vec()].concat(), Ok(Some("b.test")));
        let whole = message(&with(2, &[key_share, alpn.clone(), named(&["b.test"])].concat()));
        for piece in [1, 2, 3, 5, 100, 512] {
            let records: Vec<u8> = whole.chunks(piece).flat_map(record).collect();
            check(&records, Ok(Some("b.test")));
        }
        let read = HelloReader::default().read(&hello(&[alpn])).unwrap().unwrap();
        assert_eq!(read, ClientHello { server_name: None, alpn: vec![b"h2".to_vec(), b"imap".to_vec()] });
        check(&hello(&[]), Ok(None));
        check(&record(&message(&[])), Ok(None));
    }

    // Negative space: what is no hello, or says two things, is told as early as it can be.
    #[test]
    fn what_is_no_hello_is_refused() {
        use HelloError::{Malformed, Name, NotTls, TooLarge};
        check(b"", Ok(None));
        check(b"GET / HTTP/1.1\r\n", Err(NotTls));
        check(&[0x80, 0x2e, 1], Err(NotTls));
        check(&[HANDSHAKE, 2], Err(NotTls));
        check(&record(&[2, 0, 0, 1, 0]), Err(Malformed));
        check(&record(&[]), Err(Malformed));
        check(&[HANDSHAKE, 3, 3, 0x40, 1], Err(Malformed));
        check(&[record(&[1]), vec![21]].concat(), Err(Malformed));
        check(&hello(&[named(&["a.test", "b.test"])]), Err(Name));
        check(&hello(&[named(&["a.test"]), named(&["b.test"])]), Err(Name));
        for name in ["", ".", "a b", "a\0", "a/b", "[::1]", "\u{e4}.test"] {
            check(&hello(&[named(&[name])]), Err(Name));
        }
        check(&hello(&[named(&[&"a".repeat(253)])]), Ok(Some(&"a".repeat(253))));
        check(&hello(&[named(&[&"a".repeat(255)])]), Err(Name));
        check(&record(&[1, 0, 0x40, 0]), Err(TooLarge));
        let many: Vec<u8> =
            message(&with(2, &extension(21, &[0; 7000]))).chunks(1).flat_map(record).collect();
        check(&many, Err(TooLarge));
        let whole = message(&with(2, &named(&["a.test"])));
        for cut in MESSAGE_HEADER..whole.len() {
            let short = [&[CLIENT_HELLO][..], &with(3, &whole[MESSAGE_HEADER..cut])].concat();
            let read = HelloReader::default().read(&record(&short));
            assert!(
                matches!(read, Err(Malformed)) || read == Ok(Some(ClientHello::default())),
                "{cut}: {read:?}"
            );
        }
        let longer = [&whole[MESSAGE_HEADER..], &[0]].concat();
        check(&record(&[&[CLIENT_HELLO][..], &with(3, &longer)].concat()), Err(Malformed));
    }
}
