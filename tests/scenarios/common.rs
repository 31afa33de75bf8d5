//! What listeners in scenarios share: a diary that handlers write, a latch that holds them, a registry on a topic and a
//! group of its own, and the library's log as a test may read it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, Once};
use std::time::{Duration, Instant};

use anyhow::ensure;
use kafka_listener::{ListenerRegistry, ListenerRegistryBuilder, RecordMetadata};
pub(crate) use support::SOON;
use support::{Kafka, broker, eventually, unique};
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// A topic of the shared broker and a group on it, both of one test alone.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) topic: String,
    pub(crate) group: String,
}

impl Ground {
    pub(crate) async fn new(partitions: i32) -> Self {
        let ground = Self { topic: unique("orders"), group: unique("group") };
        broker().create_topic(&ground.topic, partitions).await.unwrap();
        ground
    }

    /// A registry that knows nothing but this ground; the test registers its listeners.
    pub(crate) fn registry(&self) -> ListenerRegistryBuilder {
        self.registry_on(broker())
    }

    /// The same where the topic is on another cluster than the shared one.
    pub(crate) fn registry_on(&self, kafka: &Kafka) -> ListenerRegistryBuilder {
        watch_log();
        ListenerRegistry::builder()
            .environment(false)
            .without_discovery()
            .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
            .set("listener.topic", self.topic.as_str())
            .set("listener.group_id", self.group.as_str())
    }
}

/// What handlers did, written by themselves while they did it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<Entry>>>);

/// One run of a handler.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) attempt: u32,
    pub(crate) began: Instant,
    pub(crate) ended: Option<Instant>,
}

/// A handler that runs; its end is written when this is dropped, whatever ends it.
#[derive(Debug)]
pub(crate) struct Running {
    diary: Diary,
    index: usize,
}

impl Diary {
    /// Writes that a handler has begun.
    pub(crate) fn begin(&self, meta: &RecordMetadata) -> Running {
        let mut entries = self.0.lock().unwrap();
        entries.push(Entry {
            partition: meta.partition(),
            offset: meta.offset(),
            attempt: meta.attempt(),
            began: Instant::now(),
            ended: None,
        });
        Running { diary: self.clone(), index: entries.len() - 1 }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// The offsets of a partition that were begun, in the order of their beginnings.
    pub(crate) fn begun(&self, partition: i32) -> Vec<i64> {
        self.entries().iter().filter(|entry| entry.partition == partition).map(|entry| entry.offset).collect()
    }

    /// How many runs have ended.
    pub(crate) fn ended(&self) -> usize {
        self.entries().iter().filter(|entry| entry.ended.is_some()).count()
    }

    /// Waits until `holds` says so of what is written.
    pub(crate) async fn wait(&self, what: &str, holds: impl Fn(&[Entry]) -> bool) {
        let look = || async {
            let entries = self.entries();
            ensure!(holds(&entries), "{} begun, the last: {:?}", entries.len(), entries.iter().rev().take(5));
            Ok(())
        };
        eventually(SOON, what, look).await.unwrap();
    }

    /// The most handlers that ran at one moment.
    pub(crate) fn most_at_once(&self) -> usize {
        let entries = self.entries();
        let at = |moment| {
            entries.iter().filter(|one| one.began <= moment && one.ended.is_none_or(|ended| ended > moment)).count()
        };
        entries.iter().map(|entry| at(entry.began)).max().unwrap_or(0)
    }

    /// Checks what every run of every listener promises: one handler at a time in a partition.
    #[track_caller]
    pub(crate) fn check_one_at_a_time_in_a_partition(&self) {
        let mut last: BTreeMap<i32, Entry> = BTreeMap::new();
        for entry in self.entries() {
            if let Some(before) = last.insert(entry.partition, entry.clone()) {
                let apart = before.ended.is_some_and(|ended| ended <= entry.began);
                assert!(apart, "two at once in one partition: {before:?} and {entry:?}");
            }
        }
    }

    /// Checks that a partition's records 0 to `count` - 1 were handled once each, in order.
    #[track_caller]
    pub(crate) fn check_each_once_in_order(&self, partition: i32, count: i64) {
        assert_eq!(self.begun(partition), (0..count).collect::<Vec<_>>(), "partition {partition}");
        self.check_one_at_a_time_in_a_partition();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.diary.0.lock().unwrap()[self.index].ended = Some(Instant::now());
    }
}

/// Holds handlers until it is opened, those that await and those that block their thread.
#[derive(Clone, Debug)]
pub(crate) struct Latch(Arc<(watch::Sender<bool>, Mutex<bool>, Condvar)>);

impl Latch {
    pub(crate) fn closed() -> Self {
        Self(Arc::new((watch::Sender::new(false), Mutex::new(false), Condvar::new())))
    }

    pub(crate) async fn passed(&self) {
        self.0.0.subscribe().wait_for(|open| *open).await.unwrap();
    }

    /// Blocks the thread.
    pub(crate) fn pass_blocking(&self) {
        let open = self.0.1.lock().unwrap();
        drop(self.0.2.wait_while(open, |open| !*open).unwrap());
    }

    /// Blocks the thread for at most `limit`.
    pub(crate) fn pass_blocking_within(&self, limit: Duration) {
        let open = self.0.1.lock().unwrap();
        drop(self.0.2.wait_timeout_while(open, limit, |open| !*open).unwrap());
    }

    pub(crate) fn open(&self) {
        self.0.0.send_replace(true);
        *self.0.1.lock().unwrap() = true;
        self.0.2.notify_all();
    }

    /// Opens the latch when dropped: a test that fails must not leave threads blocked, for which its runtime would wait.
    pub(crate) fn opens_at_the_end(&self) -> OpensAtTheEnd {
        OpensAtTheEnd(self.clone())
    }
}

#[derive(Debug)]
pub(crate) struct OpensAtTheEnd(Latch);

impl Drop for OpensAtTheEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// One line of the library's log: its message under `message`, its fields as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLine {
    fields: BTreeMap<&'static str, String>,
}

impl LogLine {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn message(&self) -> &str {
        self.field("message")
    }
}

static LOG: Mutex<Vec<LogLine>> = Mutex::new(Vec::new());

/// The lines of which a field holds `value`: a group, a topic, or a listener's id that no other test uses.
pub(crate) fn log_of(value: &str) -> Vec<LogLine> {
    let log = LOG.lock().unwrap();
    log.iter().filter(|line| line.fields.values().any(|field| field == value)).cloned().collect()
}

/// Keeps what the library logs from now on, warnings and worse and its own news; the spans around handlers stay off, as
/// they are for whoever does not ask for them.
pub(crate) fn watch_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let of_the_library = filter_fn(|meta| {
            meta.target().starts_with("kafka_listener")
                && meta.target() != "kafka_listener::handler"
                && *meta.level() <= Level::INFO
        });
        let subscriber = tracing_subscriber::registry().with(Keep.with_filter(of_the_library));
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = LogLine::default();
        event.record(&mut line);
        LOG.lock().unwrap().push(line);
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

/// Runs a test on a current-thread runtime that is shut down at the end without waiting for threads it blocks.
pub(crate) fn on_current_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
    runtime.shutdown_background();
}
