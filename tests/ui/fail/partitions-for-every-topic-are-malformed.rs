use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topics = ["orders", "returns"], partitions = "0..5")]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
