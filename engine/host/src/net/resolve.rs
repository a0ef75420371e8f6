//! Names to addresses, by DNS and the hosts file.
//!
//! **Job.** Ask for every address of a name and for every server of a service (SRV, RFC 2782), with the time the answer is
//! good for. **Reads** /etc/resolv.conf and /etc/hosts, again when they change. **Called by** whoever connects to names.
//! **Calls** hickory-resolver, which speaks DNS over UDP and TCP.
//!
//! Invariants
//! 1. A look-up ends within [`LOOKUP_WITHIN`], whatever the name servers do.
//! 2. What the hosts file knows is not asked elsewhere.
//! 3. Nothing is remembered between two look-ups: when to ask again is the caller's, by the answer's time to live.
//! 4. Addresses to which this machine has no route (IPv6 where there is none) are left out, unless there are no others.
//!
//! Not here: when to ask again, what stays while nobody answers (the caller).

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError, runtime::TokioRuntimeProvider};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{IntoName, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};

/// The longest that one look-up takes.
pub const LOOKUP_WITHIN: Duration = Duration::from_secs(8);
/// How long what the hosts file says is good for: it is looked at again, which costs nothing.
const HOSTS_TTL: Duration = Duration::from_secs(10);
/// How long one name server may take where no file says it.
const ASK_WITHIN: Duration = Duration::from_secs(2);
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// Everything, sorted: two answers of the same content are the same.
    pub all: Vec<T>,
    /// How long it is good for, as the name servers say.
    pub ttl: Duration,
    /// Whether nothing is missing. Not so when one of several questions had no answer in time.
    pub whole: bool,
}

/// A server of a service (RFC 2782).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAddress {
    /// The lower goes first.
    pub priority: u16,
    /// Its share among those of one priority.
    pub weight: u16,
    /// Where.
    pub address: SocketAddr,
    /// How many addresses the record's target has: they share its weight.
    pub of: u16,
}

/// Why a name has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupFailure {
    /// The name servers say that there is no such name (NXDOMAIN), or nothing of the kind under it. Good for so long.
    Nothing {
        /// Whether the name itself is there.
        known: bool,
        /// As the zone says (RFC 2308); zero when it says nothing.
        ttl: Duration,
    },
    /// The name servers refuse or fail.
    Refused {
        /// By this code (RFC 1035 4.1.1).
        code: String,
    },
    /// Nobody answered in time.
    Late,
    /// The name servers cannot be asked.
    Unreachable {
        /// What the system said.
        error: String,
    },
}

impl LookupFailure {
    /// A word for counters.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Nothing { .. } => "nothing",
            Self::Refused { .. } => "refused",
            Self::Late => "late",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

impl fmt::Display for LookupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { known: false, .. } => f.write_str("there is no such name"),
            Self::Nothing { known: true, .. } => f.write_str("the name has no such records"),
            Self::Refused { code } => write!(f, "the name server answered {code}"),
            Self::Late => f.write_str("no name server answered in time"),
            Self::Unreachable { error } => write!(f, "no name server could be asked: {error}"),
        }
    }
}
impl std::error::Error for LookupFailure {}

/// Asks name servers. Belongs to one thread.
pub struct Resolver {
    servers: Vec<SocketAddr>,
    ready: RefCell<Option<Ready>>,
}

struct Ready {
    resolver: TokioResolver,
    hosts: std::rc::Rc<Hosts>,
    /// When the files changed last.
    files: [Option<SystemTime>; 2],
}

impl Resolver {
    /// Asks these name servers; without any, those of /etc/resolv.conf.
    pub const fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, ready: RefCell::new(None) }
    }

    /// The name servers asked instead of the system's.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Every address of a name, both versions.
    pub async fn addresses(&self, name: &str) -> Result<Found<IpAddr>, LookupFailure> {
        let (resolver, hosts) = self.ready()?;
        match tokio::time::timeout(LOOKUP_WITHIN, addresses(&resolver, &hosts, name)).await {
            Ok(found) => found,
            Err(_) => Err(LookupFailure::Late),
        }
    }

    /// Every address of every server of a service: `_http._tcp.api.internal`.
    pub async fn services(&self, name: &str) -> Result<Found<ServiceAddress>, LookupFailure> {
        let (resolver, hosts) = self.ready()?;
        match tokio::time::timeout(LOOKUP_WITHIN, services(&resolver, &hosts, name)).await {
            Ok(found) => found,
            Err(_) => Err(LookupFailure::Late),
        }
    }

    /// By the files as they are now.
    fn ready(&self) -> Result<(TokioResolver, std::rc::Rc<Hosts>), LookupFailure> {
        let files = FILES.map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok());
        let mut ready = self.ready.borrow_mut();
        if ready.as_ref().is_none_or(|ready| ready.files != files) {
            // A machine without the file has no names of its own.
            let hosts = std::rc::Rc::new(Hosts::from_system().unwrap_or_default());
            *ready = Some(Ready { resolver: self.build()?, hosts, files });
        }
        let ready = ready.as_ref().ok_or(LookupFailure::Late)?;
        Ok((ready.resolver.clone(), std::rc::Rc::clone(&ready.hosts)))
    }

    fn build(&self) -> Result<TokioResolver, LookupFailure> {
        let mut plain = ResolverOpts::default();
        plain.timeout = ASK_WITHIN;
        let (config, mut options) = if self.servers.is_empty() {
            // resolv.conf(5): without the file or a server in it, the one on this machine.
            let here = || (at(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]), plain.clone());
            system_conf::read_system_conf().unwrap_or_else(|_| here())
        } else {
            (at(&self.servers), plain)
        };
        options.cache_size = 0;
        // A name that leads on by CNAME is good for as long as the shortest of the chain.
        options.preserve_intermediates = true;
        options.use_hosts_file = ResolveHosts::Never;
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| LookupFailure::Unreachable { error: error.to_string() })
    }
}

