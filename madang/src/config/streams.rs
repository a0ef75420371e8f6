//! What only the settings as a whole can tell of streams.
//!
//! **Job.** Every route leads to a pool or an app that is there, every address is free; web routes do not lead to what speaks no HTTP.
//! **Called by** `super`. **Calls** nothing of ours.
//!
//! Not here: one stream by itself (`madang_balance::config`).

use std::sync::Arc;

use madang_balance::config::{Place, PoolSettings, Protocol, ServerSettings, StreamSettings};
use madang_host::net::listen::Address;
use madang_settings::reader::Reader;
use madang_web::config::{Action, Site};

use super::{no_such_pool, overlap};

/// Checks all streams.
pub(super) fn check(
    root: &mut Reader<'_>,
    streams: &[Arc<StreamSettings>],
    sites: &[Arc<Site>],
    pools: &[Arc<PoolSettings>],
    targets: &[&str],
) {
    let mut taken: Vec<(&Address, String)> = sites
        .iter()
        .flat_map(|site| site.listen.iter().map(move |l| (&l.address, format!("site.{}", site.name))))
        .collect();
    for stream in streams {
        check_routes(root, stream, pools, targets);
        for listen in &stream.listen {
            if let Some((_, whose)) = taken.iter().find(|(have, _)| overlap(have, &listen.address)) {
                let mark = root.mark_below(&["stream", &stream.name, "listen"]);
                let key = format!("stream.{}.listen", stream.name);
                root.report.error(mark, &key, format!("{} is taken by {whose}", listen.address), None);
            }
            taken.push((&listen.address, format!("stream.{}", stream.name)));
        }
    }
    check_protocols(root, sites, pools);
}

fn check_routes(
    root: &mut Reader<'_>,
    stream: &StreamSettings,
    pools: &[Arc<PoolSettings>],
    targets: &[&str],
) {
    let single = root.mark_below(&["stream", &stream.name, "proxy"]);
    let table = root.mark_below(&["stream", &stream.name, "route"]);
    for (at, route) in stream.routes.iter().enumerate() {
        let named = stream.by_name() || stream.routes.len() > 1;
        let (mark, key) =
            if named { (table, format!("route[{at}].proxy")) } else { (single, "proxy".to_owned()) };
        let path = format!("stream.{}.{key}", stream.name);
        let pool = pools.iter().find(|pool| *pool.name == *route.pool);
        let by_tcp = |pool: &&Arc<PoolSettings>| pool.servers.iter().find(|server| !by_udp(server)).cloned();
        if let Some(server) = pool.as_ref().filter(|_| stream.takes_datagrams()).and_then(by_tcp) {
            let message =
                format!("{} of pool {:?} cannot be reached by UDP", server.address.key(), route.pool);
            let help = "datagrams go to addresses without a scheme, such as \"127.0.0.1:53\"".to_owned();
            root.report.error(mark, &path, message, Some(help));
        } else if !route.pool.is_empty() && !targets.contains(&&*route.pool) {
            no_such_pool(root, mark, &path, &route.pool, targets);
        }
    }
}

fn by_udp(server: &ServerSettings) -> bool {
    server.address.protocol == Protocol::Http && !matches!(server.address.place, Place::Unix(_))
}

/// A pool whose servers are written as `tls://` says that they speak something that is not HTTP.
fn check_protocols(root: &mut Reader<'_>, sites: &[Arc<Site>], pools: &[Arc<PoolSettings>]) {
    for site in sites {
        for (place, route) in site.routes.iter().enumerate() {
            let Action::Proxy(proxy) = &route.action else { continue };
            let raw = |pool: &&Arc<PoolSettings>| {
                *pool.name == *proxy.pool
                    && pool.servers.iter().any(|server| server.address.protocol == Protocol::Tls)
            };
            if pools.iter().any(|pool| raw(&pool)) {
                let mark = root.mark_below(&["site", &site.name, "route"]);
                let key = format!("site.{}.route[{place}].proxy", site.name);
                let message = format!("pool {:?} has servers with tls://, which are for streams", proxy.pool);
                let help = Some("write https:// in front of servers that speak HTTP by TLS".to_owned());
                root.report.error(mark, &key, message, help);
            }
        }
    }
}
