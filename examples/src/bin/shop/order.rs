//! The ORDER event, and how a run tells its own orders from those of another.

use std::hash::{BuildHasher, Hasher, RandomState};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the JSON's names")]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) user_id: String,
    pub(crate) product_id: String,
    pub(crate) quantity: u32,
    pub(crate) price: u64,
}

/// What the shop sells. Inventory starts with the same list.
pub(crate) const PRODUCTS: [(&str, u64); 5] =
    [("PROD-789", 50_000), ("PROD-123", 12_500), ("PROD-456", 3_990), ("PROD-555", 99_000), ("PROD-321", 700)];

const USERS: u32 = 1_000;

/// Stands in every order id of a run: `ORDER-1f3a9c07-42`.
#[derive(Clone, Debug)]
pub(crate) struct RunId(String);

impl RunId {
    pub(crate) fn random() -> Self {
        Self(format!("{:08x}", RandomState::new().build_hasher().finish() & 0xffff_ffff))
    }

    /// Order number `number` of this run.
    pub(crate) fn order(&self, number: u32) -> Order {
        let (product_id, price) = PRODUCTS[number as usize % PRODUCTS.len()];
        Order {
            order_id: format!("ORDER-{}-{number}", self.0),
            user_id: format!("user{}", number % USERS),
            product_id: product_id.to_owned(),
            quantity: 1 + number % 3,
            price,
        }
    }

    /// The number of an order of this run; `None` for anybody else's.
    pub(crate) fn number_of(&self, order: &Order) -> Option<u32> {
        order.order_id.strip_prefix("ORDER-")?.strip_prefix(&self.0)?.strip_prefix('-')?.parse().ok()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_the_one_that_is_documented() {
        let order = Order {
            order_id: "ORDER-123".to_owned(),
            user_id: "user456".to_owned(),
            product_id: "PROD-789".to_owned(),
            quantity: 2,
            price: 50_000,
        };
        let json = r#"{"orderId":"ORDER-123","userId":"user456","productId":"PROD-789","quantity":2,"price":50000}"#;
        assert_eq!(serde_json::to_string(&order).unwrap(), json);
        assert_eq!(serde_json::from_str::<Order>(json).unwrap(), order);
    }

    #[test]
    fn a_run_knows_its_own_orders_only() {
        let (mine, theirs) = (RunId::random(), RunId::random());
        assert_eq!(mine.number_of(&mine.order(42)), Some(42));
        assert_eq!(mine.number_of(&theirs.order(42)), None);
        assert_eq!(mine.number_of(&Order { order_id: "ORDER-123".to_owned(), ..mine.order(0) }), None);
    }
}
