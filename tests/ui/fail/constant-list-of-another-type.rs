use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

const TOPICS: [&str; 1] = ["orders"];

#[kafka_listener(topics = TOPICS)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
