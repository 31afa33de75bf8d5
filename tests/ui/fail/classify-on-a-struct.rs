use kafka_listener::Classify;

#[derive(Classify)]
#[classify(terminal)]
struct PaymentError;

fn main() {}
