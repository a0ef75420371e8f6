//! Sending one message by one way, once.
//!
//! **Job.** The POST of a webhook, the run of a program. **Called by** `keeper`. **Calls** `http::upstream::ask`,
//! `host::net`, `host::process::hook`.
//!
//! A webhook is signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, and `webhook-signature: v1,` with
//! the base64 of HMAC-SHA256 over `id.timestamp.body`.
//!
//! Invariants
//! 1. One attempt takes at most the alert's `timeout`.
//! 2. Redirects are not followed: what is told was to go where the settings say.
//!
//! Not here: trying again (`delivery`), the log (`keeper` has it).

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use madang_host::clock;
use madang_host::net::connect::connect;
use madang_host::net::listen::Address;
use madang_host::net::resolve::Resolver;
use madang_host::process::hook::{self, Hook};
use madang_host::tls::connect::{ClientTls, ClientTlsSettings};
use madang_http::upstream::ask::ask;
use madang_http::upstream::http2::ask::Asked;

use super::delivery::Attempt;
use super::message::Message;
use crate::config::Webhook;

/// The largest head of an answer; its content is not read. Bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What is kept of a program's words. Bytes.
const WORDS_BYTES_MAX: usize = 1024;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Posts it.
pub(super) async fn webhook(
    hook: &Webhook,
    message: &Message,
    host: &str,
    resolver: &Resolver,
    within: Duration,
) -> Attempt {
    match tokio::time::timeout(within, post(hook, message, host, resolver)).await {
        Ok(Ok(status)) => judge(status),
        Ok(Err(why)) => Attempt::Failed(why),
        Err(_) => {
            Attempt::Failed(format!("no answer within {}", madang_settings::unit::show_duration(within)))
        }
    }
}

fn judge(status: u16) -> Attempt {
    let text = format!("answered {status}");
    match status {
        200..=299 => Attempt::Taken(text),
        300..=399 => Attempt::Refused(format!("{text}; redirects are not followed: write where they lead")),
        // What may be otherwise a little later.
        408 | 409 | 425 | 429 => Attempt::Failed(text),
        400..=499 => Attempt::Refused(text),
        _ => Attempt::Failed(text),
    }
}

async fn post(hook: &Webhook, message: &Message, host: &str, resolver: &Resolver) -> Result<u16, String> {
    let tls = if hook.url.secure {
        Some(
            ClientTls::new(&ClientTlsSettings::default(), &hook.url.host)
                .map_err(|error| error.to_string())?,
        )
    } else {
        None
    };
    let addresses: Vec<IpAddr> = match hook.url.host.parse() {
        Ok(address) => vec![address],
        Err(_) => resolver.addresses(&hook.url.host).await.map_err(|error| error.to_string())?.all,
    };
    let body = message.json(host);
    let time = clock::unix_seconds(clock::wall()).to_string();
    let signature = hook.secret.as_ref().map(|secret| sign(secret.bytes(), &message.id, &time, &body));
    let mut fields = vec![
        ("user-agent", "madang-alert"),
        ("content-type", "application/json"),
        ("idempotency-key", message.id.as_str()),
        ("webhook-id", message.id.as_str()),
        ("webhook-timestamp", time.as_str()),
    ];
    fields.extend(signature.as_deref().map(|signature| ("webhook-signature", signature)));
    let mut last = format!("{} has no address", hook.url.host);
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let address = Address::Tcp(SocketAddr::new(address, hook.url.port));
        match connect(&address, tls.as_ref()).await {
            Ok(stream) => {
                let asked = Asked { method: "POST", path: &hook.url.path, fields: &fields, body };
                let answer = ask(stream, &hook.url.authority, asked, HEAD_BYTES_MAX, 0).await;
                return answer
                    .map(|answer| answer.status)
                    .map_err(|no_answer| format!("no answer: {}", no_answer.what()));
            }
            Err(error) => last = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(last)
}

fn sign(secret: &[u8], id: &str, time: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
        context.update(part);
    }
    format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(context.sign()))
}

/// Runs it.
pub(super) async fn program(
    run: &[String],
    message: &Message,
    host: &str,
    dir: &Path,
    within: Duration,
) -> Attempt {
    let environment = vec![
        ("MADANG_ALERT".to_owned(), message.alert.clone()),
        ("MADANG_ALERT_ID".to_owned(), message.id.clone()),
    ];
    let input = message.json(host);
    let hook = Hook {
        run: run.to_vec(),
        dir: dir.to_owned(),
        environment,
        input,
        within,
        kept_bytes_max: WORDS_BYTES_MAX,
    };
    let done = match hook::run(hook).await {
        Ok(done) => done,
        Err(error) => return Attempt::Failed(format!("could not be started: {error}")),
    };
    match done.exit {
        Some(exit) if exit.is_success() => Attempt::Taken(exit.to_string()),
        Some(exit) => Attempt::Failed(with_words(exit.to_string(), &done.stderr)),
        None => {
            let told = format!("was killed after {}", madang_settings::unit::show_duration(within));
            Attempt::Failed(with_words(told, &done.stderr))
        }
    }
}

/// Its last words on one line.
fn with_words(told: String, stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        None => told,
        Some(line) => {
            let clean: String = line.chars().take(200).filter(|c| !c.is_control()).collect();
            format!("{told}: {clean}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: others' libraries verify the signature. Method: the example of the Standard Webhooks specification's own tests.
    #[test]
    fn a_signature_is_as_standard_webhooks_has_it() {
        let secret =
            base64::engine::general_purpose::STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn answers_are_judged_by_whether_it_may_go_better() {
        check(204, Attempt::Taken("answered 204".to_owned()));
        check(404, Attempt::Refused("answered 404".to_owned()));
        check(429, Attempt::Failed("answered 429".to_owned()));
        check(503, Attempt::Failed("answered 503".to_owned()));
        assert!(matches!(judge(301), Attempt::Refused(_)));

        #[track_caller]
        fn check(status: u16, want: Attempt) {
            assert_eq!(judge(status), want);
        }
    }
}
