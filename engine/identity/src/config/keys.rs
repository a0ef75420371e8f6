//! The keys of `[identity]` and `[issuer.NAME]`: one table for reading, schema and documentation.
//!
//! **Job.** Say name, kind, default and meaning of each key. **Called by** `config`, `madang schema`. **Calls** `settings::schema`.
//!
//! Not here: reading them (`config`).

use madang_settings::schema::{Kind, Section, key};

/// `[identity]`.
pub const IDENTITY: Section = Section {
    title: "[identity]",
    doc: "Who may come in, for every role: users of this house, guests, keys. Users are made by `madang user`, keys by `madang token`; docs/identity.md tells the rest. Tokens of others: `[issuer.NAME]`.",
    keys: &[
        key(
            "guests",
            Kind::Bool,
            "false",
            "Whether people come in with a name that nobody vouches for. What they may do is the roles' business.",
        ),
        key(
            "guest_lifetime",
            Kind::Duration("10m", "30d"),
            "\"1d\"",
            "How long a guest stays the same guest.",
        ),
        key(
            "access_lifetime",
            Kind::Duration("1m", "1d"),
            "\"10m\"",
            "How long an access token is good. Short: it is checked without asking anybody.",
        ),
        key(
            "refresh_lifetime",
            Kind::Duration("10m", "365d"),
            "\"30d\"",
            "After so long without being used a session is over.",
        ),
        key(
            "session_lifetime",
            Kind::Duration("1h", "730d"),
            "\"180d\"",
            "After so long it is over in any case: the password is asked for again.",
        ),
        key(
            "refresh_leeway",
            Kind::Duration("0s", "60s"),
            "\"10s\"",
            "A refresh token that is used twice within so long gives the same next token again (two windows, a lost answer). Later it ends the session: somebody else has it.",
        ),
        key("password_min", Kind::Count(6, 64), "8", "How many characters a new password has at least."),
        key(
            "hash_memory",
            Kind::Size("8MiB", "1GiB"),
            "\"19MiB\"",
            "Memory of one argon2id hash. Hashes of another cost are made anew at the next login.",
        ),
        key("hash_passes", Kind::Count(1, 64), "2", "Passes of argon2id over that memory."),
        key(
            "hash_at_once",
            Kind::Count(1, 64),
            "2",
            "Passwords checked at once, each by a thread of its own. A change takes a restart.",
        ),
        key(
            "hash_waiting",
            Kind::Count(1, 10_000),
            "64",
            "Passwords that wait to be checked; more are refused with Retry-After.",
        ),
        key(
            "scram",
            Kind::Bool,
            "false",
            "Also keep verifiers for SCRAM-SHA-256 (SASL of IRC), from the next change of each password on. A stolen verifier is easier to guess by than an argon2id hash.",
        ),
        key(
            "scram_iterations",
            Kind::Count(4096, 1_000_000),
            "10000",
            "Iterations of PBKDF2 in new SCRAM verifiers. The client has to do them at every login.",
        ),
    ],
};

/// `[issuer.NAME]`.
pub const ISSUER: Section = Section {
    title: "[issuer.NAME]",
    doc: "Somebody else who vouches for users, by JSON Web Tokens: an identity provider, or your own app. Their users are `NAME/subject` here.",
    keys: &[
        key(
            "issuer",
            Kind::Text,
            "",
            "What its tokens say in `iss`, exactly. Left out: its tokens have no `iss`; one issuer may be so.",
        ),
        key(
            "audience",
            Kind::List(&Kind::Text),
            "",
            "What its tokens say in `aud`: one of these. Needed beside `jwks` and `jwks_file`: else tokens made for other services would be taken.",
        ),
        key(
            "jwks",
            Kind::Text,
            "",
            "Where its public keys are (JWK Set): `\"https://id.example.org/keys\"`. They are read anew every `jwks_every`, and when a token names a key that is not known.",
        ),
        key("jwks_file", Kind::Path, "", "A file of its public keys (JWK Set), read anew when it changes."),
        key("jwks_every", Kind::Duration("1m", "7d"), "\"1h\"", "How often `jwks` is read anew."),
        key(
            "secret",
            Kind::Text,
            "",
            "A secret it shares with us, for HS256: at least 32 bytes, from the environment, `\"${TOKEN_SECRET}\"`.",
        ),
        key("skew", Kind::Duration("0s", "10m"), "\"60s\"", "How far its clock and ours may be apart."),
        key(
            "name_claim",
            Kind::Text,
            "\"name\"",
            "The claim with the name to show; where it is missing `preferred_username`, then `sub`.",
        ),
        key(
            "roles_claim",
            Kind::Text,
            "",
            "The claim with roles: a list of text, or text with spaces between. Left out: it gives no roles.",
        ),
        key(
            "names",
            Kind::Choice(&["marked", "plain"]),
            "\"marked\"",
            "`\"marked\"`: its users are shown as `name@NAME`, so that nobody looks like a user of this house. `\"plain\"`: as `name`.",
        ),
    ],
};
