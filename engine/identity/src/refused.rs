//! Why somebody is not let in.
//!
//! **Job.** One error for every login, token and key: a stable name each, facts as fields, whose fault, whether to retry.
//! **Made by** every module here. **Read by** the HTTP face, roles and the log.
//!
//! Invariants
//! 1. What a guesser may learn is the same for "no such user", "wrong password" and "disabled": [`Refused::Login`].
//! 2. No token, password or key is in it.
//!
//! Not here: what goes wrong in managing users (`users::UserError`).

use std::fmt;
use std::time::Duration;

use madang_host::blame::{Blame, Retry};
use madang_store::error::StoreError;

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Nothing was shown.
    Nobody,
    /// Longer than any token.
    TokenTooLong {
        /// Its length, in bytes.
        length: usize,
    },
    /// Not three parts of base64url with JSON in them.
    TokenMalformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// `alg` is `none`: anybody could have written it.
    TokenUnsigned,
    /// Signed by an algorithm that its issuer's key is not for.
    TokenAlgorithm,
    /// It demands an extension that we do not know (`crit`, RFC 7515 4.1.11).
    TokenCritical,
    /// Its issuer is none of the settings'.
    TokenUnknownIssuer,
    /// It names a key that its issuer does not have, or none where there are several. Keys that are read by URL are asked
    /// for again.
    TokenUnknownKey,
    /// Keys of its issuer could not be read yet.
    TokenNoKeys,
    /// Not signed by that key.
    TokenSignature,
    /// A claim is not of the type it must have.
    TokenClaim {
        /// Which.
        claim: &'static str,
    },
    /// A claim that must be there is not.
    TokenClaimMissing {
        /// Which.
        claim: &'static str,
    },
    /// Its time is over.
    TokenExpired {
        /// For so many seconds.
        since_s: u64,
    },
    /// Its time has not come (`nbf`), or it was made in the future (`iat`).
    TokenNotYet {
        /// In so many seconds.
        in_s: u64,
    },
    /// Made for somebody else.
    TokenAudience,
    /// Logged out, disabled, removed, or the password changed since.
    TokenRevoked,
    /// Wrong name or password, a disabled user, or none of this name: which one is not told.
    Login,
    /// Too many failed logins.
    LoginWait {
        /// The next one is looked at then.
        wait: Duration,
    },
    /// As many passwords wait to be checked as may.
    LoginBusy {
        /// So many.
        waiting: usize,
        /// There may be a place then.
        wait: Duration,
    },
    /// A SCRAM message that is none.
    ScramMalformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// SCRAM is not offered (`[identity] scram`).
    ScramOff,
    /// Guests are not let in.
    GuestsOff,
    /// Not a name a guest may have.
    GuestName,
    /// Not a refresh token of ours.
    RefreshUnknown,
    /// It was used before: somebody else has it. The whole session is ended.
    RefreshReused,
    /// The session is over: logged out, expired, or the user changed.
    SessionOver,
    /// Not an API key of ours, or one that was revoked.
    KeyUnknown,
    /// The key's time is over.
    KeyExpired,
    /// Users cannot be asked for now.
    Store(StoreError),
    /// The machine gave no randomness, memory or thread.
    Failed {
        /// For what.
        what: &'static str,
    },
}

