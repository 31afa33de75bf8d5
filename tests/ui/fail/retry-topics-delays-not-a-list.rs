use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", group_id = "shop", retry_topics = { delays = "10s", topic = "{topic}-again" })]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
