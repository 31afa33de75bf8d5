use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = 7, topik = "orders", ack_mode = "manual", group_id = LIMIT)]
async fn handle<T>(order: Vec<u8>, name: &str) -> impl Sized {
    drop(order);
    name.len()
}

const LIMIT: u32 = 7;

fn main() {
    // The function and the path to its definition are still there: no fault follows from those above.
    let _ = handle::<u32>(Vec::new(), "");
    let _ = kafka_listener::listener!(handle);
}
