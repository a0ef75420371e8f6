//! What lines of jobs promise.
//!
//! **Job.** The behaviours of work, each over two places. **Called by** the battery.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use madang_bus::Bus;
use madang_bus::work::{Job, Work, WorkLimits};

use super::Places;
use super::reader::PATIENCE;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await }).expect("it never came to an end")
}

async fn line(bus: &Bus, limits: WorkLimits) -> Work {
    bus.work("hooks", limits).await.unwrap()
}

async fn put(line: &Work, id: &str) -> bool {
    line.put(id, Bytes::from(format!("job {id}"))).await.unwrap().duplicate
}

async fn take(line: &Work, max: usize) -> Vec<Job> {
    line.take(max, Duration::from_secs(5)).await.unwrap()
}

async fn nothing(line: &Work) -> bool {
    line.take(10, Duration::from_millis(300)).await.unwrap().is_empty()
}

pub fn once_and_in_order(places: &Places) {
    run(async {
        let (here, there) = (line(&places.here, limits()).await, line(&places.there, limits()).await);
        for number in 0..50 {
            assert!(!put(&here, &format!("id-{number}")).await);
        }
        assert!(put(&there, "id-7").await, "the same id is the same job, whoever puts it");
        let mut seen = Vec::new();
        while seen.len() < 50 {
            // Two workers share the jobs.
            for (line, max) in [(&here, 7), (&there, 5)] {
                for job in if seen.len() < 50 { take(line, max).await } else { Vec::new() } {
                    assert_eq!((job.attempt, job.bytes.clone()), (1, Bytes::from(format!("job {}", job.id))));
                    seen.push(job.id.clone());
                    job.done().await.unwrap();
                }
            }
        }
        assert_eq!(seen, (0..50).map(|number| format!("id-{number}")).collect::<Vec<_>>());
        assert!(nothing(&here).await);
        assert!(put(&here, "id-7").await, "done is remembered, too");
    });
}

pub fn again_until_done(places: &Places) {
    run(async {
        let limits = WorkLimits { patience: Duration::from_secs(1), ..limits() };
        let (here, there) = (line(&places.here, limits).await, line(&places.there, limits).await);
        put(&here, "fails").await;
        put(&here, "hangs").await;
        let mut jobs = take(&there, 2).await;
        assert_eq!(jobs.iter().map(|job| &*job.id).collect::<Vec<_>>(), ["fails", "hangs"]);
        // One says so, the other's worker is never heard of again.
        let (hangs, fails) = (jobs.pop().unwrap(), jobs.pop().unwrap());
        fails.again(Duration::from_millis(100)).await.unwrap();
        drop(hangs);
        let mut second = Vec::new();
        while second.len() < 2 {
            for job in take(&here, 2).await {
                second.push((job.id.clone(), job.attempt));
                job.done().await.unwrap();
            }
        }
        assert_eq!(second, [("fails".to_owned(), 2), ("hangs".to_owned(), 2)]);
        assert!(nothing(&there).await);
    });
}

pub fn a_full_line_refuses(places: &Places) {
    run(async {
        let limits = WorkLimits { jobs_max: 3, ..limits() };
        let line = line(&places.here, limits).await;
        for number in 0..3 {
            put(&line, &format!("id-{number}")).await;
        }
        let error = line.put("one-more", Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.to_string(), "the line of jobs is full: 3 of 3 wait");
        take(&line, 1).await.pop().unwrap().done().await.unwrap();
        assert!(!put(&line, "one-more").await, "a refused job was not remembered");
        for id in ["", "with space", "방"] {
            assert_eq!(line.put(id, Bytes::new()).await.unwrap_err().name(), "invalid");
        }
        assert_eq!(places.here.work("no.dots", limits).await.unwrap_err().name(), "invalid");
    });
}

fn limits() -> WorkLimits {
    WorkLimits::default()
}
