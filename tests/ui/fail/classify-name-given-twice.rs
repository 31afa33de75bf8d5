use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    #[classify(name = "refused", terminal)]
    #[classify(name = "declined")]
    Refused,
    Unreachable,
}

fn main() {}
