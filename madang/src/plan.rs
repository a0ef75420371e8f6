//! From settings to what will run: the plan that workers carry out.
//!
//! **Job.** Build TLS policies, group sites by listener. Everything that can fail does so here, before anything changes.
//! **Called by** `house` (start, reload). **Calls** `host::tls`, `config`.
//!
//! Invariants
//! 1. A plan is complete: applying it opens sockets and swaps pointers, nothing else.
//!
//! Not here: sockets (`house`), per-worker building (`room`).

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use madang_balance::config::StreamSettings;
use madang_chat::config::Speaks as Spoken;
use madang_host::config::{Certificates, Listen, TlsSettings};
use madang_host::gate::{Gate, GateLimits, ListenerGate, ListenerRules};
use madang_host::tls::local_ca::{LocalCa, LocalCaError};
use madang_host::tls::store::{CertificateError, CertificateStore};
use madang_host::tls::{Policy, PolicyError, Speaks, TlsPolicies};
use madang_web::config::Site;

use crate::config::Settings;

/// What runs.
pub struct Plan {
    /// Every listener.
    pub listeners: Vec<ListenerPlan>,
    /// The settings it was made from.
    pub settings: Settings,
}

/// One listener.
pub struct ListenerPlan {
    /// As in the settings.
    pub listen: Listen,
    /// What it serves.
    pub sites: Vec<Arc<Site>>,
    /// TLS, on https.
    pub tls: Option<TlsPolicies>,
    /// Its part of the gate.
    pub gate: Arc<ListenerGate>,
    /// Sessions by client address, where it takes datagrams.
    pub sessions: Arc<Gate>,
    /// Where its bytes go, when it is no web listener.
    pub stream: Option<Arc<StreamSettings>>,
    /// The chat it is of, and what is spoken there, when it is no web listener.
    pub chat: Option<(Arc<str>, Spoken)>,
}

/// Why settings that were checked cannot run after all.
#[derive(Debug)]
pub enum PlanError {
    /// A certificate changed since it was checked.
    Certificates(Vec<CertificateError>),
    /// A TLS policy.
    Policy(PolicyError),
    /// The local authority.
    LocalCa(LocalCaError),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificates(errors) => {
                for (index, error) in errors.iter().enumerate() {
                    if index > 0 {
                        f.write_str("; ")?;
                    }
                    error.fmt(f)?;
                }
                Ok(())
            }
            Self::Policy(error) => error.fmt(f),
            Self::LocalCa(error) => error.fmt(f),
        }
    }
}

impl Plan {
    /// Plans what `settings` say.
    pub fn new(settings: Settings, now: SystemTime) -> Result<Self, PlanError> {
        let mut local_ca = None;
        let mut listeners = Vec::new();
        for (listen, sites) in settings.listeners() {
            let tls = if listen.secure { policies(&sites, &settings, &mut local_ca, now)? } else { None };
            let gate = Arc::new(ListenerGate::new(rules(&listen)));
            let sessions = sessions(None);
            listeners.push(ListenerPlan { listen, sites, tls, gate, sessions, stream: None, chat: None });
        }
        for stream in &settings.streams {
            let (names, tls) = (stream.names(), stream.tls.as_ref());
            let tls = own_policy(&stream.name, tls, &names, &settings, &mut local_ca, now)?;
            for listen in &stream.listen {
                listeners.push(ListenerPlan {
                    listen: listen.clone(),
                    sites: Vec::new(),
                    tls: tls.clone().filter(|_| listen.secure),
                    gate: Arc::new(ListenerGate::new(rules(listen))),
                    sessions: sessions(Some(stream)),
                    stream: Some(Arc::clone(stream)),
                    chat: None,
                });
            }
        }
        for chat in &settings.chats {
            let tls = own_policy(&chat.name, chat.tls.as_ref(), &[], &settings, &mut local_ca, now)?;
            for one in &chat.listen {
                listeners.push(ListenerPlan {
                    listen: one.listen.clone(),
                    sites: Vec::new(),
                    tls: tls.clone().filter(|_| one.listen.secure),
                    gate: Arc::new(ListenerGate::new(rules(&one.listen))),
                    sessions: sessions(None),
                    stream: None,
                    chat: Some((Arc::clone(&chat.name), one.speaks)),
                });
            }
        }
        Ok(Self { listeners, settings })
    }
}

/// A listener's admission rules.
pub fn rules(listen: &Listen) -> ListenerRules {
    ListenerRules {
        allow: listen.allow.clone(),
        deny: listen.deny.clone(),
        connections_max: listen.connections_max,
    }
}

/// How many sessions one client address may have. Of all together the workers keep count themselves.
pub fn session_limits(stream: Option<&StreamSettings>) -> GateLimits {
    let per_address_max = stream.map_or(0, |stream| stream.udp.sessions_per_address_max);
    GateLimits { connections_max: u32::MAX, per_address_max }
}

fn sessions(stream: Option<&Arc<StreamSettings>>) -> Arc<Gate> {
    Gate::new(session_limits(stream.map(AsRef::as_ref)))
}

fn policies(
    sites: &[Arc<Site>],
    settings: &Settings,
    local_ca: &mut Option<LocalCa>,
    now: SystemTime,
) -> Result<Option<TlsPolicies>, PlanError> {
    let mut policies = Vec::new();
    for site in sites {
        let Some(tls) = &site.tls else { continue };
        let store = store(tls, &site.hosts, settings, local_ca, now)?;
        let (hosts, version) = (site.hosts.clone(), tls.version_min);
        let policy = Policy::new(&site.name, hosts, store, version, &tls.client_auth, Speaks::Http);
        policies.push(policy.map_err(PlanError::Policy)?);
    }
    Ok(TlsPolicies::new(policies))
}

/// TLS that ends here for something that is no site: one policy for all its names.
fn own_policy(
    name: &str,
    tls: Option<&TlsSettings>,
    names: &[String],
    settings: &Settings,
    local_ca: &mut Option<LocalCa>,
    now: SystemTime,
) -> Result<Option<TlsPolicies>, PlanError> {
    let Some(tls) = tls else { return Ok(None) };
    let store = store(tls, names, settings, local_ca, now)?;
    let policy =
        Policy::new(name, names.to_vec(), store, tls.version_min, &tls.client_auth, Speaks::Anything);
    Ok(TlsPolicies::new(vec![policy.map_err(PlanError::Policy)?]))
}

fn store(
    tls: &TlsSettings,
    hosts: &[String],
    settings: &Settings,
    local_ca: &mut Option<LocalCa>,
    now: SystemTime,
) -> Result<Arc<CertificateStore>, PlanError> {
    match &tls.certificates {
        Certificates::Files(files) => {
            CertificateStore::from_files(files, now).map_err(PlanError::Certificates)
        }
        Certificates::Local => {
            let ca = match local_ca {
                Some(ca) => ca,
                None => {
                    local_ca.insert(LocalCa::open(&settings.server.data, now).map_err(PlanError::LocalCa)?)
                }
            };
            Ok(CertificateStore::from_pair(ca.issue(hosts, now).map_err(PlanError::LocalCa)?))
        }
    }
}
