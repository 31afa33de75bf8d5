//! What a listener that replies may return.
#![deny(warnings, clippy::pedantic)]

use kafka_listener::{Classify, ListenerError, Reply, kafka_listener};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    id: String,
}

#[derive(Serialize)]
struct Invoice {
    id: String,
}

#[derive(Classify, Debug, thiserror::Error)]
enum BillingError {
    #[classify(terminal)]
    #[error("unknown")]
    Unknown,
}

type Answer = Result<Option<Invoice>, BillingError>;

#[kafka_listener(topic = "orders", send_to = "invoices")]
async fn value(order: Order) -> Invoice {
    Invoice { id: order.id }
}

#[kafka_listener(topic = "orders", send_to = "{topic}-invoices")]
async fn behind_a_name(order: Order) -> Answer {
    if order.id.is_empty() { Err(BillingError::Unknown) } else { Ok(Some(Invoice { id: order.id })) }
}

#[kafka_listener(topic = "orders", send_to = "{reply_topic}")]
fn on_the_blocking_pool(order: Order) -> anyhow::Result<Invoice> {
    Ok(Invoice { id: order.id })
}

#[kafka_listener(topic = "orders", send_to = "invoices")]
async fn a_list_is_one_record(order: Order) -> Vec<String> {
    vec![order.id]
}

#[kafka_listener(topic = "orders")]
async fn by_its_type(order: Order) -> Reply {
    Reply::json(&order.id)
}

#[kafka_listener(topic = "orders")]
async fn perhaps(order: Order) -> Result<Option<Reply>, ListenerError> {
    Ok((!order.id.is_empty()).then(|| Reply::bytes(order.id)))
}

#[kafka_listener(topic = "orders")]
async fn several(order: Order) -> kafka_listener_alias::Result<Vec<Reply>> {
    Ok(vec![Reply::json(&order.id), Reply::null()])
}

mod kafka_listener_alias {
    pub type Result<T> = std::result::Result<T, std::io::Error>;
}

fn main() {}
