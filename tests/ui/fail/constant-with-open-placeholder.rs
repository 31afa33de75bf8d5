use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

const GROUP: &str = "${GROUP";

#[kafka_listener(group_id = GROUP)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
