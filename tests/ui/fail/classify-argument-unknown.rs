use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    #[classify(fatal)]
    Refused,
    Unreachable,
}

fn main() {}
