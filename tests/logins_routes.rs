//! Goal: routes for users of the house, some by role: who is not signed in is asked to, who has not the role is told so, and what they show
//! goes to no other server.
//! Method: routes with files, with a pool, with a chat; users with and without the role, by token, key and cookie, a guest, nobody.

use serde_json::json;

use crate::support::client::Answer;
use crate::support::house::House;
use crate::support::talk::Talk;
use crate::support::upstream::Upstream;
use crate::support::users::{PASSWORD, ok, post, token_of};

const SITE: &str = r#"
[server]
workers = 1
[identity]
guests = true
hash_memory = "8MiB"
hash_passes = 1
[site.main]
listen = "http://127.0.0.1:0"
route = [
  { path = "/auth/*", identity = true },
  { path = "/admin/*", files = "public", auth = { roles = ["admin", "staff"] } },
  { path = "/members/*", files = "public", auth = { login = true } },
  { path = "/chat/*", chat = "town", auth = { roles = ["staff"] } },
  { path = "/app/*", proxy = "app", auth = { roles = ["admin"] } },
]
[chat.town]
[pool.app]
servers = ["UPSTREAM"]
"#;

#[track_caller]
fn check(answer: &Answer, status: u16, name: Option<&str>) {
    assert_eq!(answer.status, status, "{answer:?}");
    if let Some(name) = name {
        assert!(answer.text().contains(name), "{name}: {answer:?}");
    }
}

#[test]
fn a_route_is_for_users_with_its_role() {
    let upstream = Upstream::named("app");
    let files: &[(&str, &[u8])] = &[("public/admin/x.txt", b"x"), ("public/members/y.txt", b"y")];
    let house = House::start(&SITE.replace("UPSTREAM", &upstream.address.to_string()), files);
    let settings = house.path("madang.toml");
    ok(&settings, &["user", "add", "mina", "--role", "admin"], PASSWORD);
    ok(&settings, &["user", "add", "kim"], PASSWORD);
    let key = ok(&settings, &["token", "new", "mina"], "").trim().to_owned();
    let get = |path: &str, fields: &str| {
        house.client().ask("GET", path, &format!("accept: application/json, text/plain;q=0.5\r\n{fields}"))
    };
    let by = |token: &str| format!("authorization: Bearer {token}\r\n");

    let nobody = get("/admin/x.txt", "");
    check(&nobody, 401, Some("sign-in-required"));
    assert_eq!(nobody.field("www-authenticate").as_deref(), Some("Bearer"));
    check(&get("/admin/x.txt", &by("nonsense")), 401, Some("token-malformed"));
    check(&get("/admin/none.txt", ""), 401, None);

    let (mina, kim) = (token_of(&house, "mina"), token_of(&house, "kim"));
    let given = get("/admin/x.txt", &by(&mina));
    check(&given, 200, Some("x"));
    assert_eq!(given.field("cache-control").as_deref(), Some("private"), "no cache gives it to others");
    check(&get("/admin/x.txt", &by(&kim)), 403, Some("role-missing"));
    check(&get("/members/y.txt", &by(&kim)), 200, Some("y"));
    let (_, guest, _) = post(&house, "/auth/guest", "", &json!({}));
    check(&get("/members/y.txt", &by(guest["access"].as_str().unwrap())), 403, Some("users-only"));

    // A key that nobody has shown yet is looked up, and is remembered after that.
    for _ in 0..2 {
        check(&get("/admin/x.txt", &by(&key)), 200, Some("x"));
    }
    // Whatever it ends with, another letter there is another key.
    let (begin, end) = key.split_at(key.len() - 1);
    let other = format!("{begin}{}", if end == "a" { "b" } else { "a" });
    check(&get("/admin/x.txt", &by(&other)), 401, None);

    // By cookie: reading is believed, writing only of the site's own pages.
    let own = "sec-fetch-site: same-origin\r\n";
    let wanted = json!({ "name": "mina", "password": PASSWORD, "cookies": true });
    let (_, _, answer) = post(&house, "/auth/login", own, &wanted);
    let cookie = answer.field("set-cookie").unwrap();
    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    check(&get("/admin/x.txt", &cookie), 200, None);

    // Taken back.
    ok(&settings, &["user", "roles", "mina"], "");
    check(&get("/admin/x.txt", &by(&mina)), 401, Some("token-revoked"));
    check(&get("/admin/x.txt", &by(&token_of(&house, "mina"))), 403, Some("role-missing"));

    // Another server learns no token.
    ok(&settings, &["user", "roles", "mina", "admin"], "");
    let mina = token_of(&house, "mina");
    check(&get("/app/z", &by(&mina)), 200, None);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].line(), seen[0].field("authorization")), ("GET /app/z HTTP/1.1", None));

    // A role of ours sees who it is: the chat takes the token that opened the route.
    ok(&settings, &["user", "roles", "kim", "staff"], "");
    let kim = token_of(&house, "kim");
    let mut talk = Talk::open(house.address(0), "/chat/ws", &by(&kim));
    assert_eq!(talk.ask(json!({ "do": "hello" }))["you"]["name"], "kim");
}

// Goal: a reload that gives a route its first rule opens logins for it.
#[test]
fn a_reload_brings_the_rule() {
    let plain = r#"
[server]
workers = 1
[site.main]
listen = "http://127.0.0.1:0"
route = [{ path = "/*", files = "public" }]
"#;
    let house = House::start(plain, &[("public/x.txt", b"x")]);
    assert_eq!(house.client().get("/x.txt").status, 200);
    house.reload(&plain.replace("files = \"public\"", "files = \"public\", auth = { roles = [\"admin\"] }"));
    let refused = house.client().get("/x.txt");
    check(&refused, 401, Some("Sign in to see this page."));
    house.reload(plain);
    assert_eq!(house.client().get("/x.txt").status, 200);
}
