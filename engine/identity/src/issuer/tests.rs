//! Goal: tokens of outside issuers open for exactly what they say, and every way of forging one has a name.
//! Method: keys of all four kinds made here, tokens written by hand, one table of refusals; a server on this machine for keys by URL.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use madang_http::url::Url;
use serde_json::json;

use super::*;
use crate::jose::encode;
use crate::laws::keys::{Keys, NOW, issuers, settings};

fn good() -> Value {
    json!({ "iss": "https://id.example", "aud": "town", "sub": "u-1", "name": "Mina Kim", "roles": ["admin"],
            "exp": NOW + 600, "iat": NOW, "plan": "gold" })
}

fn with(changes: &Value) -> Value {
    let mut claims = good();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    claims
}

#[test]
fn tokens_of_all_four_kinds_open() {
    let keys = Keys::new();
    let issuers = issuers(&keys);
    let app = with(&json!({ "iss": null, "roles": "reader writer" }));
    for (kind, head, claims) in [
        ("ec", json!({ "alg": "ES256", "kid": "ec" }), good()),
        ("ed", json!({ "alg": "EdDSA", "kid": "ed", "typ": "JWT" }), good()),
        ("ed", json!({ "alg": "Ed25519", "kid": "ed" }), good()),
        ("rsa", json!({ "alg": "RS256", "kid": "rsa" }), good()),
        ("rsa", json!({ "alg": "RS256" }), good()),
        ("secret", json!({ "alg": "HS256" }), app.clone()),
        ("secret", json!({ "alg": "HS256", "kid": "whatever" }), app),
    ] {
        let who = check(&issuers, &keys.token(kind, &head, &claims), NOW)
            .unwrap_or_else(|why| panic!("{kind} {head}: {why}"));
        let issuer = if kind == "secret" { "app" } else { "idp" };
        assert_eq!((who.id(), &*who.name), (&*format!("{issuer}/u-1"), &*format!("Mina_Kim@{issuer}")));
        assert_eq!(who.via, Via::Outside(issuer.into()));
        let roles: &[&str] = if kind == "secret" { &["reader", "writer"] } else { &["admin"] };
        assert_eq!(&*who.roles, roles);
        assert_eq!((who.until, who.claims["plan"].as_str()), (NOW + 660, Some("gold")));
        assert!(!who.is_guest() && who.session.is_none());
    }
}

