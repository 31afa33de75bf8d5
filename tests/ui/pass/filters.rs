//! Filters of both kinds, and payloads that can be invalid.

#![deny(warnings)]

use kafka_listener::{ConsumerRecord, RecordContext, Validate, kafka_listener};

#[derive(serde::Deserialize)]
pub struct Order {
    quantity: u32,
}

impl Validate for Order {
    type Error = String;

    fn validate(&self) -> Result<(), String> {
        if self.quantity == 0 { Err("an order of nothing".to_owned()) } else { Ok(()) }
    }
}

mod rules {
    use super::*;

    pub fn has_key(record: RecordContext<'_>) -> bool {
        record.key().is_some()
    }

    pub fn is_small(order: &ConsumerRecord<Option<Order>>) -> bool {
        order.payload().as_ref().is_none_or(|order| order.quantity < 10)
    }
}

#[kafka_listener(topic = "orders", filter = rules::has_key)]
async fn before(order: Order) {
    drop(order);
}

#[kafka_listener(topic = "orders", filter = self::rules::is_small)]
fn after(order: ConsumerRecord<Option<Order>>) {
    drop(order);
}

fn main() {}
