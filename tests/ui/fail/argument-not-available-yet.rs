use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic_pattern = "orders-.*", partitions = [0, 1], ordering = "key")]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
