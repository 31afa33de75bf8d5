use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic_pattern = "orders-.*", group_id = "shop")]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
