#![deny(warnings)]

use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

struct Invoice;

#[kafka_listener(topic = "orders", send_to = "invoices")]
async fn handle(_order: Order) -> Result<Invoice, std::io::Error> {
    Ok(Invoice)
}

fn main() {}
