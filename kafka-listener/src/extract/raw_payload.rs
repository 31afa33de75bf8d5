//! `RawPayload`: for listeners that decode for themselves, or not at all.
//!
//! The only payload whose bytes may be borrowed while the listener runs.

use std::fmt;

use bytes::Bytes;

use crate::decode::{DecodeError, Payload};
use crate::record::RecordContext;

/// The payload's bytes as they came, not decoded.
///
/// The bytes are not copied; while this lives, the hand-over that the record came with stays in memory.
///
/// ```
/// use kafka_listener::extract::RawPayload;
///
/// #[derive(serde::Deserialize)]
/// struct Order<'p> {
///     order_id: &'p str,
/// }
///
/// # #[cfg(all(feature = "macros", feature = "json"))]
/// #[kafka_listener::kafka_listener(topic = "orders", group_id = "audit")]
/// async fn audit(payload: RawPayload) -> anyhow::Result<()> {
///     let order: Order<'_> = payload.json()?;
///     println!("{}", order.order_id);
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RawPayload {
    bytes: Option<Bytes>,
}

impl RawPayload {
    /// The bytes; `None` is Kafka's null payload, a tombstone, which an empty payload is not.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// Whether the payload is null: a tombstone.
    pub fn is_tombstone(&self) -> bool {
        self.bytes.is_none()
    }

    /// Decodes JSON; strings without escapes may be borrowed from the payload.
    ///
    /// # Errors
    ///
    /// The payload is not what `T` expects. Returned from a listener, in whatever wrapping, it is a failure of the class
    /// `decode` and not tried again.
    #[cfg(feature = "json")]
    pub fn json<'p, T: serde::Deserialize<'p>>(&'p self) -> Result<T, DecodeError> {
        crate::decode::from_json(self.as_bytes())
    }
}

impl fmt::Debug for RawPayload {
    /// Prints the length; the content may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bytes {
            Some(bytes) => write!(f, "RawPayload({} bytes)", bytes.len()),
            None => f.write_str("RawPayload(null)"),
        }
    }
}

impl Payload for RawPayload {
    const READS_HEADERS: bool = false;

    fn decode(record: RecordContext<'_>) -> Result<Self, DecodeError> {
        Ok(Self { bytes: record.payload_bytes() })
    }
}
