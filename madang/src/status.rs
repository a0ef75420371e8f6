//! What the server tells about itself when asked.
//!
//! **Job.** Gather status as JSON and the gauges of `/metrics`. **Called by** `run`. **Calls** `house`, `host`.
//!
//! Not here: how it is shown (`cli::show`).

use std::path::Path;

use madang_host::clock;
use madang_host::telemetry::metrics::Gauge;
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
        "memory_bytes": resident_bytes(),
        "listeners": listeners,
        "sites": house.telemetry.metrics.summaries(),
        "certificates": certificates,
    })
}

/// `/metrics`.
pub fn metrics(house: &House) -> String {
    let now = clock::wall();
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
    let _ = now;
    let open = house
        .listeners()
        .into_iter()
        .map(|listener| (vec![("listener", listener.name)], f64::from(listener.open)))
        .collect();
    let one = |value: f64| vec![(Vec::new(), value)];
    house.telemetry.metrics.render(&[
        Gauge { name: "madang_connections_open", help: "Connections open now.", values: open },
        Gauge {
            name: "madang_certificate_expiry_timestamp_seconds",
            help: "When a certificate ends, seconds since 1970.",
            values: days,
        },
        Gauge { name: "madang_workers", help: "Worker threads.", values: one(house.workers() as f64) },
        Gauge {
            name: "process_resident_memory_bytes",
            help: "Resident memory.",
            values: one(resident_bytes() as f64),
        },
        Gauge {
            name: "process_open_fds",
            help: "Open file descriptors.",
            values: one(open_descriptors() as f64),
        },
        Gauge {
            name: "process_cpu_seconds_total",
            help: "CPU time, user and system.",
            values: one(cpu_seconds()),
        },
        Gauge {
            name: "madang_build_info",
            help: "Always 1.",
            values: vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
        },
    ])
}

/// VmRSS of /proc/self/status.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |list| list.count().saturating_sub(1))
}

/// Of the process, from its own clock.
fn cpu_seconds() -> f64 {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    usage.tv_sec as f64 + usage.tv_nsec as f64 / 1e9
}
