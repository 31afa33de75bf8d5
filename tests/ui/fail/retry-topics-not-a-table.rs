use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", group_id = "shop", retry_topics = ["10s", "1m"])]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
