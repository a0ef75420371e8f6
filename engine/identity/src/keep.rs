//! Keeping fresh what checks look at: keys of issuers, what other machines revoked.
//!
//! **Job.** Read files and URLs of keys, and the store's list of revocations, over and over. **Called by** `madang` (as a task of the
//! control side, by [`Identity::keep`]), `identity`. **Calls** `store`, `host`, `http::upstream::ask`; `again` says when.
//!
//! Invariants
//! 1. What cannot be read leaves in use what was read before, and is told once, not every time.
//! 2. One reading takes at most [`READ_WITHIN`] and [`SET_BYTES_MAX`] bytes; redirects are not followed.
//!
//! Not here: what the keys check (`issuer`).

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use madang_host::file;
use madang_host::net::connect::connect;
use madang_host::net::listen::Address;
use madang_host::net::resolve::Resolver;
use madang_host::tls::connect::{ClientTls, ClientTlsSettings};
use madang_http::upstream::ask::ask;
use madang_http::upstream::http2::ask::Asked;
use madang_http::url::Url;

use crate::config::KeySource;
use crate::identity::{Identity, REVOKED, Settings};
use crate::issuer::Issuer;
use crate::jose::key_set::{KeySet, SET_BYTES_MAX};
use crate::refused::Refused;
use crate::revoked::What;

/// How often the store is asked what other machines revoked.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often files of keys are looked at.
const FILES_EVERY: Duration = Duration::from_secs(10);
/// One reading of keys by URL.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// The largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Entries of one page of the list.
const PAGE: usize = 1000;
/// Pages of one look.
const PAGES_MAX: usize = 100;

/// What is told about reading keys and revocations: whether it is bad, and a sentence.
pub type Tell = Box<dyn Fn(bool, &str)>;

impl Identity {
    /// Keeps it fresh, for ever: a task of a current-thread runtime. `tell` is called when something begins to fail and when it works
    /// again.
    pub async fn keep(self, resolver: Resolver, tell: Tell) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut files_at, mut store_fails, mut looked_ms) = (0, false, self.now_ms());
        loop {
            every.tick().await;
            let looked = self.look().await;
            if looked.is_ok() {
                self.looked(looked_ms);
                looked_ms = self.now_ms();
            }
            match looked {
                Ok(()) if store_fails => {
                    store_fails = false;
                    tell(false, "what other machines revoke is heard again");
                }
                Err(Refused::Store(error)) if !store_fails => {
                    store_fails = true;
                    tell(true, &format!("what other machines revoke is not heard: {error}"));
                }
                _ => {}
            }
            let (settings, now_ms) = (self.settings(), self.now_ms());
            if now_ms >= files_at {
                files_at = now_ms + u64::try_from(FILES_EVERY.as_millis()).unwrap_or(u64::MAX);
                read_files(&settings, Some(&tell));
            }
            for issuer in &settings.issuers {
                read_url(issuer, &resolver, now_ms, &tell).await;
            }
        }
    }

    /// It was looked now, and before that at this time. What was written in between may be gone from the list already.
    pub(crate) fn looked(&self, before_ms: u64) {
        let kept = u64::try_from(self.settings().identity.access_lifetime.as_millis()).unwrap_or(u64::MAX);
        if self.now_ms().saturating_sub(before_ms) >= kept {
            self.0.revoked.doubts.send_modify(|number| *number += 1);
        }
    }

    /// Takes over what any machine revoked, and forgets what is over. [`Identity::keep`] does it every [`LOOK_EVERY`]; who hears
    /// of news earlier asks for it.
    ///
    /// # Errors
    /// [`Refused::Store`].
    pub async fn look(&self) -> Result<(), Refused> {
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.0.store.kv().scan(REVOKED, "", after.as_deref(), PAGE).await?;
            for (key, held) in &page {
                let before = std::str::from_utf8(&held.value).ok().and_then(|text| text.parse().ok());
                if let (Some(what), Some(before), Some(until)) =
                    (What::from_key(key), before, held.expires_ms)
                {
                    self.0.revoked.add(what, before, until);
                }
            }
            if page.len() < PAGE {
                break;
            }
            after = page.last().map(|(key, _)| key.clone());
        }
        self.0.revoked.sweep(self.now_ms());
        Ok(())
    }
}

/// Reads every file of keys.
pub(crate) fn read_files(settings: &Settings, tell: Option<&Tell>) {
    for issuer in &settings.issuers {
        let KeySource::File(path) = &issuer.settings.source else { continue };
        let read = file::read(path, SET_BYTES_MAX).map_err(|error| error.to_string());
        let read = read.and_then(|text| KeySet::parse(&text).map_err(|error| error.to_string()));
        taken(issuer, read, tell);
    }
}

/// Reads an issuer's keys by URL, when it is time.
pub(crate) async fn read_url(issuer: &Issuer, resolver: &Resolver, now_ms: u64, tell: &Tell) {
    let KeySource::Url { url, every } = &issuer.settings.source else { return };
    let misses = issuer.misses.load(Ordering::Relaxed);
    let is_due = issuer.again().is_due(misses, now_ms);
    if !is_due {
        return;
    }
    let read = match tokio::time::timeout(READ_WITHIN, get(url, resolver)).await {
        Ok(read) => read,
        Err(_) => Err(format!("no answer within {} s", READ_WITHIN.as_secs())),
    };
    issuer.again().read(read.is_ok(), *every, misses, now_ms);
    taken(issuer, read, Some(tell));
}

fn taken(issuer: &Issuer, read: Result<KeySet, String>, tell: Option<&Tell>) {
    let name = &issuer.settings.name;
    let (changed, sentence) = match read {
        Ok(keys) => {
            let sentence = format!("issuer {name}: {} keys were read", keys.len());
            issuer.set_keys(keys);
            (issuer.failing.swap(false, Ordering::Relaxed), sentence)
        }
        Err(why) => {
            let kept = if issuer.keys() > 0 { "; those before stay in use" } else { "" };
            let sentence = format!("issuer {name}: no keys could be read: {why}{kept}");
            (!issuer.failing.swap(true, Ordering::Relaxed), sentence)
        }
    };
    if let Some(tell) = tell.filter(|_| changed) {
        tell(issuer.failing.load(Ordering::Relaxed), &sentence);
    }
}

async fn get(url: &Url, resolver: &Resolver) -> Result<KeySet, String> {
    let tls = if url.secure {
        Some(ClientTls::new(&ClientTlsSettings::default(), &url.host).map_err(|error| error.to_string())?)
    } else {
        None
    };
    let addresses: Vec<IpAddr> = match url.host.parse() {
        Ok(address) => vec![address],
        Err(_) => resolver.addresses(&url.host).await.map_err(|error| error.to_string())?.all,
    };
    let mut last = format!("{} has no address", url.host);
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let address = Address::Tcp(SocketAddr::new(address, url.port));
        match connect(&address, tls.as_ref()).await {
            Ok(stream) => {
                let fields =
                    [("accept", "application/jwk-set+json, application/json"), ("user-agent", "madang")];
                let asked = Asked { method: "GET", path: &url.path, fields: &fields, body: Vec::new() };
                let bytes_max = usize::try_from(SET_BYTES_MAX).unwrap_or(usize::MAX);
                let answer = ask(stream, &url.authority, asked, HEAD_BYTES_MAX, bytes_max).await;
                let answer = answer.map_err(|no_answer| format!("no answer: {}", no_answer.what()))?;
                if answer.status != 200 {
                    return Err(format!("answered {}", answer.status));
                }
                return KeySet::parse(&answer.body).map_err(|error| error.to_string());
            }
            Err(error) => last = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(last)
}
