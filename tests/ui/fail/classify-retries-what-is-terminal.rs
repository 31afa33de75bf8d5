use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    #[classify(retryable, name = "validation")]
    Refused,
    Unreachable,
}

fn main() {}
