//! The cookie that keeps a client at its server.
//!
//! **Job.** Write the cookie for a server and read it back. **Called by** the proxy: before `pick` (reading), with the answer
//! (writing). **Calls** aws-lc-rs (HMAC-SHA256).
//!
//! The value is base64url of: mark (8 bytes), expiry (8, seconds since 1970, 0: never), tag (16). The mark is a keyed hash of
//! the server, so the cookie does not give its address away, not even to somebody who guesses it.
//!
//! Invariants
//! 1. A value is believed only when its tag is right, compared in constant time, and not over.
//! 2. A value of another pool or another secret is forged.
//!
//! Not here: finding the cookie in a request, whether the server can be used (`pick`).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Sticky;
use crate::pool::Pool;
use crate::server::ServerId;

const MARK: usize = 8;
const SIGNED: usize = MARK + 8;
const WHOLE: usize = SIGNED + 16;
/// Characters of every value.
pub const VALUE_CHARS: usize = (WHOLE * 4).div_ceil(3);

/// Why a value is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not of our form.
    Malformed,
    /// Not signed by us, for this pool.
    Forged,
    /// Its time is over.
    Expired,
    /// Its server is not in the pool any more.
    Gone,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a cookie of ours",
            Self::Forged => "the signature is wrong",
            Self::Expired => "its time is over",
            Self::Gone => "its server is gone",
        })
    }
}

/// Writes and reads the cookies of one snapshot of a pool.
pub struct StickyCookies {
    key: hmac::Key,
    pool: Box<str>,
    name: Box<str>,
    ttl: Duration,
    marks: Vec<([u8; MARK], ServerId)>,
}

impl fmt::Debug for StickyCookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StickyCookies({:?} of {:?}, {} servers)", self.name, self.pool, self.marks.len())
    }
}

