use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", group_id = "shop", ack_mode = "manual")]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
