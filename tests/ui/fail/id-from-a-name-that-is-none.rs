use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn größe(order: Order) {
    drop(order);
}

fn main() {}
