//! Goal: NATS being killed loses no job that was put, and does none twice that was said to be done.
//! Method: a real nats-server is killed and started again while jobs are put and done; a put whose answer did not come is
//! put again under the same id.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use madang_bus::error::BusError;
use madang_bus::work::{Work, WorkLimits};
use madang_host::blame::Retry;
use madang_host::clock;

use support::{PATIENCE, Server, until};

const JOBS: usize = 300;

/// Puts until it is answered, as whoever has something to be done does.
async fn put(line: &Work, id: &str) {
    let begun = clock::now();
    while let Err(error) = line.put(id, Bytes::copy_from_slice(id.as_bytes())).await {
        assert_ne!(error.retry(), Retry::Never, "{error}");
        assert!(begun.elapsed() < PATIENCE * 2, "{error}");
        clock::due(Some(clock::now() + Duration::from_millis(20))).await;
    }
}

#[test]
fn a_job_that_was_put_outlives_the_server() {
    let mut server = Server::start();
    let bus = server.bus("town");
    let limits = WorkLimits { patience: Duration::from_secs(2), ..WorkLimits::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut done: BTreeMap<String, u32> = BTreeMap::new();
    let line = runtime.block_on(bus.work("hooks", limits)).unwrap();
    for number in 0..JOBS {
        if number % 100 == 50 {
            server.crash();
            let answer = runtime.block_on(line.put("while-away", Bytes::new()));
            assert!(
                matches!(answer, Err(BusError::Unknown { .. } | BusError::Unreachable { .. })),
                "{answer:?}"
            );
            server.up();
            until("it is back", || bus.reach() == madang_bus::Reach::Connected);
        }
        runtime.block_on(put(&line, &number.to_string()));
    }
    server.crash();
    server.up();
    until("it is back", || bus.reach() == madang_bus::Reach::Connected);
    until("every job is done", || {
        runtime.block_on(async {
            for job in line.take(50, Duration::from_millis(500)).await.unwrap_or_default() {
                let id = job.id.clone();
                if job.done().await.is_ok() {
                    *done.entry(id).or_insert(0) += 1;
                }
            }
        });
        (0..JOBS).all(|number| done.contains_key(&number.to_string()))
    });
    assert!(done.values().all(|times| *times == 1), "{done:?}");
}

#[test]
fn a_server_without_jetstream_is_told() {
    let server = Server::without_jetstream();
    let bus = server.bus("town");
    until("it is there", || bus.reach() == madang_bus::Reach::Connected);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let error = runtime.block_on(bus.work("hooks", WorkLimits::default())).unwrap_err();
    assert_eq!(error.name(), "failed", "{error}");
}
