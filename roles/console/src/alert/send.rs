//! Sending one message by one way, once.
//!
//! **Job.** The POST of a webhook, the run of a program. **Called by** `keeper`. **Calls** `http::upstream::webhook`,
//! `host::process::hook`.
//!
//! Invariants
//! 1. One attempt takes at most the alert's `timeout`.
//! 2. Redirects are not followed: what is told was to go where the settings say.
//!
//! Not here: trying again (`delivery`), the log (`keeper` has it).

use std::path::Path;
use std::time::Duration;

use madang_host::net::resolve::Resolver;
use madang_host::process::hook::{self, Hook};
use madang_http::upstream::webhook;

use super::delivery::Attempt;
use super::message::Message;
use crate::config::Webhook;

/// What is kept of a program's words. Bytes.
const WORDS_BYTES_MAX: usize = 1024;

/// Posts it.
pub(super) async fn to_webhook(
    hook: &Webhook,
    message: &Message,
    host: &str,
    resolver: &Resolver,
    within: Duration,
) -> Attempt {
    let message = webhook::Message {
        url: &hook.url,
        secret: hook.secret.as_ref(),
        id: &message.id,
        agent: "madang-alert",
        body: message.json(host),
        // Alerts often go to a receiver in the same network.
        allow_private: true,
    };
    match tokio::time::timeout(within, webhook::post(message, resolver)).await {
        Ok(Ok(answer)) => judge(answer.status),
        Ok(Err(not_sent)) => Attempt::Failed(not_sent.to_string()),
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
