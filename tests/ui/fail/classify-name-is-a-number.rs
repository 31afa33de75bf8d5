use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    #[classify(name = 7)]
    Refused,
    Unreachable,
}

fn main() {}
