use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders", group_id = "shop", async_acks = true)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