// Negative space: every way of forging or misusing a token, by the name of its refusal.
#[test]
fn hostile_tokens_are_refused_by_name() {
    let keys = Keys::new();
    let issuers = issuers(&keys);
    let other = Keys::new();
    let head = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid });
    let check = |keys: &Keys, kind: &str, head: Value, claims: Value, want: &str| {
        let token = keys.token(kind, &head, &claims);
        let got = super::check(&issuers, &token, NOW).err().map(|refused| refused.name());
        assert_eq!(got, Some(want), "{kind} {head} {claims}");
    };
    // What the signature is worth.
    check(&keys, "none", head("none", "ec"), good(), "token-unsigned");
    check(&keys, "none", head("NONE", "ec"), good(), "token-unsigned");
    check(&keys, "none", head("ES256", "ec"), good(), "token-signature");
    check(&other, "ec", head("ES256", "ec"), good(), "token-signature");
    check(&other, "ed", head("EdDSA", "ed"), good(), "token-signature");
    check(&other, "rsa", head("RS256", "rsa"), good(), "token-signature");
    // One algorithm's key taken for another's.
    check(&keys, "ec-as-secret", head("HS256", "ec"), good(), "token-algorithm");
    check(&keys, "set-as-secret", head("HS256", "rsa"), good(), "token-algorithm");
    check(&keys, "secret", head("HS256", "public-secret"), good(), "token-unknown-key");
    check(&keys, "rsa", head("ES256", "rsa"), good(), "token-algorithm");
    check(&keys, "rsa", head("RS512", "rsa"), good(), "token-algorithm");
    check(&keys, "rsa", head("PS256", "rsa"), good(), "token-algorithm");
    check(&keys, "ed", head("EdDSA", "ec"), good(), "token-algorithm");
    check(&keys, "ec", head("ES256", ""), with(&json!({ "iss": null })), "token-algorithm");
    // Keys that are not for this, or not there.
    check(&keys, "rsa", head("RS256", "for-encryption"), good(), "token-unknown-key");
    check(&keys, "ec", head("ES256", "other"), good(), "token-unknown-key");
    check(&keys, "ec", head("ES256", "../../etc/passwd"), good(), "token-unknown-key");
    check(&keys, "ec", head("ES256", "ec"), with(&json!({ "iss": "https://late.example" })), "token-no-keys");
    // Heads that carry a key of their own, or demand what is not known.
    let carried = json!({ "alg": "ES256", "kid": "x", "jwk": { "kty": "EC" }, "jku": "https://evil.example/keys", "x5u": "https://evil.example" });
    check(&other, "ec", carried, good(), "token-unknown-key");
    check(&keys, "ec", json!({ "alg": "ES256", "kid": "ec", "crit": ["exp"] }), good(), "token-critical");
    // Another issuer's token.
    check(&keys, "secret", head("HS256", "x"), good(), "token-unknown-key");
    check(
        &keys,
        "ec",
        head("ES256", "ec"),
        with(&json!({ "iss": "https://ID.example" })),
        "token-unknown-issuer",
    );
    check(&keys, "ec", head("ES256", "ec"), with(&json!({ "iss": "madang" })), "token-unknown-issuer");
    check(&keys, "ec", head("ES256", "ec"), with(&json!({ "iss": ["https://id.example"] })), "token-claim");
    // Claims.
    let ec = |changes: Value, want: &str| check(&keys, "ec", head("ES256", "ec"), with(&changes), want);
    ec(json!({ "exp": NOW - 60 }), "token-expired");
    ec(json!({ "exp": null }), "token-claim-missing");
    ec(json!({ "exp": "tomorrow" }), "token-claim");
    ec(json!({ "nbf": NOW + 61 }), "token-not-yet");
    ec(json!({ "iat": NOW + 61 }), "token-not-yet");
    ec(json!({ "aud": null }), "token-claim-missing");
    ec(json!({ "aud": "city" }), "token-audience");
    ec(json!({ "sub": null }), "token-claim-missing");
    ec(json!({ "sub": "x".repeat(200) }), "token-claim");
    ec(json!({ "pad": "x".repeat(9000) }), "token-too-long");
}

// Goal: whatever an issuer calls somebody, the name is short, plain and not a guest's.
#[test]
fn names_are_made_plain() {
    check(json!({ "name": "Mina" }), "Mina");
    check(json!({ "name": "민아 김" }), "민아_김");
    check(json!({ "name": "a\r\nQUIT :x\u{202e}" }), "a__QUIT_x");
    check(json!({ "name": "<script>@admin" }), "scriptadmin");
    check(json!({ "name": "  ", "preferred_username": "mina" }), "mina");
    check(json!({ "name": 7 }), "sub-1");
    check(json!({}), "sub-1");
    check(json!({ "name": "Guest-1" }), "user");
    check(json!({ "name": "x".repeat(500) }), &"x".repeat(64));

    #[track_caller]
    fn check(claims: Value, want: &str) {
        assert_eq!(shown(claims.as_object().unwrap(), "name", "sub-1"), want, "{claims}");
    }
}