impl Refused {
    /// A stable kebab-case name, for logs, metrics and error answers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nobody => "not-logged-in",
            Self::TokenTooLong { .. } => "token-too-long",
            Self::TokenMalformed { .. } => "token-malformed",
            Self::TokenUnsigned => "token-unsigned",
            Self::TokenAlgorithm => "token-algorithm",
            Self::TokenCritical => "token-critical",
            Self::TokenUnknownIssuer => "token-unknown-issuer",
            Self::TokenUnknownKey => "token-unknown-key",
            Self::TokenNoKeys => "token-no-keys",
            Self::TokenSignature => "token-signature",
            Self::TokenClaim { .. } => "token-claim",
            Self::TokenClaimMissing { .. } => "token-claim-missing",
            Self::TokenExpired { .. } => "token-expired",
            Self::TokenNotYet { .. } => "token-not-yet",
            Self::TokenAudience => "token-audience",
            Self::TokenRevoked => "token-revoked",
            Self::Login => "login-wrong",
            Self::LoginWait { .. } => "login-wait",
            Self::LoginBusy { .. } => "login-busy",
            Self::ScramMalformed { .. } => "scram-malformed",
            Self::ScramOff => "scram-off",
            Self::GuestsOff => "guests-off",
            Self::GuestName => "guest-name",
            Self::RefreshUnknown => "refresh-unknown",
            Self::RefreshReused => "refresh-reused",
            Self::SessionOver => "session-over",
            Self::KeyUnknown => "key-unknown",
            Self::KeyExpired => "key-expired",
            Self::Store(_) => "users-unavailable",
            Self::Failed { .. } => "identity-failed",
        }
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::LoginBusy { .. } => Blame::Load,
            Self::TokenNoKeys => Blame::Upstream,
            Self::Store(error) => error.blame(),
            Self::Failed { .. } => Blame::Us,
            _ => Blame::Client,
        }
    }

    /// Whether the very same attempt may succeed a little later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::LoginWait { wait } | Self::LoginBusy { wait, .. } => Retry::After(*wait),
            Self::TokenUnknownKey | Self::TokenNoKeys => Retry::After(Duration::from_secs(5)),
            Self::TokenNotYet { in_s } => Retry::After(Duration::from_secs(*in_s)),
            Self::Store(error) => error.retry(),
            _ => Retry::Never,
        }
    }

    /// The HTTP status that says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::LoginWait { .. } => 429,
            Self::GuestsOff | Self::ScramOff => 403,
            Self::GuestName | Self::ScramMalformed { .. } => 422,
            Self::LoginBusy { .. } | Self::TokenNoKeys | Self::Store(_) => 503,
            Self::Failed { .. } => 500,
            _ => 401,
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nothing was shown: log in first"),
            Self::TokenTooLong { length } => {
                write!(f, "a token of {length} bytes; at most {} are taken", crate::jose::TOKEN_BYTES_MAX)
            }
            Self::TokenMalformed { what } => write!(f, "this is no token: {what}"),
            Self::TokenUnsigned => f.write_str("the token is not signed (alg none)"),
            Self::TokenAlgorithm => {
                f.write_str("the token is signed by an algorithm that its issuer's key is not for")
            }
            Self::TokenCritical => f.write_str("the token demands an extension that is not known here (crit)"),
            Self::TokenUnknownIssuer => f.write_str("the token's issuer is not known here"),
            Self::TokenUnknownKey => f.write_str("the token names a key that its issuer does not have"),
            Self::TokenNoKeys => f.write_str("the keys of the token's issuer could not be read yet"),
            Self::TokenSignature => f.write_str("the token's signature is wrong"),
            Self::TokenClaim { claim } => write!(f, "the token's claim {claim} is not of its type"),
            Self::TokenClaimMissing { claim } => write!(f, "the token has no claim {claim}"),
            Self::TokenExpired { since_s } => write!(f, "the token has been over for {since_s} s"),
            Self::TokenNotYet { in_s } => write!(f, "the token's time begins in {in_s} s"),
            Self::TokenAudience => f.write_str("the token was made for another service (aud)"),
            Self::TokenRevoked => f.write_str("this login was ended; log in again"),
            Self::Login => f.write_str("wrong name or password"),
            Self::LoginWait { wait } => {
                write!(f, "too many failed logins: try again in {} s", whole_seconds(*wait))
            }
            Self::LoginBusy { waiting, wait } => {
                write!(f, "{waiting} logins wait already: try again in {} s", whole_seconds(*wait))
            }
            Self::ScramMalformed { what } => write!(f, "this is no SCRAM message: {what}"),
            Self::ScramOff => f.write_str("SCRAM is not offered here"),
            Self::GuestsOff => f.write_str("guests are not let in: log in"),
            Self::GuestName => {
                f.write_str("a guest's name has 1 to 24 letters, digits, `-`, `_` or `.`, and begins with a letter or digit")
            }
            Self::RefreshUnknown => f.write_str("this is no refresh token of this house"),
            Self::RefreshReused => {
                f.write_str("this refresh token was used before, so somebody else may have it: the session is ended")
            }
            Self::SessionOver => f.write_str("the session is over: log in again"),
            Self::KeyUnknown => f.write_str("no such API key"),
            Self::KeyExpired => f.write_str("the API key's time is over"),
            Self::Store(_) => f.write_str("users cannot be asked for now"),
            Self::Failed { what } => write!(f, "no {what}"),
        }
    }
}
impl std::error::Error for Refused {}

/// Rounded up: who waits so long has waited long enough.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