fn at(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

async fn addresses(
    resolver: &TokioResolver,
    hosts: &Hosts,
    name: &str,
) -> Result<Found<IpAddr>, LookupFailure> {
    let kinds = [RecordType::A, RecordType::AAAA];
    if let Ok(known) = name.into_name() {
        let of = |kind| hosts.lookup_static_host(&Query::query(known.clone(), kind));
        let all: Vec<IpAddr> = kinds.into_iter().filter_map(of).flat_map(|lookup| ips(&lookup)).collect();
        if !all.is_empty() {
            return Ok(Found { all: tidied(all), ttl: HOSTS_TTL, whole: true });
        }
    }
    let (v4, v6) = tokio::join!(resolver.lookup(name, kinds[0]), resolver.lookup(name, kinds[1]));
    let (mut all, mut ttl, mut whole, mut why) = (Vec::new(), Duration::MAX, true, None);
    for answer in [v4, v6] {
        match answer {
            Ok(lookup) => {
                all.extend(ips(&lookup));
                ttl = ttl.min(time_to_live(&lookup));
            }
            Err(error) => {
                let failure = failure(&error);
                if !matches!(failure, LookupFailure::Nothing { .. }) {
                    whole = false;
                }
                // That there is nothing of one kind says less than that nobody answered.
                if !matches!(why, Some(ref before) if !matches!(before, LookupFailure::Nothing { .. })) {
                    why = Some(failure);
                }
            }
        }
    }
    match (all.is_empty(), why) {
        (false, _) => Ok(Found { all: tidied(all), ttl, whole }),
        (true, Some(why)) => Err(why),
        (true, None) => Err(LookupFailure::Nothing { known: true, ttl: Duration::ZERO }),
    }
}

async fn services(
    resolver: &TokioResolver,
    hosts: &Hosts,
    name: &str,
) -> Result<Found<ServiceAddress>, LookupFailure> {
    let lookup = resolver.lookup(name, RecordType::SRV).await.map_err(|error| failure(&error))?;
    let (mut all, mut ttl, mut whole, mut why) = (Vec::new(), time_to_live(&lookup), true, None);
    for record in lookup.answers() {
        let RData::SRV(service) = &record.data else { continue };
        // RFC 2782: a target of "." means that the service is decidedly not there.
        if service.target.is_root() || service.port == 0 {
            continue;
        }
        match addresses(resolver, hosts, &service.target.to_utf8()).await {
            Ok(found) => {
                (ttl, whole) = (ttl.min(found.ttl), whole && found.whole);
                let of = u16::try_from(found.all.len()).unwrap_or(u16::MAX);
                all.extend(found.all.into_iter().map(|ip| ServiceAddress {
                    priority: service.priority,
                    weight: service.weight,
                    address: SocketAddr::new(ip, service.port),
                    of,
                }));
            }
            Err(failure) => (whole, why) = (false, Some(failure)),
        }
    }
    all.sort();
    all.dedup();
    if all.is_empty() {
        return Err(why.unwrap_or(LookupFailure::Nothing { known: true, ttl }));
    }
    Ok(Found { all, ttl, whole })
}

fn ips(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// The shortest of the chain.
fn time_to_live(lookup: &Lookup) -> Duration {
    let shortest = lookup.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(u64::from(shortest.unwrap_or(0)))
}

/// Sorted, each once, those that can be reached where any can.
fn tidied(mut all: Vec<IpAddr>) -> Vec<IpAddr> {
    all.sort();
    all.dedup();
    if all.iter().any(|ip| has_route(*ip)) {
        all.retain(|ip| has_route(*ip));
    }
    all
}

/// Connecting a datagram socket only asks the kernel for the route; nothing is sent.
fn has_route(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((ip, 9))).is_ok()
}

fn failure(error: &NetError) -> LookupFailure {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain | ResponseCode::NoError => LookupFailure::Nothing {
                known: none.response_code == ResponseCode::NoError,
                ttl: Duration::from_secs(u64::from(none.negative_ttl.unwrap_or(0))),
            },
            code => LookupFailure::Refused { code: code.to_string() },
        },
        NetError::Dns(DnsError::ResponseCode(code)) => LookupFailure::Refused { code: code.to_string() },
        NetError::Timeout => LookupFailure::Late,
        other => LookupFailure::Unreachable { error: other.to_string() },
    }
}
