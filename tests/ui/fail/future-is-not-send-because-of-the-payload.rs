use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

struct Product(*const u8);

impl<'de> serde::Deserialize<'de> for Product {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self(std::ptr::null()))
    }
}

#[kafka_listener(topic = "orders")]
async fn handle(product: Product) {
    drop(product);
}

fn main() {}
