//! Goal: users are made by commands, log in by HTTP, go on, change and leave, over the real binary; secrets show up nowhere.
//! Method: a house with `[identity]` and a route of logins; commands with and without the server running; plain HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::house::{House, program};
use crate::support::users::{PASSWORD, ok, post, run};

const SETTINGS: &str = r#"
[server]
workers = 1
[identity]
guests = true
hash_memory = "8MiB"
hash_passes = 1
[issuer.app]
secret = "${TOKEN_SECRET:-0123456789abcdef0123456789abcdef}"
audience = "town"
[site.main]
listen = "http://127.0.0.1:0"
route = [{ path = "/auth/*", identity = true }, { path = "/*", files = "public" }]
"#;

fn set_cookies(answer: &Answer) -> Vec<String> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(name, _)| *name == "set-cookie").map(|(_, value)| value.to_owned()).collect()
}

fn me(house: &House, token: &str) -> (u16, Value) {
    let answer = house.client().ask("GET", "/auth/me", &format!("authorization: Bearer {token}\r\n"));
    (answer.status, serde_json::from_str(&answer.text()).unwrap_or(Value::Null))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[test]
fn a_user_logs_in_goes_on_and_leaves() {
    let house = House::start(SETTINGS, &[]);
    let settings = house.path("madang.toml");
    assert_eq!(ok(&settings, &["user", "add", "Mina", "--role", "admin"], PASSWORD), "Mina is a user now\n");

    let login =
        |password: &str| post(&house, "/auth/login", "", &json!({ "name": "mina", "password": password }));
    let (status, wrong, _) = login("wrong password");
    assert_eq!((status, &wrong["error"]["name"]), (401, &json!("login-wrong")));
    let (status, session, answer) = login(PASSWORD);
    assert_eq!((status, answer.field("cache-control").as_deref()), (200, Some("no-store")));
    assert_eq!(answer.field("set-cookie"), None, "tokens or cookies, never both");
    assert_eq!(session["user"]["roles"], json!(["admin"]));

    let (status, who) = me(&house, &text(&session["access"]));
    assert_eq!((status, &who["name"], &who["via"]), (200, &json!("Mina"), &json!("session")));
    let refresh = text(&session["refresh"]);
    let (status, next, _) = post(&house, "/auth/refresh", "", &json!({ "refresh": refresh }));
    assert_eq!(status, 200);
    let access = text(&next["access"]);
    let (status, ..) =
        post(&house, "/auth/logout", &format!("authorization: Bearer {access}\r\n"), &json!({}));
    assert_eq!(status, 204);
    assert_eq!(me(&house, &access).1["error"]["name"], "token-revoked");
    let (status, over, _) = post(&house, "/auth/refresh", "", &json!({ "refresh": next["refresh"] }));
    assert_eq!((status, &over["error"]["name"]), (401, &json!("session-over")));

    let (_, session, _) = login(PASSWORD);
    ok(&settings, &["user", "disable", "mina"], "");
    assert_eq!(me(&house, &text(&session["access"])).0, 401, "at once");
    assert_eq!(login(PASSWORD).0, 401);
    ok(&settings, &["user", "enable", "mina"], "");
    ok(&settings, &["user", "passwd", "mina"], "another horse");
    assert_eq!((login(PASSWORD).0, login("another horse").0), (401, 200));
    let metrics = house.metrics();
    assert!(metrics.contains("madang_logins_total{result=\"right\"} 3"), "{metrics}");
}

// Goal: users and keys are the same whether the server runs or not.
#[test]
fn commands_work_with_and_without_the_server() {
    let mut house = House::start(SETTINGS, &[]);
    let settings = house.path("madang.toml");
    ok(&settings, &["user", "add", "bot", "--no-password"], "");
    let key = ok(&settings, &["token", "new", "bot", "--label", "at night", "--lasts", "90d"], "")
        .trim()
        .to_owned();
    assert_eq!(me(&house, &key).1["via"], "key");
    house.signal(rustix::process::Signal::TERM);
    assert!(house.ended().success());

    let listed = ok(&settings, &["token", "list", "bot"], "");
    assert!(listed.contains(&key[..12]) && listed.contains("at night") && !listed.contains(&key), "{listed}");
    ok(&settings, &["user", "add", "mina"], PASSWORD);
    let (code, _, complained) = run(&settings, &["user", "add", "MINA"], PASSWORD);
    assert_eq!(code, 1);
    assert!(complained.contains("there is a user MINA already"), "{complained}");
    let users: Value = serde_json::from_str(&ok(&settings, &["user", "list", "--json"], "")).unwrap();
    let names: Vec<&Value> = users["users"].as_array().unwrap().iter().map(|user| &user["name"]).collect();
    assert_eq!(names, ["bot", "mina"]);

    let mut command = program();
    command.arg("run").arg("-c").arg(&settings);
    let folder = tempfile::TempDir::new().unwrap();
    let again = House::spawn(command, folder);
    assert_eq!(me(&again, &key).0, 200, "the key of before");
    let (status, ..) = post(&again, "/auth/login", "", &json!({ "name": "mina", "password": PASSWORD }));
    assert_eq!(status, 200);
    ok(&settings, &["token", "revoke", &key[..12]], "");
    assert_eq!(me(&again, &key).0, 401);
    ok(&settings, &["user", "remove", "bot"], "");
    assert_eq!(run(&settings, &["user", "passwd", "bot"], PASSWORD).0, 1);
}

// Goal: a browser's session lives in cookies that scripts and other sites cannot use.
#[test]
fn cookies_are_for_the_sites_own_pages() {
    let house = House::start(SETTINGS, &[]);
    ok(&house.path("madang.toml"), &["user", "add", "mina"], PASSWORD);
    let wanted = json!({ "name": "mina", "password": PASSWORD, "cookies": true });
    for foreign in ["", "sec-fetch-site: cross-site\r\n", "origin: http://evil.example\r\n"] {
        let (status, refused, answer) = post(&house, "/auth/login", foreign, &wanted);
        assert_eq!((status, &refused["error"]["name"]), (403, &json!("cross-site")), "{foreign}");
        assert_eq!(answer.field("set-cookie"), None);
    }
    let own = "sec-fetch-site: same-origin\r\n";
    let (status, session, answer) = post(&house, "/auth/login", own, &wanted);
    assert_eq!((status, &session["access"], &session["refresh"]), (200, &Value::Null, &Value::Null));
    let cookies = set_cookies(&answer);
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(cookies[0].contains("; Path=/; HttpOnly; SameSite=Lax; Max-Age="), "{cookies:?}");
    assert!(cookies[1].contains("; Path=/auth/; HttpOnly; SameSite=Strict; Max-Age="), "{cookies:?}");
    let pairs: Vec<&str> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
    let sent = format!("cookie: {}\r\n", pairs.join("; "));

    let who = |fields: &str| house.client().ask("GET", "/auth/me", fields).status;
    assert_eq!((who(&sent), who("")), (200, 401));
    let refresh = |fields: &str| post(&house, "/auth/refresh", &format!("{sent}{fields}"), &json!({})).0;
    assert_eq!(refresh("sec-fetch-site: cross-site\r\n"), 401, "another site's page finds no login");
    assert_eq!(refresh(own), 200);
    let (status, _, answer) =
        post(&house, "/auth/logout", &format!("{sent}{own}"), &json!({ "everywhere": true }));
    assert_eq!(status, 204);
    assert!(set_cookies(&answer).iter().any(|cookie| cookie.contains("Max-Age=0")));
    assert_eq!(who(&sent), 401);
}

// Negative space: what a stranger sends is refused by name, and guessing is held up.
#[test]
fn strangers_are_refused_by_name() {
    let house = House::start(SETTINGS, &[]);
    let mut client = house.client();
    client.send("POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n{}");
    assert_eq!(client.answer("POST").status, 415, "what a form of another site can send");
    let name = |path: &str, body: Value| text(&post(&house, path, "", &body).1["error"]["name"]);
    assert_eq!(name("/auth/login", json!({ "name": "x" })), "malformed");
    assert_eq!(name("/auth/login", json!({ "name": "x", "password": "y", "admin": true })), "malformed");
    assert_eq!(name("/auth/login", json!({ "name": "x", "password": "y".repeat(5000) })), "body");
    assert_eq!(name("/auth/nothing", json!({})), "no-such-page");
    assert_eq!(name("/auth/me", json!({})), "method-not-allowed");
    assert_eq!(name("/auth/refresh", json!({ "refresh": "mdr_x" })), "refresh-unknown");
    assert_eq!(name("/auth/guest", json!({ "name": "a b" })), "guest-name");
    let (status, guest, _) = post(&house, "/auth/guest", "", &json!({ "name": "visitor" }));
    assert_eq!((status, &guest["user"]["name"]), (200, &json!("guest-visitor")));
    assert_eq!(me(&house, &text(&guest["access"])).1["guest"], true);

    // Tokens of the outside issuer: a good one, and one that nobody signed.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "sub": "7", "aud": "town", "exp": now + 60, "name": "Ann" });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims));
    assert_eq!(me(&house, &none).1["error"]["name"], "token-unsigned");
    let message = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(&claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
    let good =
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes())));
    let (status, who) = me(&house, &good);
    assert_eq!((status, &who["id"], &who["name"]), (200, &json!("app/7"), &json!("Ann@app")));

    let guess = |number: u32| {
        post(&house, "/auth/login", "", &json!({ "name": "nobody", "password": number.to_string() }))
    };
    for number in 0..5 {
        assert_eq!(guess(number).0, 401);
    }
    let (status, held, answer) = guess(6);
    assert_eq!((status, &held["error"]["name"]), (429, &json!("login-wait")));
    assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
}

