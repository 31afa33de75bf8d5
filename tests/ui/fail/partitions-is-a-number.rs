use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", partitions = 3)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
