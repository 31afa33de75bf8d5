use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

const LIMIT: u32 = 7;
const GROUP: &str = "order-service";

#[kafka_listener(topic = LIMIT, group_id = LIMIT, concurrency = GROUP)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
