async fn handle(order: u32) {
    let _ = order;
}

fn main() {
    let _ = kafka_listener::listener!(handle);
}
