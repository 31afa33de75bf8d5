//! The producer: orders at a steady rate, each acknowledged one written down.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use support::event::{EventLog, Place, What};
use support::{Kafka, Record};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Produces until it is told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    partitions: Arc<AtomicI32>,
    sending: JoinHandle<anyhow::Result<u64>>,
    acknowledging: JoinHandle<anyhow::Result<u64>>,
}

/// What is produced.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) topic: String,
    pub(crate) partitions: i32,
    /// Records per second.
    pub(crate) rate: u32,
    /// Their values begin with this.
    pub(crate) name: String,
}

/// How many records were sent, and how many of them were acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Produced {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
}

impl Load {
    /// Orders `NAME-1`, `NAME-2` … over all partitions in turn.
    pub(crate) fn start(kafka: &Kafka, orders: Orders, harness: Arc<EventLog>) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let (hand_over, mut sent) = mpsc::channel(100_000);
        let kafka = kafka.clone();
        let Orders { topic, partitions, rate, name } = orders;
        let to = topic.clone();
        let partitions = Arc::new(AtomicI32::new(partitions));
        let spread = Arc::clone(&partitions);
        let sending = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut count = 0;
            let mut partition = 0;
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    _ = stopped.changed() => return Ok(count),
                }
                count += 1;
                partition = (partition + 1) % spread.load(Ordering::Relaxed);
                let value = format!("{name}-{count}");
                let order = serde_json::json!({
                    "orderId": value, "userId": "user456", "productId": "PROD-789", "quantity": 2, "price": 50_000
                });
                let answer = kafka.send(&Record::to(&to).partition(partition).json(order)).await?;
                hand_over.send((value, answer)).await?;
            }
        });
        let acknowledging = tokio::spawn(async move {
            let mut acked = 0;
            while let Some((value, answer)) = sent.recv().await {
                // Not acknowledged: it may be in the log or not, and nothing is promised for it.
                let Ok(delivered) = answer.await else { continue };
                let place = Place::new(topic.as_str(), delivered.partition, delivered.offset);
                harness.write(What::Acked { place, value })?;
                acked += 1;
            }
            Ok(acked)
        });
        Self { stop, partitions, sending, acknowledging }
    }

    /// From now on to this many partitions.
    pub(crate) fn spread_to(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// Stops and waits until every record is acknowledged or given up.
    pub(crate) async fn stop(self) -> anyhow::Result<Produced> {
        self.stop.send_replace(true);
        Ok(Produced { sent: self.sending.await??, acked: self.acknowledging.await?? })
    }
}
