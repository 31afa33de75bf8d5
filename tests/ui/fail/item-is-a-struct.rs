use kafka_listener::kafka_listener;

#[kafka_listener(topic = "orders")]
struct Handler;

fn main() {
    let _ = Handler;
}
