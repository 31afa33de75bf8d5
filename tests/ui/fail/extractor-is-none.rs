use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(order: Order, retries: u32) {
    let _ = (order, retries);
}

fn main() {}
