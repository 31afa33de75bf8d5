//! What the subjects consume: topics filled before a round, and an open loop that fills one while it is consumed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use support::{Kafka, unique};

use crate::measure::monotonic_nanos;
use crate::order;

const KEY: &str = "ORDER-123";
const DEADLINE: Duration = Duration::from_secs(60);

/// The topics of the throughput case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// ORDERs of about 100 bytes in one partition.
    #[value(name = "100x1")]
    SmallOnOne,
    /// ORDERs of about 100 bytes in six partitions.
    #[value(name = "100x6")]
    SmallOnSix,
    /// ORDERs of about 100 bytes in a hundred partitions.
    #[value(name = "100x100")]
    SmallOnHundred,
    /// ORDERs of 512 bytes in one partition.
    #[value(name = "512x1")]
    LargeOnOne,
    /// ORDERs of 512 bytes in six partitions.
    #[value(name = "512x6")]
    LargeOnSix,
}

impl Shape {
    pub(crate) fn partitions(self) -> i32 {
        match self {
            Self::SmallOnOne | Self::LargeOnOne => 1,
            Self::SmallOnSix | Self::LargeOnSix => 6,
            Self::SmallOnHundred => 100,
        }
    }

    pub(crate) fn payload(self) -> Vec<u8> {
        match self {
            Self::SmallOnOne | Self::SmallOnSix | Self::SmallOnHundred => order::payload(0),
            Self::LargeOnOne | Self::LargeOnSix => order::payload(512),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SmallOnOne => "100x1",
            Self::SmallOnSix => "100x6",
            Self::SmallOnHundred => "100x100",
            Self::LargeOnOne => "512x1",
            Self::LargeOnSix => "512x6",
        }
    }
}

/// A new topic of `shape` with `records` records, spread evenly over its partitions, all acknowledged.
pub(crate) async fn filled(kafka: &Kafka, shape: Shape, records: usize) -> anyhow::Result<String> {
    filled_with(kafka, shape.partitions(), &shape.payload(), records).await
}

/// The same with any payload and number of partitions.
pub(crate) async fn filled_with(
    kafka: &Kafka,
    partitions: i32,
    payload: &[u8],
    records: usize,
) -> anyhow::Result<String> {
    let topic = unique("bench");
    kafka.create_topic(&topic, partitions).await?;
    let producer = producer(kafka, &[("linger.ms", "20"), ("batch.size", "1000000"), ("acks", "1")])?;
    for partition in (0..partitions).cycle().take(records) {
        send(&producer, &topic, partition, payload)?;
    }
    producer.flush(DEADLINE).context("fill a topic")?;
    producer.context().outcome()?;
    Ok(topic)
}

/// How an open loop runs: records are due at fixed instants, whatever became of those before them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenLoop {
    /// Records per second.
    pub(crate) rate: u32,
    /// Records that are measured; those before them warm up.
    pub(crate) measured: usize,
    /// How long to warm up once the subject has handled its first record.
    pub(crate) warm_up: Duration,
}

/// Produces into `topic` until all measured records are acknowledged; answers how many nanoseconds after they were due the
/// measured records were sent. `consuming` says when warming up may begin to end.
///
/// Each record carries the instant at which it was *due*, not that at which it was sent, so a stall here or in the broker
/// is counted for every record that it held up, and no subject can hide its own stalls by slowing the producer.
pub(crate) fn drive(
    kafka: &Kafka,
    topic: &str,
    partitions: i32,
    plan: OpenLoop,
    consuming: &AtomicBool,
) -> anyhow::Result<Vec<u64>> {
    let producer = producer(kafka, &[("linger.ms", "0"), ("acks", "1")])?;
    let period = 1_000_000_000 / u64::from(plan.rate.max(1));
    let start = monotonic_nanos();
    let give_up = start + nanos(DEADLINE);
    let mut measure_from = None;
    let mut late = Vec::with_capacity(plan.measured);
    for (due, partition) in (0_u64..).map(|n| start + n * period).zip((0..partitions).cycle()) {
        while let Some(wait) = due.checked_sub(monotonic_nanos()).filter(|wait| *wait > 0) {
            std::thread::park_timeout(Duration::from_nanos(wait));
        }
        if measure_from.is_none() {
            if consuming.load(Ordering::Acquire) {
                measure_from = Some(due + nanos(plan.warm_up));
            }
            anyhow::ensure!(due < give_up, "the subject has handled nothing after {DEADLINE:?}");
        }
        let measure = measure_from.is_some_and(|from| due >= from);
        send(&producer, topic, partition, &order::timed_payload(measure, due))?;
        if measure {
            late.push(monotonic_nanos().saturating_sub(due));
        }
        if late.len() == plan.measured {
            break;
        }
    }
    producer.flush(DEADLINE).context("finish the open loop")?;
    producer.context().outcome()?;
    late.sort_unstable();
    Ok(late)
}

/// Produces `rate` traced records per second, one partition after the other, until told to stop; answers how many each
/// partition got, all acknowledged.
pub(crate) fn trickle(
    kafka: &Kafka,
    topic: &str,
    partitions: i32,
    rate: u32,
    stop: &AtomicBool,
) -> anyhow::Result<u64> {
    let producer = producer(kafka, &[("linger.ms", "0"), ("acks", "1")])?;
    let period = 1_000_000_000 / u64::from(rate.max(1));
    let start = monotonic_nanos();
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        for partition in 0..partitions {
            let due =
                start + (number * u64::from(partitions.unsigned_abs()) + u64::from(partition.unsigned_abs())) * period;
            while let Some(wait) = due.checked_sub(monotonic_nanos()).filter(|wait| *wait > 0) {
                std::thread::park_timeout(Duration::from_nanos(wait));
            }
            send(&producer, topic, partition, &order::traced_payload(partition, number))?;
        }
        number += 1;
    }
    producer.flush(DEADLINE).context("end the trickle")?;
    producer.context().outcome()?;
    Ok(number)
}

fn producer(kafka: &Kafka, settings: &[(&str, &str)]) -> anyhow::Result<ThreadedProducer<Deliveries>> {
    let mut config = kafka.client_config();
    config.set("queue.buffering.max.messages", "1000000").set("queue.buffering.max.kbytes", "262144");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create_with_context(Deliveries::default()).context("create a producer")
}

fn send(producer: &ThreadedProducer<Deliveries>, topic: &str, partition: i32, payload: &[u8]) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(topic).partition(partition).key(KEY).payload(payload);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                record = refused;
                std::thread::park_timeout(Duration::from_millis(5));
            }
            Err((err, _)) => return Err(err).context("produce a record"),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Remembers whether any record was refused by the broker.
#[derive(Debug, Default)]
struct Deliveries {
    failed: AtomicBool,
}

impl Deliveries {
    fn outcome(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.failed.load(Ordering::Acquire), "the broker refused records");
        Ok(())
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
    }
}
