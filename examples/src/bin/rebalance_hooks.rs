//! State per partition that follows its partition from member to member.
//!
//! Two members of one group add up payments in memory. When a partition is revoked, its total goes to a database
//! together with the offset that it reaches to; whoever gets the partition loads both and starts there. So a total
//! counts every payment exactly once, whatever the group has committed.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kafka_listener::embedded::EmbeddedKafka;
use kafka_listener::extract::{RecordMetadata, State};
use kafka_listener::rebalance::{Partitions, RebalanceListener, StartOffset};
use kafka_listener::{ListenerRegistry, TopicPartition, kafka_listener};
use kafka_listener_examples::send;
use tokio::sync::watch;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

#[kafka_listener(topic = "payments", group_id = "totals")]
async fn add_up(payment: u64, meta: RecordMetadata, State(totals): State<Totals>) {
    totals.add(&meta, payment);
}

/// What a partition's payments add up to, below an offset.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    sum: u64,
    next_offset: i64,
}

type ByPartition = Arc<Mutex<HashMap<TopicPartition, Total>>>;

/// One member's totals, and the database that all of them share.
#[derive(Clone, Debug)]
struct Totals {
    member: &'static str,
    in_memory: ByPartition,
    database: ByPartition,
    /// How many payments all members have handled.
    handled: watch::Sender<u64>,
}

impl Totals {
    fn add(&self, meta: &RecordMetadata, payment: u64) {
        let mut in_memory = lock(&self.in_memory);
        let total = in_memory.entry(meta.topic_partition().clone()).or_default();
        total.sum += payment;
        total.next_offset = meta.offset() + 1;
        self.handled.send_modify(|handled| *handled += 1);
    }

    fn say(&self, what: &str, partitions: &Partitions) {
        let names: Vec<String> = partitions.partitions.iter().map(ToString::to_string).collect();
        // A hook has nobody to report an error to, and the demo goes on without its line.
        drop(writeln!(io::stdout(), "{}: {what} {}", self.member, names.join(" and ")));
    }
}

#[async_trait]
impl RebalanceListener for Totals {
    async fn on_partitions_assigned(&self, assigned: Partitions) -> Vec<StartOffset> {
        self.say("assigned", &assigned);
        let (database, mut in_memory) = (lock(&self.database), lock(&self.in_memory));
        let load = |topic_partition: &TopicPartition| {
            let total = *database.get(topic_partition)?;
            in_memory.insert(topic_partition.clone(), total);
            Some(StartOffset { topic_partition: topic_partition.clone(), offset: total.next_offset })
        };
        assigned.partitions.iter().filter_map(load).collect()
    }

    /// No handler of these partitions runs any more, and nobody else has them yet.
    async fn on_partitions_revoked_before_commit(&self, revoked: Partitions) {
        let (mut database, mut in_memory) = (lock(&self.database), lock(&self.in_memory));
        for topic_partition in &revoked.partitions {
            database.extend(in_memory.remove_entry(topic_partition));
        }
        self.say("saved", &revoked);
    }

    async fn on_partitions_revoked_after_commit(&self, revoked: Partitions) {
        self.say("committed", &revoked);
    }

    /// Another member may be at work on them: what is in memory is worth nothing.
    async fn on_partitions_lost(&self, lost: Partitions) {
        lock(&self.in_memory).retain(|topic_partition, _| !lost.partitions.contains(topic_partition));
        self.say("lost", &lost);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let kafka = EmbeddedKafka::builder().topic("payments", 2).start()?;
    let (database, (handled, mut progress)) = (ByPartition::default(), watch::channel(0));
    let member = |member| {
        let totals = Totals {
            member,
            in_memory: ByPartition::default(),
            database: Arc::clone(&database),
            handled: handled.clone(),
        };
        ListenerRegistry::builder()
            .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
            .set("listener.session_timeout", "6s")
            .rebalance_listener(totals.clone())
            .state(totals)
            .start()
    };

    let first = member("first").await?;
    pay(&kafka)?;
    timeout(DEADLINE, progress.wait_for(|handled| *handled == 200)).await??;

    let second = member("second").await?;
    second.wait_until_assigned(DEADLINE).await?;
    pay(&kafka)?;
    timeout(DEADLINE, progress.wait_for(|handled| *handled == 400)).await??;

    second.shutdown().await.into_result()?;
    first.shutdown().await.into_result()?;
    let sum: u64 = lock(&database).values().map(|total| total.sum).sum();
    writeln!(io::stdout(), "400 payments add up to {sum}")?;
    Ok(())
}

/// A hundred payments to each partition, 1 to 100.
fn pay(kafka: &EmbeddedKafka) -> anyhow::Result<()> {
    let payments: Vec<String> = (1..=100).map(|payment| payment.to_string()).collect();
    let payments: Vec<&str> = payments.iter().map(String::as_str).collect();
    (0..2).try_for_each(|partition| send(kafka.bootstrap_servers(), "payments", partition, &payments))
}

/// Every step leaves a whole value behind, so that another thread's panic does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
