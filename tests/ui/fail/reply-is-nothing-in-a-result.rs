#![deny(warnings)]

use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", send_to = "invoices")]
async fn handle(_order: Order) -> Result<(), std::io::Error> {
    Ok(())
}

fn main() {}
