#![deny(warnings)]

use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

struct NoError;

#[kafka_listener(topic = "orders", send_to = "invoices")]
async fn handle(_order: Order) -> Result<u32, NoError> {
    Err(NoError)
}

fn main() {}
