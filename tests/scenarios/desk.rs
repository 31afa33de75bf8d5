//! What scenarios share: a listener that writes down all it does and can be held at a record, and how it is started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_listener::extract::State;
use kafka_listener::{ListenerRegistry, ListenerRegistryBuilder, RecordMetadata, kafka_listener, listener};
use serde::Deserialize;
pub(crate) use support::SOON;
use support::{Kafka, eventually};
use tokio::sync::watch;

use super::common::watch_log;

/// The id of [`desk_work`], the listener of [`registry`].
pub(crate) const LISTENER: &str = "desk";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    pub(crate) order_id: String,
}

/// One line of a [`Journal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) desk: &'static str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) order_id: String,
    pub(crate) step: Step,
    pub(crate) at: Instant,
}

/// What a handler does with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Started,
    Ended,
    /// The handler's future was dropped before its end.
    Cancelled,
}

/// What handlers did, in the order of time; desks of several members may write into one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// The places of all records that a step was noted of, in the order of time.
    pub(crate) fn places(&self, step: Step) -> Vec<(i32, i64)> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.step == step).map(|line| (line.partition, line.offset)).collect()
    }

    pub(crate) fn count(&self, step: Step) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.step == step).count()
    }

    pub(crate) fn has(&self, step: Step, partition: i32, offset: i64) -> bool {
        let lines = self.0.lock().unwrap();
        lines.iter().any(|line| line.step == step && (line.partition, line.offset) == (partition, offset))
    }

    /// Waits until at least `records` different records have ended.
    pub(crate) async fn wait_for_ended(&self, records: usize) {
        let ended = || async {
            let ended: BTreeSet<_> = self.places(Step::Ended).into_iter().collect();
            anyhow::ensure!(ended.len() >= records, "{} of {records} have ended", ended.len());
            Ok(())
        };
        eventually(SOON, "the records are handled", ended).await.unwrap();
    }

    /// Waits until a step has been noted this often, of whatever records.
    pub(crate) async fn wait_for_count(&self, step: Step, count: usize) {
        let noted = || async {
            let noted = self.count(step);
            anyhow::ensure!(noted >= count, "{noted}");
            Ok(())
        };
        eventually(SOON * 2, &format!("{step:?} is noted {count} times"), noted).await.unwrap();
    }

    /// Waits until the handler of a record has come to this step.
    pub(crate) async fn wait_for(&self, step: Step, partition: i32, offset: i64) {
        let what = format!("{step:?} is noted of {partition}@{offset}");
        eventually(SOON, &what, || async { self.has(step, partition, offset) }).await.unwrap();
    }

    /// Every record from the begin to the end of each partition has ended, each exactly once and in order.
    #[track_caller]
    pub(crate) fn assert_each_once(&self, ends: &BTreeMap<i32, i64>) {
        let mut handled: BTreeMap<i32, Vec<i64>> = ends.keys().map(|partition| (*partition, Vec::new())).collect();
        for (partition, offset) in self.places(Step::Ended) {
            handled.entry(partition).or_default().push(offset);
        }
        for (partition, offsets) in handled {
            let end = ends.get(&partition).copied().unwrap_or(0);
            let twice = offsets.windows(2).find(|pair| pair[0] + 1 != pair[1]);
            assert_eq!(twice, None, "partition {partition}: these two offsets follow each other");
            assert_eq!((offsets.first().copied().unwrap_or(0), offsets.len()), (0, usize::try_from(end).unwrap()));
        }
    }

    fn note(&self, desk: &Desk, meta: &RecordMetadata, order: &Order, step: Step) {
        self.0.lock().unwrap().push(Entry {
            desk: desk.name,
            partition: meta.partition(),
            offset: meta.offset(),
            order_id: order.order_id.clone(),
            step,
            at: Instant::now(),
        });
    }
}

/// Where one member handles its records: writes them into a journal, and holds those that it was told to.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    name: &'static str,
    pub(crate) journal: Journal,
    latches: watch::Sender<BTreeSet<(i32, i64)>>,
    pace: Duration,
}

impl Desk {
    pub(crate) fn new(name: &'static str, journal: &Journal) -> Self {
        Self { name, journal: journal.clone(), latches: watch::Sender::default(), pace: Duration::ZERO }
    }

    /// Another desk with the same journal, and nothing held.
    pub(crate) fn named(&self, name: &'static str) -> Self {
        Self { name, latches: watch::Sender::default(), ..self.clone() }
    }

    /// How long the handler takes for each record.
    pub(crate) fn with_pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Lets the handler of this record wait until [`Desk::release`].
    pub(crate) fn hold(&self, partition: i32, offset: i64) {
        self.latches.send_modify(|latches| {
            latches.insert((partition, offset));
        });
    }

    pub(crate) fn release(&self, partition: i32, offset: i64) {
        self.latches.send_modify(|latches| {
            latches.remove(&(partition, offset));
        });
    }

    async fn work(&self, order: Order, meta: RecordMetadata) {
        let mut line = OpenLine { desk: self, meta, order, step: Step::Cancelled };
        self.journal.note(self, &line.meta, &line.order, Step::Started);
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
        let place = (line.meta.partition(), line.meta.offset());
        self.latches.subscribe().wait_for(|latches| !latches.contains(&place)).await.unwrap();
        line.step = Step::Ended;
    }
}

/// Notes how the handling of a record ended, also when its future is dropped.
struct OpenLine<'d> {
    desk: &'d Desk,
    meta: RecordMetadata,
    order: Order,
    step: Step,
}

impl Drop for OpenLine<'_> {
    fn drop(&mut self) {
        self.desk.journal.note(self.desk, &self.meta, &self.order, self.step);
    }
}

#[kafka_listener(id = "desk")]
pub(crate) async fn desk_work(order: Order, meta: RecordMetadata, State(desk): State<Desk>) {
    desk.work(order, meta).await;
}

/// A member of `group` that handles the records of `topic` at this desk.
pub(crate) fn registry(kafka: &Kafka, topic: &str, group: &str, desk: &Desk) -> ListenerRegistryBuilder {
    watch_log();
    ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .register(listener!(desk_work))
        .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
        .set("listener.topic", topic)
        .set("listener.group_id", group)
        .state(desk.clone())
}
