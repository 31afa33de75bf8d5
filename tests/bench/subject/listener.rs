//! kafka-listener itself: an attribute on an async fn, and every setting its default.

use std::sync::atomic::{AtomicU64, Ordering};

use kafka_listener::{ListenerRegistry, kafka_listener, listener};

use crate::measure;
use crate::order::Order;
use crate::protocol::Assignment;

#[kafka_listener(topic = "${topic}", group_id = "${group}")]
async fn count(order: Order) {
    measure::handled(&order);
}

#[kafka_listener(topic = "${topic}", group_id = "${group}-2")]
async fn second_count(order: Order) {
    measure::handled(&order);
}

#[kafka_listener(topic = "${topic}", group_id = "${group}-3")]
async fn third_count(order: Order) {
    measure::handled(&order);
}

/// The same with something to wait for.
#[kafka_listener(topic = "${topic}", group_id = "${group}")]
async fn work(order: Order) {
    measure::work(WORK_MICROS.load(Ordering::Relaxed)).await;
    measure::handled(&order);
}

static WORK_MICROS: AtomicU64 = AtomicU64::new(0);

pub(super) fn run(assignment: &Assignment) -> anyhow::Result<()> {
    WORK_MICROS.store(assignment.work_micros, Ordering::Relaxed);
    let mut listeners = ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .register(if assignment.work_micros == 0 { listener!(count) } else { listener!(work) })
        .set("kafka.bootstrap_servers", assignment.bootstrap_servers.as_str())
        .set("app.topic", assignment.topic.as_str())
        .set("app.group", assignment.group.as_str());
    if assignment.groups == 3 {
        listeners = listeners.register(listener!(second_count)).register(listener!(third_count));
    }
    for (key, value) in &assignment.listener {
        listeners = listeners.set(key, value.as_str());
    }
    let report = tokio::runtime::Runtime::new()?.block_on(listeners.run())?;
    Ok(report.into_result()?)
}
