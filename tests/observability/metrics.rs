//! Counters, gauges and timings through the `metrics` facade.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::status::ListenerStatus;
use kafka_listener::{ListenerError, Phase, kafka_listener, listener};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::registry::{AtomicStorage, Registry};
use support::{broker, eventually};

use crate::common::{Desk, Ground, Order, SOON, wait_for_status};

/// Keeps all metrics of the process from now on.
pub(crate) fn record() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| metrics::set_global_recorder(Keep).unwrap());
}

fn metrics_of_the_process() -> &'static Registry<Key, AtomicStorage> {
    static METRICS: OnceLock<Registry<Key, AtomicStorage>> = OnceLock::new();
    METRICS.get_or_init(Registry::atomic)
}

/// Reading leaves the values as they are, so that tests do not take them from each other.
struct Keep;

impl Recorder for Keep {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        metrics_of_the_process().get_or_create_counter(key, |counter| Counter::from_arc(Arc::clone(counter)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        metrics_of_the_process().get_or_create_gauge(key, |gauge| Gauge::from_arc(Arc::clone(gauge)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        metrics_of_the_process().get_or_create_histogram(key, |histogram| Histogram::from_arc(Arc::clone(histogram)))
    }
}

#[kafka_listener(id = "measured")]
async fn measured(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[kafka_listener(id = "measured-slow")]
async fn slow(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[kafka_listener(id = "measured-blocking", blocking = true)]
async fn blocking(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[tokio::test]
async fn a_listener_counts_what_it_does_and_shows_what_it_has_to_do() {
    let ground = Ground::new(2).await;
    let listeners = ground
        .registry()
        .register(listener!(measured))
        .set("listener.retry.delay", "10ms")
        .set("listener.retry.max_delay", "20ms")
        .start()
        .await
        .unwrap();
    for _ in 0..5 {
        ground.order(0, "fine").await;
    }
    ground.order(1, "fail").await;
    wait_for_status(&listeners, "one is retried", |status| status.handled == 5 && status.retried >= 3).await;
    ground.desk.clear();
    wait_for_status(&listeners, "all are handled", |status| status.handled == 6).await;
    ground.order(1, "refuse").await;
    ground.order(1, "behind it").await;
    let held = |status: &ListenerStatus| status.partitions.iter().any(|one| one.phase == Phase::Held);
    wait_for_status(&listeners, "one is held", held).await;
    let failures = listeners.status().listeners[0].failed;

    let counted = || async {
        let seen = Seen::of("measured");
        ensure!(seen.value("records_total", &[("result", "ok")]) == Some(6.0), "{seen:?}");
        ensure!(seen.value("commits_total", &[("result", "ok")]) >= Some(1.0), "{seen:?}");
        ensure!(seen.value("lag_records", &[("partition", "0")]) == Some(0.0), "{seen:?}");
        ensure!(seen.value("lag_records", &[("partition", "1")]) == Some(2.0), "{seen:?}");
        ensure!(seen.value("in_flight", &[]) == Some(2.0), "{seen:?}");
        ensure!(seen.value("uncommitted_records", &[]) == Some(0.0), "{seen:?}");
        ensure!(seen.value("oldest_unfinished_seconds", &[]) > Some(0.0), "{seen:?}");
        Ok(())
    };
    eventually(SOON, "the figures are there", counted).await.unwrap();
    let seen = Seen::of("measured");
    let failed = f64::from(u32::try_from(failures).unwrap());
    assert_eq!(seen.value("records_total", &[("result", "failed")]), Some(failed));
    assert_eq!(seen.value("retries_total", &[]), Some(failed - 1.0), "the held one is not tried again");
    assert_eq!(seen.value("held_total", &[]), Some(1.0));
    assert!(seen.value("rebalances_total", &[("kind", "assigned")]) >= Some(1.0), "{seen:?}");
    assert_eq!(seen.value("assigned_partitions", &[("consumer", "0")]), Some(2.0));
    assert_eq!(seen.value("paused_partitions", &[]), Some(0.0));
    assert_eq!(seen.value("revoke_drain_timeouts_total", &[]), Some(0.0));
    assert!(seen.value("last_poll_seconds_ago", &[]) < Some(5.0), "{seen:?}");
    assert_eq!(seen.value("process_seconds", &[]), Some(6.0 + failed), "one for each delivery");
    assert_eq!(seen.value("commit_seconds", &[]), seen.value("commits_total", &[("result", "ok")]));
    assert!(seen.0.iter().all(|one| one.labels.contains(&("group".to_owned(), ground.group.clone()))), "{seen:?}");

    let container = listeners.container("measured").unwrap();
    container.pause().await.unwrap();
    let paused = || async { Seen::of("measured").value("paused_partitions", &[]) == Some(2.0) };
    eventually(SOON, "both partitions are paused", paused).await.unwrap();

    listeners.shutdown().await.into_result().unwrap();
    let seen = Seen::of("measured");
    for gauge in ["assigned_partitions", "paused_partitions", "in_flight", "oldest_unfinished_seconds"] {
        assert_eq!(seen.value(gauge, &[]), Some(0.0), "{gauge} of a listener that has stopped");
    }
    assert_eq!(seen.value("lag_records", &[("partition", "1")]), Some(0.0), "the lag is the next owner's to tell");
}

#[kafka_listener(id = "measured-dead-letters")]
async fn publishing(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[tokio::test]
async fn dead_letters_are_counted_by_class_and_what_the_broker_did_not_take_by_reason() {
    let ground = Ground::new(1).await;
    let builder = ground.registry().register(listener!(publishing)).set("listener.on_failure", "dead_letter");
    let listeners = builder.start().await.unwrap();
    ground.order(0, "refuse").await;
    let refused = || async {
        let seen = Seen::of("measured-dead-letters");
        ensure!(
            seen.value("dead_letter_failures_total", &[("reason", "unknown_topic")]) >= Some(2.0),
            "its topic is missing: {seen:?}"
        );
        Ok(())
    };
    eventually(SOON, "failures are counted", refused).await.unwrap();
    assert_eq!(Seen::of("measured-dead-letters").value("dead_letters_total", &[]), None);

    broker().create_topic(&format!("{}-dlt", ground.topic), 1).await.unwrap();
    wait_for_status(&listeners, "it is published", |status| status.dead_lettered == 1).await;
    let seen = Seen::of("measured-dead-letters");
    assert_eq!(seen.value("dead_letters_total", &[("reason", "terminal")]), Some(1.0), "{seen:?}");
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test]
async fn a_revoke_that_has_to_cancel_is_counted() {
    let ground = Ground::new(2).await;
    let registry = || ground.registry().register(listener!(slow)).set("listener.revoke_timeout", "1s");
    let one = registry().start().await.unwrap();
    ground.order(0, "wait").await;
    ground.order(1, "wait").await;
    let running = |status: &ListenerStatus| status.partitions.iter().filter(|one| one.blocking.is_some()).count() == 2;
    wait_for_status(&one, "both partitions run", running).await;

    let two = registry().start().await.unwrap();
    wait_for_status(&two, "the second owns one", |status| status.partitions.len() == 1).await;

    // The partition may have its next owner a little before the rebalance of the one before counts as over.
    let counted = || async {
        let seen = Seen::of("measured-slow");
        ensure!(seen.value("rebalances_total", &[("kind", "revoked")]) == Some(1.0), "{seen:?}");
        Ok(())
    };
    eventually(SOON, "the revoke is counted", counted).await.unwrap();
    let seen = Seen::of("measured-slow");
    assert_eq!(seen.value("revoke_drain_timeouts_total", &[]), Some(1.0), "{seen:?}");
    assert_eq!(seen.value("possibly_repeated_total", &[]), Some(1.0), "{seen:?}");
    ground.desk.clear();
    let (one, two) = tokio::join!(one.shutdown_within(Duration::from_secs(20)), two.shutdown());
    one.into_result().unwrap();
    two.into_result().unwrap();
}

#[tokio::test]
async fn a_handler_that_outlives_its_listener_is_counted_until_it_has_ended() {
    let ground = Ground::new(1).await;
    let listeners = ground.registry().register(listener!(blocking)).set("listener.shutdown_timeout", "1s");
    let listeners = listeners.set("listener.max_poll_interval", "45s").start().await.unwrap();
    ground.order(0, "wait").await;
    let runs = |status: &ListenerStatus| status.partitions.first().is_some_and(|one| one.phase == Phase::Running);
    wait_for_status(&listeners, "it runs", runs).await;
    let gauge = || Seen::of("measured-blocking").value("left_behind_handlers", &[]);
    assert_eq!(gauge(), Some(0.0));

    listeners.container("measured-blocking").unwrap().stop().await;
    // Nobody but whoever asks looks after a listener that has stopped.
    assert!(listeners.health().live.ok, "{:?}", listeners.health());
    assert_eq!(gauge(), Some(1.0), "{}", listeners.status());
    ground.desk.clear();
    wait_for_status(&listeners, "it has ended", |status| status.left_behind.is_empty()).await;
    listeners.health();
    assert_eq!(gauge(), Some(0.0));
}

/// The metrics of one listener at one moment.
#[derive(Debug)]
struct Seen(Vec<Metric>);

#[derive(Debug)]
struct Metric {
    name: String,
    labels: Vec<(String, String)>,
    /// Of a histogram: how many values it has.
    value: f64,
}

impl Metric {
    fn new(key: &Key, value: f64) -> Self {
        let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        Self { name: key.name().to_owned(), labels, value }
    }
}

impl Seen {
    fn of(listener: &str) -> Self {
        let metrics = metrics_of_the_process();
        let mut seen = Vec::new();
        metrics.visit_counters(|key, counter| {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            seen.push(Metric::new(key, counter.load(Ordering::SeqCst) as f64));
        });
        metrics.visit_gauges(|key, gauge| {
            seen.push(Metric::new(key, f64::from_bits(gauge.load(Ordering::SeqCst))));
        });
        metrics.visit_histograms(|key, histogram| {
            let mut values = 0;
            histogram.data_with(|some| values += some.len());
            seen.push(Metric::new(key, f64::from(u32::try_from(values).unwrap())));
        });
        let theirs = ("listener".to_owned(), listener.to_owned());
        seen.retain(|one| one.labels.contains(&theirs));
        Self(seen)
    }

    /// The value of `kafka_listener_NAME` with these labels; `None` unless there is exactly one.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |one: &Metric, (name, value): &(&str, &str)| {
            one.labels.iter().any(|label| label.0 == *name && label.1 == *value)
        };
        let mut found = self.named(name).filter(|one| labels.iter().all(|label| has(one, label)));
        let value = Some(found.next()?.value);
        if found.next().is_some() { None } else { value }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Metric> {
        let name = format!("kafka_listener_{name}");
        self.0.iter().filter(move |one| one.name == name)
    }
}
