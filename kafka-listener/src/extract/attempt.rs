//! `Attempt`: which delivery of the record this is.

use std::convert::Infallible;
use std::fmt;

use super::FromRecord;
use crate::record::RecordContext;

/// Which delivery of the record this is, and how many there are at most. Prints as `2 of 5`, or `2` without a limit.
///
/// Deliveries are counted in this process, and where attempts are limited over its assignments; a record that another
/// process has tried before begins at 1 again.
///
/// ```
/// use kafka_listener::extract::Attempt;
/// # #[derive(serde::Deserialize)] struct Order;
///
/// # #[cfg(all(feature = "macros", feature = "json"))]
/// #[kafka_listener::kafka_listener(topic = "orders", group_id = "order-service")]
/// async fn request_payment(order: Order, attempt: Attempt) -> anyhow::Result<()> {
///     if attempt.is_last() {
///         // Tell somebody.
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    limit: Option<u32>,
}

impl Attempt {
    pub(crate) fn new(number: u32, limit: Option<u32>) -> Self {
        Self { number, limit }
    }

    /// The number of this delivery; the first is 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many deliveries there are at most, this one and all before it included: `retry.attempts`. `None`: no limit. A
    /// class of errors may have another one of its own.
    pub fn limit(self) -> Option<u32> {
        self.limit
    }

    /// Whether this is the first delivery.
    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// Whether a failure of this delivery is final: `on_failure` decides then. Never without a limit.
    pub fn is_last(self) -> bool {
        self.limit.is_some_and(|limit| self.number >= limit)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) => write!(f, "{} of {limit}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

#[diagnostic::do_not_recommend]
impl FromRecord for Attempt {
    type Rejection = Infallible;

    const READS_HEADERS: bool = false;

    fn from_record(record: RecordContext<'_>) -> Result<Self, Infallible> {
        Ok(Self::new(record.attempt(), record.attempt_limit()))
    }
}
