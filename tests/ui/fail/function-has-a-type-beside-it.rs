use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[allow(non_camel_case_types)]
struct handle {}

#[kafka_listener(topic = "orders")]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
