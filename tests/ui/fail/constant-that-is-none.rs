use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

fn topic() -> &'static str {
    "orders"
}

#[kafka_listener(topic = topic())]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
