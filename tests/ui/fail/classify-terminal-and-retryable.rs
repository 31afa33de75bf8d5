use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    #[classify(terminal, retryable)]
    Refused,
    Unreachable,
}

fn main() {}