impl StickyCookies {
    /// For a pool that sticks by cookie; `None` for others. Keep the secret over restarts: with another one every client
    /// starts anew.
    pub fn new(pool: &Pool, secret: &[u8; 32]) -> Option<Self> {
        let Sticky::Cookie { name, ttl } = &pool.settings().sticky else { return None };
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let name_of_pool = &pool.settings().name;
        let mark = |id: ServerId| {
            let mut context = hmac::Context::with_key(&key);
            begin(&mut context, b"server", name_of_pool);
            context.update(&id.0.to_be_bytes());
            let (mark, _) =
                context.sign().as_ref().split_first_chunk().map_or(([0; MARK], ()), |(m, _)| (*m, ()));
            mark
        };
        let marks =
            pool.members().iter().map(|member| (mark(member.server.id()), member.server.id())).collect();
        Some(Self { pool: (&**name_of_pool).into(), name: name.as_str().into(), ttl: *ttl, marks, key })
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value for a server; `None` when it is not in the pool.
    pub fn value(&self, server: ServerId, now_unix: u64) -> Option<String> {
        let (mark, _) = self.marks.iter().find(|(_, id)| *id == server)?;
        let expiry = if self.ttl.is_zero() { 0 } else { now_unix.saturating_add(self.ttl.as_secs().max(1)) };
        let mut whole = [0; WHOLE];
        whole[..MARK].copy_from_slice(mark);
        whole[MARK..SIGNED].copy_from_slice(&expiry.to_be_bytes());
        let tag = self.tag(&whole[..SIGNED]);
        whole[SIGNED..].copy_from_slice(&tag.as_ref()[..WHOLE - SIGNED]);
        Some(URL_SAFE_NO_PAD.encode(whole))
    }

    /// The Set-Cookie field for a server (RFC 6265 4.1). `secure`: the client came by TLS.
    pub fn set_cookie(&self, server: ServerId, secure: bool, now_unix: u64) -> Option<String> {
        let mut field =
            format!("{}={}; Path=/; HttpOnly; SameSite=Lax", self.name, self.value(server, now_unix)?);
        if secure {
            field.push_str("; Secure");
        }
        if !self.ttl.is_zero() {
            field.push_str(&format!("; Max-Age={}", self.ttl.as_secs().max(1)));
        }
        Some(field)
    }

    /// The server that a value names.
    ///
    /// # Errors
    /// [`Refused`]: the request goes where the pool's rule says, and gets a new cookie.
    pub fn read(&self, value: &[u8], now_unix: u64) -> Result<ServerId, Refused> {
        let mut whole = [0; WHOLE + 1];
        if value.len() != VALUE_CHARS || URL_SAFE_NO_PAD.decode_slice(value, &mut whole) != Ok(WHOLE) {
            return Err(Refused::Malformed);
        }
        let (signed, tag) = whole[..WHOLE].split_at(SIGNED);
        let right = self.tag(signed);
        verify_slices_are_equal(&right.as_ref()[..WHOLE - SIGNED], tag).map_err(|_| Refused::Forged)?;
        let (mark, expiry) = signed.split_at(MARK);
        let expiry = expiry.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        if expiry != 0 && now_unix >= expiry {
            return Err(Refused::Expired);
        }
        self.marks.iter().find(|(known, _)| known == mark).map(|(_, id)| *id).ok_or(Refused::Gone)
    }

    fn tag(&self, signed: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        begin(&mut context, b"cookie", &self.pool);
        context.update(signed);
        context.sign()
    }
}

/// What is signed begins with what it is for, and with the pool's name and its length: nothing can be moved between them.
fn begin(context: &mut hmac::Context, purpose: &[u8; 6], pool: &str) {
    context.update(b"madang balance 1 ");
    context.update(purpose);
    context.update(&(pool.len() as u64).to_be_bytes());
    context.update(pool.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Address, PoolSettings, ServerSettings};

    fn pool(name: &str, servers: &[&str], ttl: u64) -> Pool {
        let plain = |text: &&str| ServerSettings::plain(Address::parse(text).unwrap());
        let mut settings = PoolSettings::of(name, servers.iter().map(plain).collect());
        settings.sticky = Sticky::Cookie { name: "at".to_owned(), ttl: Duration::from_secs(ttl) };
        #[allow(clippy::disallowed_methods)] // any moment will do
        Pool::new(Arc::new(settings), Instant::now())
    }

    const SERVERS: [&str; 2] = ["10.0.0.1:80", "10.0.0.2:80"];

    // Goal: a cookie leads back to its server, and to nothing else. Method: write, change one thing, read.
    #[test]
    fn a_cookie_leads_back_to_its_server_until_it_is_over() {
        let pool = pool("p", &SERVERS, 60);
        let cookies = StickyCookies::new(&pool, &[7; 32]).unwrap();
        for member in pool.members() {
            let id = member.server.id();
            let value = cookies.value(id, 1000).unwrap();
            assert_eq!(value.len(), VALUE_CHARS);
            assert_eq!(cookies.read(value.as_bytes(), 1059), Ok(id));
            assert_eq!(cookies.read(value.as_bytes(), 1060), Err(Refused::Expired));
        }
        let id = pool.members()[0].server.id();
        let field = cookies.set_cookie(id, true, 1000).unwrap();
        let value = cookies.value(id, 1000).unwrap();
        assert_eq!(field, format!("at={value}; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60"));
        assert_eq!(cookies.value(ServerId(1), 1000), None);
    }

    #[test]
    fn another_pool_another_secret_and_a_server_that_left_are_told_apart() {
        let full = pool("p", &SERVERS, 0);
        let cookies = StickyCookies::new(&full, &[7; 32]).unwrap();
        let value = cookies.value(full.members()[0].server.id(), 0).unwrap();
        let read =
            |pool: &Pool, secret| StickyCookies::new(pool, &secret).unwrap().read(value.as_bytes(), u64::MAX);
        assert!(read(&full, [7; 32]).is_ok());
        assert_eq!(read(&full, [8; 32]), Err(Refused::Forged));
        assert_eq!(read(&pool("q", &SERVERS, 0), [7; 32]), Err(Refused::Forged));
        assert_eq!(read(&pool("p", &SERVERS[1..], 0), [7; 32]), Err(Refused::Gone));
    }

    proptest! {
        #[test]
        fn a_changed_value_is_never_believed(at in 0..VALUE_CHARS, with in "[A-Za-z0-9_-]") {
            let pool = pool("p", &SERVERS, 60);
            let cookies = StickyCookies::new(&pool, &[7; 32]).unwrap();
            let value = cookies.value(pool.members()[0].server.id(), 1000).unwrap();
            let mut changed = value.clone();
            changed.replace_range(at..=at, &with);
            if changed != value {
                prop_assert!(cookies.read(changed.as_bytes(), 1000).is_err());
            }
        }

        #[test]
        fn no_value_breaks_the_reader(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let cookies = StickyCookies::new(&pool("p", &SERVERS, 60), &[7; 32]).unwrap();
            prop_assert!(cookies.read(&value, 1000).is_err());
        }
    }
}
