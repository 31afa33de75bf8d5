use kafka_listener::extract::Acknowledgment;
use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", group_id = "shop", ack_mode = "batch")]
async fn handle(order: Order, ack: Acknowledgment) {
    drop(order);
    ack.acknowledge();
}

fn main() {}
