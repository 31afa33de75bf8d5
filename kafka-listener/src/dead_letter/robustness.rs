//! Whatever headers a record has: they are a dead letter's or not, and those of others stay as they are.

use proptest::prelude::*;

use super::headers::dead_letter_headers;
use super::{DeadLetter, Failed, HeaderStyle};
use crate::extract::robustness::{Pairs, owned, pairs, sample};
use crate::forward::Detail;
use crate::record::{HeaderIter, Timestamp, encode_header};

fn encoded(pairs: &Pairs) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in pairs {
        encode_header(&mut encoded, name, value.as_deref());
    }
    encoded
}

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
        let failed = Failed {
            topic: "orders",
            partition: 2,
            offset: 41,
            timestamp: Timestamp::CreateTime(7),
            group_id: "shop",
            class: "decode",
            message: "no such product",
        };
        let style = if spring { HeaderStyle::Spring } else { HeaderStyle::Plain };
        let foreign = |pairs: Pairs| -> Pairs {
            let is_ours = |name: &[u8]| name.starts_with(b"kafka_dlt-") || name.starts_with(b"dlt-");
            pairs.into_iter().filter(|(name, _)| !is_ours(name)).collect()
        };
        let once = dead_letter_headers(&encoded(&pairs), &failed, style, Detail::Full);
        prop_assert_eq!(foreign(owned(HeaderIter::new(&once))), foreign(pairs));
        let twice = dead_letter_headers(&once, &failed, style, Detail::Full);
        prop_assert_eq!(dead_letter_headers(&twice, &failed, style, Detail::Full), twice);
    }
}
