use kafka_listener::Classify;

#[derive(Classify)]
enum PaymentError {
    Refused(#[classify(terminal)] u32),
    Unreachable,
}

fn main() {}
