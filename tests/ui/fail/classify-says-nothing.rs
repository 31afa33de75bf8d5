use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    #[classify()]
    Refused,
    Unreachable,
}

fn main() {}
