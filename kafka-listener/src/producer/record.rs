//! What is sent: a topic and, as far as they are given, partition, key, payload, headers and time.

use std::error::Error;
use std::fmt;

use super::SendError;
use crate::kafka::ffi::Outgoing;
use crate::record::encode_header;

/// A record to send. What is not set is null, absent, chosen by the key, or now.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use kafka_listener::ProducerRecord;
///
/// # #[derive(serde::Serialize)] struct Order { order_id: &'static str }
/// let order = Order { order_id: "o-17" };
/// let record = ProducerRecord::to("orders").key(order.order_id).json(&order).header("tenant", "acme");
/// # }
/// ```
#[derive(Default)]
#[must_use = "a record does nothing before `Producer::send`"]
pub struct ProducerRecord {
    topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    timestamp: Option<i64>,
    /// As `encode_header` writes them.
    pub(crate) headers: Vec<u8>,
    /// Why the payload could not be encoded; `send` tells it.
    pub(crate) encode_error: Option<Box<dyn Error + Send + Sync>>,
}

impl ProducerRecord {
    /// A record for this topic, with nothing in it yet.
    pub fn to(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    /// Sets the key.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Sets the payload to `value` as JSON. A value that cannot be written as JSON is an error of `send`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(payload) => self.payload = Some(payload),
            Err(error) => self.encode_error = Some(error.into()),
        }
        self
    }

    /// Sets the payload to these bytes.
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Adds a header; names may repeat.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        encode_header(&mut self.headers, name.as_ref(), Some(value.as_ref()));
        self
    }

    /// Adds a header whose value is null.
    pub fn null_header(mut self, name: impl AsRef<[u8]>) -> Self {
        encode_header(&mut self.headers, name.as_ref(), None);
        self
    }

    /// Sends it to this partition. Otherwise the key decides, as it does with Java's producer (murmur2), or chance where
    /// there is no key.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets its time, in milliseconds since the Unix epoch; 0 and what is before are taken for now.
    pub fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis.max(0));
        self
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn outgoing(&self) -> Result<Outgoing<'_>, SendError> {
        if let Some(error) = &self.encode_error {
            return Err(SendError::Encode { topic: self.topic.clone(), reason: error.to_string() });
        }
        if self.topic.is_empty() || self.topic.contains('\0') {
            return Err(SendError::Refused { topic: self.topic.clone(), reason: "no name of a topic".to_owned() });
        }
        Ok(Outgoing {
            topic: &self.topic,
            partition: self.partition,
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            timestamp: self.timestamp,
            headers: &self.headers,
        })
    }
}

impl fmt::Debug for ProducerRecord {
    /// Names where it goes; key, payload and headers stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}
