//! The member on the library: nothing but its public API, and two test hooks that show its commits and break it on
//! purpose.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kafka_listener::__private::test_hooks;
use kafka_listener::extract::{RawPayload, State};
use kafka_listener::rebalance::{Partitions, RebalanceListener, StartOffset};
use kafka_listener::{
    Acknowledgment, ListenerRegistry, RecordMetadata, Reply, TopicPartition, kafka_listener, listener,
};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde::Deserialize;
use support::event::{EventLog, Place, What, value_of};

use super::work::{ToldToFail, Work, write};
use super::{Acks, MemberArguments, Payload, Sabotage};

/// The part of an order that identifies it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: String,
}

#[kafka_listener(id = "member", topic = "${app.topic}", group_id = "${app.group}")]
async fn raw(payload: RawPayload, meta: RecordMetadata, State(work): State<Work>) -> Result<(), ToldToFail> {
    work.handle(place(&meta), value_of(payload.as_bytes())).await
}

#[kafka_listener(id = "member", topic = "${app.topic}", group_id = "${app.group}")]
async fn order(order: Order, meta: RecordMetadata, State(work): State<Work>) -> Result<(), ToldToFail> {
    work.handle(place(&meta), order.order_id).await
}

/// Replies with the record's value.
#[kafka_listener(id = "member", topic = "${app.topic}", group_id = "${app.group}")]
async fn replying(payload: RawPayload, meta: RecordMetadata, State(work): State<Work>) -> Result<Reply, ToldToFail> {
    let value = value_of(payload.as_bytes());
    work.handle(place(&meta), value.clone()).await?;
    Ok(Reply::bytes(value))
}

/// Acknowledges at the end of its work.
#[kafka_listener(id = "member", topic = "${app.topic}", group_id = "${app.group}")]
async fn acknowledging(
    payload: RawPayload,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(work): State<Work>,
) -> Result<(), ToldToFail> {
    work.handle(place(&meta), value_of(payload.as_bytes())).await?;
    ack.acknowledge();
    Ok(())
}

/// Lets others acknowledge when it has long returned, and not in its order.
#[kafka_listener(id = "member", topic = "${app.topic}", group_id = "${app.group}")]
async fn letting_out(
    payload: RawPayload,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(work): State<Work>,
) -> Result<(), ToldToFail> {
    work.handle(place(&meta), value_of(payload.as_bytes())).await?;
    let after = Duration::from_millis(meta.offset().unsigned_abs() * 7 % 20);
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        ack.acknowledge();
    });
    Ok(())
}

fn place(meta: &RecordMetadata) -> Place {
    Place::new(meta.topic(), meta.partition(), meta.offset())
}

/// Runs the listener until a signal; the answer is the report in words.
pub(crate) async fn run(arguments: &MemberArguments, work: Work, events: Arc<EventLog>) -> anyhow::Result<String> {
    let commits = Arc::clone(&events);
    test_hooks::on_commit(move |partition, offset| {
        write(&commits, What::CommitRequested { place: Place::new(partition.topic(), partition.partition(), offset) });
    });
    if let Some(how) = arguments.sabotage {
        test_hooks::sabotage(match how {
            Sabotage::CommitsAtHandOver => test_hooks::Sabotage::CommitsAtHandOver,
            Sabotage::NoFence => test_hooks::Sabotage::NoFence,
            Sabotage::NoPlusOne => test_hooks::Sabotage::NoPlusOne,
            Sabotage::NoDrain => test_hooks::Sabotage::NoDrain,
            Sabotage::NoOwnership => test_hooks::Sabotage::NoOwnership,
            Sabotage::NeverCommits => test_hooks::Sabotage::NeverCommits,
        });
    }
    metrics::set_global_recorder(RoundTrips(Arc::clone(&events)))?;
    let mut builder = ListenerRegistry::builder()
        .config_str(properties(&arguments.properties))
        .environment(false)
        .without_discovery()
        .register(match (arguments.acks, arguments.payload) {
            (Acks::Inside, _) => listener!(acknowledging),
            (Acks::Outside, _) => listener!(letting_out),
            (Acks::Reply, _) => listener!(replying),
            (Acks::Return, Payload::Raw) => listener!(raw),
            (Acks::Return, Payload::Order) => listener!(order),
        })
        .state(work)
        .rebalance_listener(Hooks(events))
        .set("kafka.bootstrap_servers", arguments.bootstrap.split(',').collect::<Vec<_>>())
        .set("kafka.client_id", arguments.name.as_str())
        .set("app.topic", arguments.topic.as_str())
        .set("app.group", arguments.group.as_str());
    for (path, value) in &arguments.settings {
        builder = match (value.parse::<i64>(), value.parse::<bool>()) {
            (Ok(number), _) => builder.set(path, number),
            (_, Ok(flag)) => builder.set(path, flag),
            _ => builder.set(path, value.as_str()),
        };
    }
    let report = builder.run().await?;
    let words = report.to_string();
    report.into_result()?;
    Ok(words)
}

/// As a file that sets nothing but these.
fn properties(properties: &[(String, String)]) -> String {
    let lines = properties.iter().map(|(key, value)| format!("{key:?} = {value:?}\n"));
    std::iter::once("[kafka.properties]\n".to_owned()).chain(lines).collect()
}

/// Writes every rebalance down.
#[derive(Debug)]
struct Hooks(Arc<EventLog>);

#[async_trait]
impl RebalanceListener for Hooks {
    async fn on_partitions_assigned(&self, assigned: Partitions) -> Vec<StartOffset> {
        write(&self.0, What::Assigned { partitions: pairs(&assigned.partitions) });
        Vec::new()
    }

    async fn on_partitions_revoked_before_commit(&self, revoked: Partitions) {
        write(&self.0, What::Revoking { partitions: pairs(&revoked.partitions) });
    }

    async fn on_partitions_revoked_after_commit(&self, revoked: Partitions) {
        write(&self.0, What::Revoked { partitions: pairs(&revoked.partitions) });
    }

    async fn on_partitions_lost(&self, lost: Partitions) {
        write(&self.0, What::Lost { partitions: pairs(&lost.partitions) });
    }
}

fn pairs(partitions: &[TopicPartition]) -> Vec<(String, i32)> {
    partitions.iter().map(|partition| (partition.topic().to_owned(), partition.partition())).collect()
}

/// Takes from the library's metrics how long each commit took.
#[derive(Debug)]
struct RoundTrips(Arc<EventLog>);

#[derive(Debug)]
struct RoundTrip(Arc<EventLog>);

impl HistogramFn for RoundTrip {
    fn record(&self, seconds: f64) {
        let round_trip = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).as_micros();
        write(&self.0, What::CommitAcknowledged { round_trip: u64::try_from(round_trip).unwrap_or(u64::MAX) });
    }
}

impl Recorder for RoundTrips {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() == "kafka_listener_commit_seconds" {
            Histogram::from_arc(Arc::new(RoundTrip(Arc::clone(&self.0))))
        } else {
            Histogram::noop()
        }
    }
}
