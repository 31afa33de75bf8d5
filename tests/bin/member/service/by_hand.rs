//! Consumers written by hand: one careful, the others wrong on purpose. A harness that cannot tell them apart proves
//! nothing about the library.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use support::Kafka;
use support::event::{EventLog, Place, What, value_of};
use tokio::signal::unix::{SignalKind, signal};

use super::work::{Work, write};
use super::{Engine, MemberArguments};

const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// Runs one of the engines until SIGTERM.
pub(crate) async fn run(
    engine: Engine,
    arguments: &MemberArguments,
    work: Work,
    events: Arc<EventLog>,
) -> anyhow::Result<String> {
    let mut config = Kafka::new(&arguments.bootstrap).client_config();
    config
        .set("group.id", &arguments.group)
        .set("client.id", &arguments.name)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "1000");
    let context = Context { engine, events, positions: Mutex::default() };
    let consumer: BaseConsumer<Context> = config.create_with_context(context)?;
    consumer.subscribe(&[&arguments.topic])?;

    let stopping = Arc::new(AtomicBool::new(false));
    let mut term = signal(SignalKind::terminate())?;
    let told = Arc::clone(&stopping);
    let runtime = tokio::runtime::Handle::current();
    let consuming = tokio::task::spawn_blocking(move || consume(&consumer, &work, &runtime, &stopping));
    term.recv().await;
    told.store(true, Ordering::Relaxed);
    consuming.await?;
    Ok("stopped".to_owned())
}

fn consume(consumer: &BaseConsumer<Context>, work: &Work, runtime: &tokio::runtime::Handle, stopping: &AtomicBool) {
    let context = consumer.context();
    let mut committed = Instant::now();
    while !stopping.load(Ordering::Relaxed) {
        // Errors of a poll are outages; the client goes on by itself.
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(20)) {
            let place = Place::new(record.topic(), record.partition(), record.offset());
            let key = (place.topic.clone(), place.partition);
            let next = place.offset + 1;
            if context.engine == Engine::CommitsFirst {
                context.lock().insert(key.clone(), next);
                context.commit(consumer);
            }
            let value = value_of(record.payload());
            while runtime.block_on(work.handle(place.clone(), value.clone())).is_err() {}
            context.lock().insert(key, next);
        }
        if committed.elapsed() >= COMMIT_INTERVAL {
            context.commit(consumer);
            committed = Instant::now();
        }
    }
}

struct Context {
    engine: Engine,
    events: Arc<EventLog>,
    /// The next offset of every partition that this member has and has handled something of.
    positions: Mutex<BTreeMap<(String, i32), i64>>,
}

impl Context {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, i32), i64>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        let positions = self.lock().clone();
        if positions.is_empty() || self.engine == Engine::NeverCommits {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        for ((topic, partition), offset) in &positions {
            if let Err(err) = offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset)) {
                tracing::error!("offset {offset} cannot be committed: {err}");
            }
        }
        let asked = Instant::now();
        for ((topic, partition), offset) in positions {
            write(&self.events, What::CommitRequested { place: Place::new(topic, partition, offset) });
        }
        match consumer.commit(&offsets, CommitMode::Sync) {
            Ok(()) => {
                let round_trip = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
                write(&self.events, What::CommitAcknowledged { round_trip });
            }
            Err(err) => tracing::warn!("commit: {err}"),
        }
    }
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(assigned) => {
                write(&self.events, What::Assigned { partitions: partitions(assigned) });
            }
            Rebalance::Revoke(revoked) => {
                let partitions = partitions(revoked);
                if consumer.assignment_lost() {
                    write(&self.events, What::Lost { partitions: partitions.clone() });
                } else {
                    write(&self.events, What::Revoking { partitions: partitions.clone() });
                    self.commit(consumer);
                    write(&self.events, What::Revoked { partitions: partitions.clone() });
                }
                self.lock().retain(|partition, _| !partitions.contains(partition));
            }
            Rebalance::Error(err) => tracing::error!("rebalance: {err}"),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<(String, i32)> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}
