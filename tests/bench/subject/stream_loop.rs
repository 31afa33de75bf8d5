//! The same loop on `StreamConsumer`, the asynchronous consumer of rust-rdkafka.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer as _, DefaultConsumerContext, StreamConsumer};
use rdkafka::util::AsyncRuntime;

use super::{Assignment, client};
use crate::measure;
use crate::order::Order;

const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(assignment: &Assignment) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(consume(assignment))
}

async fn consume(assignment: &Assignment) -> anyhow::Result<()> {
    let consumer: StreamConsumer<DefaultConsumerContext, Tokio> = client::config(assignment).create()?;
    consumer.subscribe(&[&assignment.topic])?;
    let mut last_commit = Instant::now();
    loop {
        let message = consumer.recv().await?;
        let order: Order = serde_json::from_slice(message.payload().context("a record has no payload")?)?;
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
