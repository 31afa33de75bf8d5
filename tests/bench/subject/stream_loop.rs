//! The same loop on `StreamConsumer`, the asynchronous consumer of rust-rdkafka.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer as _, DefaultConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::AsyncRuntime;
use tokio::signal::unix::{SignalKind, signal};

use super::client;
use crate::measure;
use crate::order::Order;
use crate::protocol::Assignment;

const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(assignment: &Assignment) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let consumer: StreamConsumer<DefaultConsumerContext, Tokio> = client::config(assignment).create()?;
        consumer.subscribe(&[&assignment.topic])?;
        let mut told_to_stop = signal(SignalKind::terminate())?;
        tokio::select! {
            failed = consume(&consumer, assignment.work_micros) => failed,
            _ = told_to_stop.recv() => match consumer.commit_consumer_state(CommitMode::Sync) {
                Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
                committed => Ok(committed?),
            }
        }
    })
}

async fn consume(consumer: &StreamConsumer<DefaultConsumerContext, Tokio>, work_micros: u64) -> anyhow::Result<()> {
    let mut last_commit = Instant::now();
    loop {
        let message = consumer.recv().await?;
        let order: Order = serde_json::from_slice(message.payload().context("a record has no payload")?)?;
        if work_micros > 0 {
            measure::work(work_micros).await;
        }
        measure::handled(&order);
        if last_commit.elapsed() >= COMMIT_INTERVAL {
            consumer.commit_consumer_state(CommitMode::Async)?;
            last_commit = Instant::now();
        }
    }
}

/// What rust-rdkafka's feature `tokio` has; the library does without it, and a feature is on for all or none.
#[derive(Debug)]
struct Tokio;

impl AsyncRuntime for Tokio {
    type Delay = tokio::time::Sleep;

    fn spawn<T>(task: T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        tokio::time::sleep(duration)
    }
}