// Goal: no password, token or key is in a log, in what the program says, or in the store but as its digest. Method: use all of them,
// with the loudest log, then search every file of the data folder and every word said.
#[test]
fn secrets_are_nowhere() {
    let settings =
        format!("[log]\naccess = \"json\"\naccess_file = \"access.log\"\nlevel = \"debug\"\n{SETTINGS}");
    let mut house = House::start(&settings, &[]);
    let file = house.path("madang.toml");
    ok(&file, &["user", "add", "mina"], "a very secret horse");
    let key = ok(&file, &["token", "new", "mina"], "").trim().to_owned();
    let login =
        |password: &str| post(&house, "/auth/login", "", &json!({ "name": "mina", "password": password })).1;
    let (session, _) = (login("a very secret horse"), login("a wrong secret horse"));
    let (access, refresh) = (text(&session["access"]), text(&session["refresh"]));
    me(&house, &access);
    me(&house, &key);
    post(&house, "/auth/refresh", "", &json!({ "refresh": refresh }));
    let shown =
        ok(&file, &["status", "--json"], "") + &ok(&file, &["connections", "--json"], "") + &house.metrics();
    house.signal(rustix::process::Signal::TERM);
    assert!(house.ended().success());

    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let secrets = [
        "a very secret horse".to_owned(),
        "a wrong secret horse".to_owned(),
        signature(&access),
        refresh,
        key[13..].to_owned(),
    ];
    let mut searched = vec![
        ("what it shows".to_owned(), shown.into_bytes()),
        ("what it says".to_owned(), house.said().into_bytes()),
    ];
    for folder in [house.path("data"), house.path("data/store"), house.path("")] {
        for entry in
            std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file())
        {
            searched.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    assert!(
        searched.iter().any(|(name, bytes)| name.ends_with("madang.db") && bytes.len() > 4096),
        "the store was searched"
    );
    assert!(
        searched.iter().any(|(name, bytes)| name.ends_with("access.log") && !bytes.is_empty()),
        "the log was searched"
    );
    for (name, bytes) in &searched {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {name}");
        }
    }
}
