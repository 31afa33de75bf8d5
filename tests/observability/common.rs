//! What these tests share: a topic and a group of their own, and a handler that does what an order tells it.

use std::sync::Arc;

use kafka_listener::{ListenerError, ListenerRegistry, ListenerRegistryBuilder};
use serde::Deserialize;
pub(crate) use support::SOON;
use support::{Record, broker, eventually, unique};
use tokio::sync::watch;

/// A topic of the shared broker and a group, both of one test alone.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) desk: Desk,
}

impl Ground {
    pub(crate) async fn new(partitions: i32) -> Self {
        let ground = Self::without_a_topic();
        broker().create_topic(&ground.topic, partitions).await.unwrap();
        ground
    }

    /// The test creates the topic.
    pub(crate) fn without_a_topic() -> Self {
        // Before the first registry: metrics are registered when listeners start.
        crate::log::watch();
        crate::metrics::record();
        Self { topic: unique("orders"), group: unique("group"), desk: Desk::default() }
    }

    /// A registry that knows nothing but this ground; the test registers its listeners.
    pub(crate) fn registry(&self) -> ListenerRegistryBuilder {
        ListenerRegistry::builder()
            .environment(false)
            .without_discovery()
            .set("kafka.bootstrap_servers", broker().bootstrap_servers())
            .set("listener.topic", self.topic.as_str())
            .set("listener.group_id", self.group.as_str())
            .state(self.desk.clone())
    }

    pub(crate) async fn order(&self, partition: i32, what: &str) {
        let record = Record::to(&self.topic).partition(partition).json(serde_json::json!({"what": what}));
        broker().produce(record).await.unwrap();
    }

    /// Replaces the names that are made up for one run.
    pub(crate) fn anonymous(&self, text: &str) -> String {
        text.replace(&self.topic, "orders").replace(&self.group, "group")
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    what: String,
}

/// Where orders are handled: `wait` waits until the desk is cleared, `refuse` can never be handled, `fail` fails until
/// the desk is cleared, anything else is handled at once.
#[derive(Clone, Debug)]
pub(crate) struct Desk(Arc<watch::Sender<bool>>);

impl Default for Desk {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Desk {
    pub(crate) async fn handle(&self, order: Order) -> Result<(), ListenerError> {
        let cleared = *self.0.borrow();
        match order.what.as_str() {
            "wait" => {
                self.0.subscribe().wait_for(|cleared| *cleared).await.unwrap();
                Ok(())
            }
            "refuse" => Err(ListenerError::terminal("there is no such product")),
            "fail" if !cleared => Err(ListenerError::retryable("the payment service is away")),
            _ => Ok(()),
        }
    }

    pub(crate) fn clear(&self) {
        self.0.send_replace(true);
    }
}

/// Waits until a listener's status says so.
pub(crate) async fn wait_for_status(
    listeners: &ListenerRegistry,
    what: &str,
    holds: impl Fn(&kafka_listener::status::ListenerStatus) -> bool,
) {
    let look = || async {
        let status = listeners.status();
        anyhow::ensure!(status.listeners.iter().all(&holds), "{status}");
        Ok(())
    };
    eventually(SOON, what, look).await.unwrap();
}
