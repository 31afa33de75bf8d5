//! Takes the customers' part: produces orders, and remembers where each one was stored.
//!
//! It stands for another service and knows nothing of the listeners.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use crate::cluster::TOPIC;
use crate::ledger::lock;
use crate::order::RunId;

const FLUSH_DEADLINE: Duration = Duration::from_secs(60);

/// Where the broker stored an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) number: u32,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// How many orders to produce, and how fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// `None`: until told to stop.
    pub(crate) orders: Option<u32>,
    /// Between two orders; zero for as fast as it goes.
    pub(crate) pause: Duration,
}

/// What the rest of the shop shares with the producer's thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    stop: Arc<AtomicBool>,
    produced: Arc<AtomicU32>,
}

impl Progress {
    /// Orders that the broker has stored.
    pub(crate) fn produced(&self) -> u32 {
        self.produced.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Blocks until the plan is fulfilled or stopped, and everything sent is stored.
pub(crate) fn produce(
    bootstrap_servers: &str,
    run: &RunId,
    plan: Plan,
    progress: &Progress,
) -> anyhow::Result<Vec<Stored>> {
    let context = Deliveries { progress: progress.clone(), outcome: Mutex::new(Ok(Vec::new())) };
    let producer: BaseProducer<Deliveries> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", FLUSH_DEADLINE.as_millis().to_string())
        .create_with_context(context)?;

    let started = Instant::now();
    for number in (0..plan.orders.unwrap_or(u32::MAX)).take_while(|_| !progress.is_stopped()) {
        let order = run.order(number);
        let json = serde_json::to_vec(&order)?;
        send(&producer, &order.user_id, &json, number)?;
        let due = plan.pause * (number + 1);
        loop {
            // Serves the delivery reports, and is the pause between two orders.
            producer.poll(due.saturating_sub(started.elapsed()).min(Duration::from_millis(100)));
            if started.elapsed() >= due || progress.is_stopped() {
                break;
            }
        }
    }
    producer.flush(FLUSH_DEADLINE).context("wait for the broker to store the orders")?;
    let outcome = std::mem::replace(&mut *lock(&producer.context().outcome), Ok(Vec::new()));
    outcome.context("produce orders")
}

fn send(producer: &BaseProducer<Deliveries>, key: &str, payload: &[u8], number: u32) -> anyhow::Result<()> {
    let mut record = BaseRecord::with_opaque_to(TOPIC, number as usize).key(key).payload(payload);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                record = returned;
                producer.poll(Duration::from_millis(100));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

#[derive(Debug)]
struct Deliveries {
    progress: Progress,
    /// The first failure wins: the run has to end then.
    outcome: Mutex<Result<Vec<Stored>, KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// The order's number.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut outcome = lock(&self.outcome);
        match (result, outcome.as_mut()) {
            (Ok(message), Ok(stored)) => {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                stored.push(Stored { number, partition: message.partition(), offset: message.offset() });
                self.progress.produced.fetch_add(1, Ordering::Relaxed);
            }
            (Err((error, _)), Ok(_)) => {
                *outcome = Err(error.clone());
                self.progress.stop();
            }
            (_, Err(_)) => {}
        }
    }
}