#[test]
fn sets_of_keys_say_what_is_wrong_with_them() {
    let error = |text: &str| KeySet::parse(text.as_bytes()).err().map(|error| error.to_string());
    let keys = Keys::new();
    let set = KeySet::parse(keys.set().as_bytes()).unwrap();
    assert_eq!((set.len(), set.passed_over), (3, 3));
    assert_eq!(error("[]").unwrap(), "not a JWK Set ({\"keys\": [...]}, RFC 7517)");
    assert!(error(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#).unwrap().starts_with("none of its 1 keys"));
    let short = json!({ "keys": [{ "kty": "RSA", "n": encode([255; 128]), "e": "AQAB" }] });
    assert!(error(&short.to_string()).unwrap().contains("2048 bits"));
    let off =
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": encode([1; 32]), "y": encode([1; 32]) }] });
    assert!(error(&off.to_string()).is_some(), "a point that is not on the curve");
    let many = json!({ "keys": vec![json!({ "kty": "oct" }); 65] });
    assert_eq!(error(&many.to_string()).unwrap(), "65 keys; at most 64 are taken");
    assert!(!format!("{set:?}").contains(&keys.modulus()));
}

/// A server that answers each connection with the next of these.
fn server(answers: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    madang_host::thread::start("keys", move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).unwrap();
            let _ = stream.write_all(answer.as_bytes());
        }
    })
    .unwrap();
    port
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

// Goal: keys by URL are read, go on through failures of their server, and change with it; each change of luck is told once.
// Method: a server that answers with one set, then with faults, then with another set; readings by hand at their times.
#[test]
fn keys_by_url_outlive_their_server_and_rotate() {
    let (old, new) = (Keys::new(), Keys::new());
    let answers = vec![
        ok(&old.set()),
        "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ok("{\"keys\":[]}"),
        "HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ok(&new.set()),
    ];
    let port = server(answers);
    let every = Duration::from_secs(60);
    let url = Url::parse(&format!("http://127.0.0.1:{port}/keys")).unwrap();
    let issuer = Issuer::new(settings("idp", Some("https://id.example"), KeySource::Url { url, every }));
    let issuers = [issuer];
    let told = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let tell: crate::keep::Tell = {
        let told = std::rc::Rc::clone(&told);
        Box::new(move |bad, sentence| told.borrow_mut().push((bad, sentence.to_owned())))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let resolver = madang_host::net::resolve::Resolver::new(Vec::new());
    let read = |now_ms: u64| runtime.block_on(crate::keep::read_url(&issuers[0], &resolver, now_ms, &tell));
    let opens = |keys: &Keys| {
        check(&issuers, &keys.token("ed", &json!({ "alg": "EdDSA", "kid": "ed" }), &good()), NOW).map(|_| ())
    };

    assert_eq!(opens(&old), Err(Refused::TokenNoKeys));
    read(0);
    assert_eq!(opens(&old), Ok(()));
    read(59_999);
    for now_ms in [60_000, 61_000, 63_000] {
        read(now_ms);
        assert_eq!(opens(&old), Ok(()), "keys that were read stay");
    }
    read(67_000);
    assert_eq!(opens(&new), Ok(()));
    assert_eq!(opens(&old), Err(Refused::TokenSignature));
    let told = told.borrow();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].0 && told[0].1.contains("answered 500; those before stay in use"), "{told:?}");
    assert!(!told[1].0 && told[1].1.contains("3 keys were read"), "{told:?}");
}

// Goal: a file of keys that changes is read again; one that breaks leaves the keys that were read.
#[test]
fn keys_in_a_file_rotate() {
    let (old, new) = (Keys::new(), Keys::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
    write(&path, &old.set());
    let settings = crate::identity::Settings {
        identity: crate::config::IdentitySettings::default(),
        issuers: vec![Issuer::new(settings(
            "idp",
            Some("https://id.example"),
            KeySource::File(path.clone()),
        ))],
    };
    let opens = |keys: &Keys| {
        let token = keys.token("rsa", &json!({ "alg": "RS256", "kid": "rsa" }), &good());
        check(&settings.issuers, &token, NOW).is_ok()
    };
    for (text, opened) in
        [(old.set(), [true, false]), ("broken".to_owned(), [true, false]), (new.set(), [false, true])]
    {
        write(&path, &text);
        crate::keep::read_files(&settings, None);
        assert_eq!([opens(&old), opens(&new)], opened);
    }
}
