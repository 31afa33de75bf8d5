use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    #[classify(name = "terminal")]
    Refused,
    Unreachable,
}

fn main() {}
