use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

const ID: &str = "order handler";

#[kafka_listener(id = ID)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
