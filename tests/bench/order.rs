//! The payload of every case: the ORDER of the examples, as it is or padded.

use serde::Deserialize;

/// What every subject decodes a payload into. A longer payload has more text in `product_id`, so it costs what text costs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are the JSON's")]
#[cfg_attr(not(test), expect(dead_code, reason = "some of the text is decoded and not used"))]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) user_id: String,
    pub(crate) product_id: String,
    pub(crate) quantity: u32,
    pub(crate) price: u64,
}

impl Order {
    /// In the latency case this quantity marks the records that are measured, and `price` is the instant they were due.
    pub(crate) const MEASURED: u32 = 3;
    /// In the rebalance case this quantity marks the records that are traced; `user_id` is the partition, and `price` its
    /// number there.
    pub(crate) const TRACED: u32 = 4;
}

/// An ORDER of about 100 bytes, or of exactly `size` where that is longer.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    with("user456", 2, 50_000, size)
}

/// An ORDER that was due at `due` (nanoseconds of the monotonic clock).
pub(crate) fn timed_payload(measured: bool, due: u64) -> Vec<u8> {
    with("user456", if measured { Order::MEASURED } else { 1 }, due, 0)
}

/// The ORDER that is `number` in `partition`.
pub(crate) fn traced_payload(partition: i32, number: u64) -> Vec<u8> {
    with(&partition.to_string(), Order::TRACED, number, 0)
}

fn with(user: &str, quantity: u32, price: u64, size: usize) -> Vec<u8> {
    let order = |product: &str| {
        format!(
            r#"{{"orderId":"ORDER-123","userId":"{user}","productId":"{product}","quantity":{quantity},"price":{price}}}"#
        )
    };
    let plain = order("PROD-789");
    let padding = size.saturating_sub(plain.len());
    if padding == 0 {
        return plain.into_bytes();
    }
    order(&format!("PROD-789{}", "-".repeat(padding))).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_promised_size_and_decode() {
        assert_eq!(
            payload(0),
            br#"{"orderId":"ORDER-123","userId":"user456","productId":"PROD-789","quantity":2,"price":50000}"#
        );
        assert_eq!(payload(512).len(), 512);
        for bytes in [payload(0), payload(512), timed_payload(true, u64::MAX), traced_payload(5, u64::MAX)] {
            let order: Order = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(order.order_id, "ORDER-123");
            assert!(order.product_id.starts_with("PROD-789"));
        }
    }
}
