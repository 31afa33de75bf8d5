//! kafka-listener itself: an attribute on an async fn, and every setting its default.

use kafka_listener::{ListenerRegistry, kafka_listener};

use super::Assignment;
use crate::measure;
use crate::order::Order;

#[kafka_listener(topic = "${topic}", group_id = "${group}")]
async fn count(order: Order) {
    measure::handled(&order);
}

pub(super) fn run(assignment: &Assignment) -> anyhow::Result<()> {
    let listeners = ListenerRegistry::builder()
        .environment(false)
        .set("kafka.bootstrap_servers", assignment.bootstrap_servers.as_str())
        .set("app.topic", assignment.topic.as_str())
        .set("app.group", assignment.group.as_str());
    let report = tokio::runtime::Runtime::new()?.block_on(listeners.run())?;
    Ok(report.into_result()?)
}
