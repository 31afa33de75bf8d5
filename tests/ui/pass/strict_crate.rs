//! A user's crate with every lint that we know of turned into an error.
#![forbid(unsafe_code)]
#![deny(warnings, unreachable_pub, unused_qualifications)]
#![deny(rust_2018_idioms, clippy::all, clippy::pedantic, clippy::nursery)]
#![deny(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::exhaustive_enums)]
#![deny(clippy::shadow_reuse, clippy::pub_with_shorthand)]
#![forbid(
    missing_docs,
    missing_debug_implementations,
    missing_copy_implementations,
    dead_code,
    unused_must_use,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::fmt;

use kafka_listener::extract::{Headers, Key, RawPayload, State};
use kafka_listener::{
    Classification, Classify, ConsumerRecord, ListenerError, RecordMetadata, kafka_listener, listener,
};
use serde::Deserialize;

/// An order.
#[derive(Clone, Debug, Deserialize)]
pub struct Order {
    /// Its number.
    pub order_id: String,
}

/// A service.
#[derive(Clone, Copy, Debug)]
pub struct Stock;

/// Declared beside the function, for nobody else.
const TOPIC: &str = "orders";

/// Why stock is not reserved.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum StockError {
    /// There is none.
    SoldOut,
}

impl fmt::Display for StockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sold out")
    }
}

impl std::error::Error for StockError {}

impl Classify for StockError {
    fn classify(&self) -> Classification {
        Classification::terminal().named("sold_out")
    }
}

/// Every argument.
///
/// # Errors
///
/// Never.
#[kafka_listener(
    id = "reserve",
    topics = [TOPIC, "${app.returns:-returns}"],
    group_id = "inventory-service",
    concurrency = 3,
    consumers = 1,
    container_factory = "message-event",
    ack_mode = "count_time",
    auto_startup = false,
    profiles = ["dev", "prod"],
    client_id = concat!("shop", "-", "inventory"),
    properties = ["socket.keepalive.enable=true"],
)]
pub async fn reserve_stock(
    order: Order,
    Key(key): Key<Option<String>>,
    headers: Headers,
    meta: RecordMetadata,
    State(stock): State<Stock>,
) -> Result<(), StockError> {
    let _ = (order.order_id, key, headers, meta, stock);
    Ok(())
}

/// No argument: the configuration file says the rest.
#[kafka_listener]
pub async fn configured_elsewhere(order: Option<Order>) {
    drop(order);
}

#[kafka_listener(topic = TOPIC, group_id = "private")]
async fn private_and_without_await(_order: Order) {}

#[kafka_listener(topic = TOPIC, group_id = "plain")]
fn plain(record: ConsumerRecord<Order>) -> anyhow::Result<()> {
    anyhow::ensure!(record.offset() >= 0);
    Ok(())
}

#[kafka_listener(topic = TOPIC, group_id = "blocking", blocking = true)]
async fn blocking(payload: RawPayload) -> Result<(), ListenerError> {
    tokio::task::yield_now().await;
    let order: Order = payload.json()?;
    drop(order);
    Ok(())
}

#[kafka_listener]
#[cfg(any())]
async fn left_out(order: DoesNotExist) {}

fn main() {
    #[kafka_listener(topic = TOPIC, group_id = "local")]
    fn local(order: Order) {
        drop(order);
    }

    assert_eq!(listener!(local).function, "local");
    assert_eq!(listener!(reserve_stock).id, "reserve");
    assert_eq!(listener!(configured_elsewhere).id, "configured_elsewhere");
    assert_eq!(listener!(plain).function, "plain");
}
