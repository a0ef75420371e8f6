//! Lines of jobs over JetStream.
//!
//! **Job.** What `work` promises, kept on disk by NATS. **Called by** `work`. **Calls** the client library.
//!
//! A line is a stream of its own with work-queue retention: a job is gone when it is done. Ids are deduplicated by the
//! stream; one durable pull consumer hands jobs to whoever asks, on every machine.
//!
//! Invariants
//! 1. A put is answered when the stream has acknowledged it; done, when the consumer has.
//!
//! Not here: what a job is (`work`).

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::{AckKind, Acker, PublishMessage};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::error::BusError;
use crate::exchange::MESSAGE_MAX;
use crate::work::{Job, Put, WorkLimits};

/// How long the server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The header by which JetStream knows a message again.
const ID: &str = "Nats-Msg-Id";
/// What the server says when the stream's limits are reached.
const NO_ROOM: [&str; 2] = ["maximum messages exceeded", "maximum bytes exceeded"];

/// A line.
pub(crate) struct JetLine {
    context: Context,
    subject: String,
    consumer: PullConsumer,
    jobs_max: u32,
}

/// A job that was taken.
pub(crate) struct JetJob(Acker);

impl std::fmt::Debug for JetJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JetJob")
    }
}

impl JetLine {
    /// Makes the line, or finds it.
    pub(crate) async fn open(
        client: &Client,
        cluster: &str,
        name: &str,
        limits: WorkLimits,
    ) -> Result<Self, BusError> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER_MAX);
        let (stream, subject) = (format!("{cluster}-work-{name}"), format!("{cluster}.w.{name}"));
        let config = Config {
            name: stream,
            subjects: vec![subject.clone()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_messages: i64::from(limits.jobs_max),
            max_bytes: i64::try_from(limits.bytes_max).unwrap_or(i64::MAX),
            max_message_size: i32::try_from(MESSAGE_MAX + 1024).unwrap_or(i32::MAX),
            duplicate_window: limits.remembered,
            num_replicas: 1,
            description: Some("jobs of madang".to_owned()),
            ..Config::default()
        };
        let made = tokio::time::timeout(ANSWER_MAX, async {
            let stream =
                context.get_or_create_stream(config).await.map_err(|error| failed(&error.to_string()))?;
            let consumer = pull::Config {
                durable_name: Some("workers".to_owned()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: limits.patience,
                max_ack_pending: i64::from(limits.jobs_max),
                ..pull::Config::default()
            };
            stream
                .get_or_create_consumer("workers", consumer)
                .await
                .map_err(|error| failed(&error.to_string()))
        });
        let consumer =
            made.await.map_err(|_| BusError::Unreachable { why: "it does not answer".to_owned() })??;
        Ok(Self { context, subject, consumer, jobs_max: limits.jobs_max })
    }

    pub(crate) async fn put(&self, id: &str, bytes: Bytes) -> Result<Put, BusError> {
        // Nothing is left in a line of the client library: whoever puts decides what to do.
        if self.context.client().connection_state() != State::Connected {
            return Err(unreachable("it is away"));
        }
        let message = PublishMessage::build().payload(bytes).message_id(id);
        let sent = async { self.context.send_publish(self.subject.clone(), message).await?.await };
        let answer = tokio::time::timeout(ANSWER_MAX, sent)
            .await
            .map_err(|_| BusError::Unknown { why: "it does not answer".to_owned() })?;
        match answer {
            Ok(ack) => Ok(Put { duplicate: ack.duplicate }),
            Err(error) => {
                let why = error.to_string();
                Err(match error.kind() {
                    _ if NO_ROOM.iter().any(|text| why.contains(text)) => {
                        let max = usize::try_from(self.jobs_max).unwrap_or(usize::MAX);
                        BusError::Full { what: "the line of jobs", waiting: max, max }
                    }
                    PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => BusError::Unknown { why },
                    PublishErrorKind::StreamNotFound => BusError::Unreachable { why },
                    _ => BusError::Failed { why },
                })
            }
        }
    }

    pub(crate) async fn take(&self, max: usize, wait: Duration) -> Result<Vec<Job>, BusError> {
        let asked = async {
            let batch = self.consumer.fetch().max_messages(max).messages().await;
            let mut jobs = taken(batch.map_err(unreachable)?, max).await;
            if jobs.is_empty() && !wait.is_zero() {
                // The first that comes ends the waiting; its neighbours are taken with it.
                let batch = self.consumer.batch().max_messages(1).expires(wait).messages().await;
                jobs = taken(batch.map_err(unreachable)?, 1).await;
                if !jobs.is_empty() && max > 1 {
                    let batch = self.consumer.fetch().max_messages(max - 1).messages().await;
                    if let Ok(batch) = batch {
                        jobs.append(&mut taken(batch, max - 1).await);
                    }
                }
            }
            Ok(jobs)
        };
        let late = |_| Err(BusError::Unreachable { why: "it does not answer".to_owned() });
        tokio::time::timeout(wait + ANSWER_MAX, asked).await.unwrap_or_else(late)
    }
}

/// The jobs of a batch. What was taken before the way broke is handed out all the same.
async fn taken(mut batch: pull::Batch, max: usize) -> Vec<Job> {
    let mut jobs = Vec::new();
    while jobs.len() < max
        && let Some(Ok(message)) = batch.next().await
    {
        let attempt = message.info().map_or(1, |info| info.delivered);
        let id = message.headers.as_ref().and_then(|headers| headers.get(ID)).map(ToString::to_string);
        let (message, acker) = message.split();
        let attempt = u32::try_from(attempt).unwrap_or(1);
        jobs.push(Job::of_jet(id.unwrap_or_default(), message.payload, attempt, JetJob(acker)));
    }
    jobs
}

impl JetJob {
    pub(crate) async fn done(self) -> Result<(), BusError> {
        self.0.double_ack().await.map_err(|error| BusError::Unknown { why: error.to_string() })
    }

    pub(crate) async fn again(self, after: Duration) -> Result<(), BusError> {
        let kind = AckKind::Nak(Some(after));
        self.0.double_ack_with(kind).await.map_err(|error| BusError::Unknown { why: error.to_string() })
    }
}

fn unreachable(error: impl std::fmt::Display) -> BusError {
    BusError::Unreachable { why: error.to_string() }
}

fn failed(why: &str) -> BusError {
    BusError::Failed { why: why.to_owned() }
}
