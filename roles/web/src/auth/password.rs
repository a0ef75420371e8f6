//! Argon2 (RFC 9106): making hashes, and checking passwords against them off the workers.
//!
//! **Job.** The slow and memory-hungry part of a login, with a bound on how much of it goes on at once.
//! **Called by** `auth`, by settings (is this a hash?) and by `madang hash`.
//!
//! Invariants
//! 1. In the whole process at most [`AT_ONCE`] checks run and [`WAITING_MAX`] wait; one more is refused at once.
//! 2. A client that goes away while it waits gives its place back; a check that runs keeps its place until it ends.
//! 3. A hash that would take more than [`MEMORY_KIB_MAX`] is refused when the settings are read.
//!
//! Not here: who is asked about (`auth`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

/// Checks that run at once: each takes a core and, with usual hashes, 19 MiB.
const AT_ONCE: usize = 2;
/// Checks that wait. At 30 ms each the last one waits about a second.
const WAITING_MAX: usize = 64;
/// Memory one check may take, in KiB.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Passes over the memory one check may take.
const PASSES_MAX: u32 = 64;

/// Why a text is no hash that can be used, or none could be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashError {
    /// Not a PHC string.
    Malformed,
    /// Another algorithm.
    Algorithm {
        /// Its name.
        found: String,
    },
    /// Parameters that argon2 does not have, or that would take too much.
    Parameters,
    /// No randomness for a salt, or no memory.
    Failed,
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => {
                f.write_str("not a password hash of the form $argon2id$v=19$m=…,t=…,p=…$salt$hash")
            }
            Self::Algorithm { found } => write!(f, "{found} is not argon2id, argon2i or argon2d"),
            Self::Parameters => {
                write!(
                    f,
                    "argon2 parameters out of range: m at most {MEMORY_KIB_MAX}, t at most {PASSES_MAX}"
                )
            }
            Self::Failed => f.write_str("no hash could be made: no randomness or no memory"),
        }
    }
}
impl std::error::Error for HashError {}

/// Whether passwords can be checked against this.
///
/// # Errors
/// A [`HashError`] that says what is wrong with it.
pub fn check_hash(hash: &str) -> Result<(), HashError> {
    let parsed = PasswordHash::new(hash).map_err(|_| HashError::Malformed)?;
    if Algorithm::try_from(parsed.algorithm.as_str()).is_err() {
        return Err(HashError::Algorithm { found: parsed.algorithm.as_str().to_owned() });
    }
    let params = Params::try_from(&parsed).map_err(|_| HashError::Parameters)?;
    if parsed.hash.is_none() || parsed.salt.is_none() {
        return Err(HashError::Malformed);
    }
    let fits = params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX;
    if fits { Ok(()) } else { Err(HashError::Parameters) }
}

/// An argon2id hash of a password (RFC 9106, OWASP's parameters: 19 MiB, 2 passes) as a PHC string. Takes about 30 ms.
///
/// # Errors
/// [`HashError::Failed`] without randomness.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|_| HashError::Failed)
}

fn is_right(hash: &str, password: &[u8]) -> bool {
    // The parameters are the hash's own; the comparison takes the same time wherever two outputs differ.
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Too many wait.
    Queue,
    /// The check itself broke off.
    Failed,
}

/// Where passwords are checked; one for the process.
#[derive(Debug)]
pub(crate) struct Desk {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Desk {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), waiting: AtomicUsize::new(0) }
    }
}

/// A place in the waiting line; given back when dropped.
struct Waiting<'d>(&'d AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Desk {
    /// Checks a password on a thread of its own.
    ///
    /// # Errors
    /// [`Busy::Queue`] at once when the line is full.
    pub(crate) async fn check(this: &Arc<Self>, hash: Arc<str>, password: Box<[u8]>) -> Result<bool, Busy> {
        let place = match Arc::clone(&this.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let joined = this.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                    (waiting < WAITING_MAX).then_some(waiting + 1)
                });
                joined.map_err(|_| Busy::Queue)?;
                let _waiting = Waiting(&this.waiting);
                Arc::clone(&this.places).acquire_owned().await.map_err(|_| Busy::Failed)?
            }
        };
        let check = tokio::task::spawn_blocking(move || {
            let right = is_right(&hash, &password);
            drop(place);
            right
        });
        check.await.map_err(|_| Busy::Failed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// A hash with parameters that keep tests quick.
    pub(crate) fn cheap_hash(password: &str) -> String {
        let argon2 =
            Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let hash: PasswordHash = argon2.hash_password(password.as_bytes()).unwrap();
        hash.to_string()
    }

    // Goal: what is made can be checked, and twice the same password gives two hashes.
    #[test]
    fn made_hashes_are_good_hashes() {
        let (one, two) = (cheap_hash("secret"), cheap_hash("secret"));
        assert_ne!(one, two);
        assert_eq!(check_hash(&one), Ok(()));
        assert!(is_right(&one, b"secret") && is_right(&two, b"secret") && !is_right(&one, b"Secret"));
    }

    // Goal: what is no argon2 hash, or one that would take the machine down, is refused by name.
    #[test]
    fn bad_hashes_are_refused_when_settings_are_read() {
        let good = cheap_hash("secret");
        check("secret", HashError::Malformed);
        check("", HashError::Malformed);
        check("$argon2id$v=19$m=8,t=1,p=1", HashError::Malformed);
        check(&good.replace("argon2id", "scrypt"), HashError::Algorithm { found: "scrypt".to_owned() });
        check(&good.replace("m=8", "m=1048577"), HashError::Parameters);
        check(&good.replace("t=1", "t=65"), HashError::Parameters);
        check(&good.replace("m=8", "m=1"), HashError::Parameters);

        #[track_caller]
        fn check(hash: &str, want: HashError) {
            assert_eq!(check_hash(hash), Err(want), "{hash}");
        }
    }

    // Goal: with all places taken the line fills to its bound, the next is refused, and who leaves makes room.
    // Method: take the places by hand; poll checks once each, so that they stand in line; drop one.
    #[test]
    fn the_line_is_bounded_and_leaving_makes_room() {
        let desk = Arc::new(Desk::default());
        let hash: Arc<str> = cheap_hash("secret").into();
        let taken = Arc::clone(&desk.places).try_acquire_many_owned(2).unwrap();
        let check = || Box::pin(Desk::check(&desk, Arc::clone(&hash), Box::from(*b"secret")));
        let mut cx = Context::from_waker(Waker::noop());
        let mut line: Vec<_> = (0..WAITING_MAX).map(|_| check()).collect();
        assert!(line.iter_mut().all(|waiting| waiting.as_mut().poll(&mut cx).is_pending()));
        assert_eq!(pin!(check()).as_mut().poll(&mut cx), Poll::Ready(Err(Busy::Queue)));
        line.pop();
        let mut next = check();
        assert!(next.as_mut().poll(&mut cx).is_pending());
        drop((taken, line));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(next), Ok(true));
        assert_eq!(desk.waiting.load(Ordering::Acquire), 0);
    }
}
