use kafka_listener::Classify;

#[derive(Classify)]
#[classify(name = "payment")]
enum PaymentError {
    Refused,
}

fn main() {}
