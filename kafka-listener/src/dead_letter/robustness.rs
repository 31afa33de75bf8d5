//! Whatever headers a record has: they are a dead letter's or not, and those of others stay as they are.

use proptest::prelude::*;

use super::headers::dead_letter_headers;
use super::{DeadLetter, HeaderStyle};
use crate::extract::robustness::{pairs, sample};
use crate::forward::{Detail, FailedRecord};
use crate::record::Timestamp;
use crate::record::encoded::{OwnedHeaders, decoded, encoded};

proptest! {
    #[test]
    fn any_headers_are_a_dead_letter_or_none(pairs in pairs()) {
        if let Err(error) = sample(&pairs).read(DeadLetter::of) {
            prop_assert!(error.to_string().contains("orders-2@41"));
        }
    }

    #[test]
    fn a_dead_letter_keeps_foreign_headers_and_does_not_grow_with_each_failure(
        pairs in pairs(),
        spring in any::<bool>(),
    ) {
        let failed = FailedRecord {
            topic: "orders",
            partition: 2,
            offset: 41,
            timestamp: Timestamp::CreateTime(7),
            group_id: "shop",
            class: "decode",
            message: "no such product",
        };
        let style = if spring { HeaderStyle::Spring } else { HeaderStyle::Plain };
        let foreign = |pairs: OwnedHeaders| -> OwnedHeaders {
            let is_ours = |name: &[u8]| name.starts_with(b"kafka_dlt-") || name.starts_with(b"dlt-");
            pairs.into_iter().filter(|(name, _)| !is_ours(name)).collect()
        };
        let borrowed: Vec<_> = pairs.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
        let once = dead_letter_headers(&encoded(&borrowed), &failed, style, Detail::Full);
        prop_assert_eq!(foreign(decoded(&once)), foreign(pairs));
        let twice = dead_letter_headers(&once, &failed, style, Detail::Full);
        prop_assert_eq!(dead_letter_headers(&twice, &failed, style, Detail::Full), twice);
    }
}
