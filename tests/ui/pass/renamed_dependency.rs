//! The library under another name: nothing that is generated may spell its own.
mod vendor {
    pub mod messaging {
        pub use kafka_listener::{__private, listener};
        pub use kafka_listener::{ListenerError, kafka_listener as on_message};
    }

    /// Takes the name, so that generated code which spells it does not compile.
    pub mod kafka_listener {}
}

use vendor::kafka_listener;
use vendor::messaging;

#[messaging::on_message(topic = "orders", crate = crate::vendor::messaging)]
async fn handle(order: Option<u32>) -> Result<(), messaging::ListenerError> {
    order.map(drop).ok_or_else(|| messaging::ListenerError::terminal("no order"))
}

fn main() {
    use kafka_listener as _;
    assert_eq!(messaging::listener!(handle).module, module_path!());
}
