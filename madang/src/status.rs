//! What the server tells about itself when asked.
//!
//! **Job.** Gather status as JSON and the gauges of `/metrics`. **Called by** `run`. **Calls** `house`, `host`.
//!
//! Not here: how it is shown (`cli::show`).

use std::path::Path;

use madang_host::clock;
use madang_host::process_facts::Facts;
use madang_host::telemetry::metrics::Gauge;
use madang_supervise::scaler::keeper::ScalerView;
use serde_json::{Value, json};

use crate::house::House;

/// One screen about everything.
pub async fn json(house: &House, file: Option<&Path>) -> Value {
    let now = clock::wall();
    let listeners: Vec<Value> = house
        .listeners()
        .into_iter()
        .map(|listener| json!({ "name": listener.name, "bound": listener.bound, "sites": listener.sites, "connections": listener.open }))
        .collect();
    let mut certificates = Vec::new();
    for policies in house.policies() {
        for policy in policies.iter() {
            for pair in policy.store.pairs() {
                certificates.push(
                    json!({ "site": &*policy.name, "names": pair.names, "days_left": pair.days_left(now) }),
                );
            }
        }
    }
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "process": std::process::id(),
        "settings": file.map(|file| file.display().to_string()),
        "data": house.settings().server.data.display().to_string(),
        "workers": house.workers(),
        "connections": house.gate.open(),
        "memory_bytes": Facts::read().resident_bytes,
        "listeners": listeners,
        "sites": house.telemetry.metrics.summaries(),
        "streams": house.telemetry.metrics.stream_summaries(),
        "pools": house.keeper().map(|keeper| keeper.views()),
        "apps": house.apps().map(|apps| apps.views()),
        "scalers": house.scalers(),
        "chats": house.chats().views(),
        "bus": house.chats().bus_view(),
        "certificates": certificates,
    })
}

/// `/metrics`.
pub fn metrics(house: &House, alerts: Vec<Gauge>) -> String {
    let mut days = Vec::new();
    for policies in house.policies() {
        for policy in policies.iter() {
            for pair in policy.store.pairs() {
                let name = pair.names.first().cloned().unwrap_or_default();
                days.push((vec![("site", policy.name.to_string()), ("name", name)], pair.expires as f64));
            }
        }
    }
    days.dedup_by(|a, b| a.0 == b.0);
    let open = house
        .listeners()
        .into_iter()
        .map(|listener| (vec![("listener", listener.name)], f64::from(listener.open)))
        .collect();
    let mut gauges = vec![
        Gauge { name: "madang_connections_open", help: "Connections open now.", values: open },
        Gauge {
            name: "madang_certificate_expiry_timestamp_seconds",
            help: "When a certificate ends, seconds since 1970.",
            values: days,
        },
        Gauge { name: "madang_workers", help: "Worker threads.", values: one(house.workers() as f64) },
        Gauge {
            name: "madang_build_info",
            help: "Always 1.",
            values: vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
        },
    ];
    let mut durations = Vec::new();
    if let Some(keeper) = house.keeper() {
        let families = keeper.families();
        gauges.extend(families.numbers);
        durations = families.durations;
    }
    let (chats, of_store) = house.chats().families();
    gauges.extend(chats);
    gauges.extend(house.logins().identity().map(madang_identity::Identity::metrics).unwrap_or_default());
    durations.extend(of_store);
    gauges.extend(alerts);
    gauges.extend(scaler_gauges(house));
    gauges.extend(process_gauges());
    house.telemetry.metrics.render(&gauges, &durations)
}

/// Servers beyond this machine.
fn scaler_gauges(house: &House) -> Vec<Gauge> {
    let scalers = house.scalers();
    if scalers.is_empty() {
        return Vec::new();
    }
    let rows = |of: &dyn Fn(&ScalerView) -> f64| {
        scalers.iter().map(|one| (vec![("pool", one.scaler.clone())], of(one))).collect()
    };
    let gauge = |name, help, values| Gauge { name, help, values };
    vec![
        gauge(
            "madang_scaler_wanted",
            "Servers that a scaler is asked for.",
            rows(&|one| f64::from(one.wanted)),
        ),
        gauge("madang_scaler_servers", "Servers that it gave.", rows(&|one| one.servers.len() as f64)),
        gauge("madang_scaler_asked_total", "Times it was asked.", rows(&|one| one.asked as f64)),
        gauge(
            "madang_scaler_failed_total",
            "Times it gave no answer that counts.",
            rows(&|one| one.failed as f64),
        ),
    ]
}

/// What the kernel knows about us. What it does not tell is left out.
fn process_gauges() -> Vec<Gauge> {
    let facts = Facts::read();
    let gauge = |name, help, value: Option<f64>| value.map(|value| Gauge { name, help, values: one(value) });
    let count = |value: Option<u64>| value.map(|value| value as f64);
    let all = [
        gauge("process_resident_memory_bytes", "Resident memory.", count(facts.resident_bytes)),
        gauge("process_virtual_memory_bytes", "Address space.", count(facts.virtual_bytes)),
        gauge("process_threads", "Threads.", count(facts.threads)),
        gauge("process_open_fds", "Open file descriptors.", count(facts.open_fds)),
        gauge("process_max_fds", "File descriptors that may be open.", count(facts.max_fds)),
        gauge("process_cpu_seconds_total", "CPU time, user and system.", Some(facts.cpu_seconds)),
        gauge("process_start_time_seconds", "Start, seconds since 1970.", facts.start_seconds),
    ];
    all.into_iter().flatten().collect()
}

fn one(value: f64) -> Vec<(Vec<(&'static str, String)>, f64)> {
    vec![(Vec::new(), value)]
}
