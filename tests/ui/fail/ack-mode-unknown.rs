use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(ack_mode = "manuel")]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
