#![deny(warnings)]

use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", send_to = "{replyTopic}")]
async fn handle(_order: Order) -> u32 {
    7
}

fn main() {}
