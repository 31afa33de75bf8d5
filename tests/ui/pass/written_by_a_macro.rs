//! Listeners made by a `macro_rules!`: what it passes on arrives in invisible groups.
use kafka_listener::{kafka_listener, listener};

macro_rules! listeners {
    ($($name:ident: $payload:ty, $topic:expr, $topics:literal, $count:expr, $on:literal, $output:ty;)*) => {$(
        #[kafka_listener(topics = [$topic, $topics], concurrency = $count, auto_startup = $on)]
        async fn $name(payload: $payload) -> $output {
            drop(payload);
            Ok(())
        }
    )*};
}

listeners! {
    orders: Option<String>, "orders", "returns", 3, true, Result<(), std::io::Error>;
    mails: String, concat!("ma", "ils"), "letters", 1 + 1, false, anyhow::Result<()>;
}

fn main() {
    assert_eq!([listener!(orders).id, listener!(mails).id], ["orders", "mails"]);
}
