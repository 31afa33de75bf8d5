use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(order: Order) -> u32 {
    drop(order);
    7
}

fn main() {}
