use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

struct Service;

impl Service {
    #[kafka_listener(topic = "orders")]
    async fn handle(&self, order: Order) {
        drop(order);
    }
}

fn main() {}
