use kafka_listener::kafka_listener;
use std::rc::Rc;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(order: Order) {
    let shared = Rc::new(order);
    std::future::ready(()).await;
    drop(shared);
}

fn main() {}
