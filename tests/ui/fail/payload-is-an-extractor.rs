use kafka_listener::kafka_listener;
use kafka_listener::extract::State;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(State(limit): State<u32>) {
    let _ = limit;
}

fn main() {}
