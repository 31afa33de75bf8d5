#![deny(warnings)]

use kafka_listener::{Acknowledgment, kafka_listener};

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", send_to = "invoices", ack_mode = "manual")]
async fn handle(_order: Order, _ack: Acknowledgment) -> u32 {
    7
}

fn main() {}
