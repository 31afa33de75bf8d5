use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    #[classify(name = "out of stock")]
    Refused,
    Unreachable,
}

fn main() {}
