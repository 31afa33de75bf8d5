//! Replies: what a listener with `send_to` returns is published, and its record is done when the broker has it.
//!
//! Says what a reply is, where it goes and with which headers. When to publish, and what to do while that does not
//! succeed, is the worker's business.

mod outcome;
mod route;

use std::fmt;
use std::sync::Arc;

pub use outcome::{
    Answer, ReplyProbe, ViaAnswer, ViaAnyResult, ViaClassifiedResult, ViaFailureNames, ViaNoNames, ViaNoReply,
    ViaReplies, ViaValue, reply_probe,
};
#[cfg(feature = "json")]
pub use outcome::{ViaOption, ViaSerialize};
pub(crate) use route::{NoRoute, Route, SendTo};

use crate::failure::ListenerError;
use crate::forward::{Forwarder, Unpublished, Wanted};
use crate::kafka::ffi::Outgoing;
use crate::producer::{Producer, ProducerRecord, SendError, SendResult};
use crate::record::{HeaderIter, RecordContext, encode_header};

/// The header that tells a requester which of its requests a reply is to: copied as it is.
const CORRELATION_ID: &[u8] = b"kafka_correlationId";

/// A reply with more to it than a payload: what a listener with `send_to` may return instead of a value.
///
/// A listener replies if its attribute says `send_to`, or if it returns this; the topic may then come from the
/// configuration. What is not set is the key of the record that is replied to, the partition that its
/// `kafka_replyPartition` names, and no further headers than its `kafka_correlationId`.
///
/// ```
/// use kafka_listener::{Reply, kafka_listener};
///
/// # #[derive(serde::Deserialize)] struct Order { order_id: String }
/// # #[derive(serde::Serialize)] struct Invoice { order_id: String }
/// # #[cfg(all(feature = "macros", feature = "json"))]
/// #[kafka_listener(topic = "orders", group_id = "billing", send_to = "invoices")]
/// async fn bill(order: Order) -> anyhow::Result<Reply> {
///     let invoice = Invoice { order_id: order.order_id };
///     Ok(Reply::json(&invoice).key(&invoice.order_id).header("tenant", "acme"))
/// }
/// ```
#[must_use = "a reply is sent when the listener returns it"]
pub struct Reply {
    record: ProducerRecord,
    /// Whether it has no key, whatever the source record has.
    keyless: bool,
}

impl Reply {
    /// A reply with `value` as JSON. A value that cannot be written as JSON fails the record for good.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Self {
        Self::of(ProducerRecord::default().json(value))
    }

    /// A reply with these bytes.
    pub fn bytes(payload: impl Into<Vec<u8>>) -> Self {
        Self::of(ProducerRecord::default().payload(payload))
    }

    /// A reply whose payload is null: a tombstone.
    pub fn null() -> Self {
        Self::of(ProducerRecord::default())
    }

    fn of(record: ProducerRecord) -> Self {
        Self { record, keyless: false }
    }

    /// Sets the key, instead of that of the record that is replied to.
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        Self { record: self.record.key(key), keyless: false }
    }

    /// Sends it without a key.
    pub fn without_key(self) -> Self {
        Self { keyless: true, ..self }
    }

    /// Adds a header; names may repeat. One of the name `kafka_correlationId` replaces the one that is copied.
    pub fn header(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Self { record: self.record.header(name, value), ..self }
    }

    /// Adds a header whose value is null.
    pub fn null_header(self, name: impl AsRef<[u8]>) -> Self {
        Self { record: self.record.null_header(name), ..self }
    }

    /// Sends it to this partition, whatever the record that is replied to asks for.
    pub fn partition(self, partition: i32) -> Self {
        Self { record: self.record.partition(partition), ..self }
    }

    /// The same, if it could be encoded: encoding is a part of handling the record.
    fn encoded(mut self) -> Result<Self, ListenerError> {
        match self.record.encode_error.take() {
            None => Ok(self),
            Some(error) => Err(ListenerError::terminal(Unencodable(error))),
        }
    }
}

impl fmt::Debug for Reply {
    /// Key, payload and headers stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("partition", &self.record.partition).finish_non_exhaustive()
    }
}

/// A reply whose value is none to the codec.
#[derive(Debug, thiserror::Error)]
#[error("the reply does not serialize")]
struct Unencodable(#[source] Box<dyn std::error::Error + Send + Sync>);

/// What one listener needs to publish its replies. Connects to nothing before the first one.
#[derive(Debug)]
pub(crate) struct Replies {
    send_to: SendTo,
    /// The topics that the listener itself reads, those in which its records wait included.
    own: Vec<String>,
    forwarder: Arc<Forwarder>,
}

impl Replies {
    pub(crate) fn new(producer: Producer, send_to: SendTo, own: Vec<String>) -> Self {
        Self { send_to, own, forwarder: Arc::new(Forwarder::new(producer, "reply topic")) }
    }

    pub(crate) fn forwarder(&self) -> &Arc<Forwarder> {
        &self.forwarder
    }

    /// What has to be there for replies to the records of these topics, as far as that is known before the first one.
    pub(crate) fn wanted(&self, sources: &[String]) -> Vec<Wanted> {
        self.send_to.topics(sources).into_iter().map(|topic| Wanted { topic, like: None }).collect()
    }

    /// Where replies to a record of `source` with these headers go.
    pub(crate) fn route(&self, source: &str, headers: HeaderIter<'_>) -> Result<Route, NoRoute> {
        self.send_to.route(source, headers, &self.own)
    }

    /// Publishes one reply to a record with this key and these headers. Resolves when the broker has acknowledged it.
    ///
    /// Once polled, the reply may be stored although the future is dropped.
    pub(crate) async fn publish(
        &self,
        reply: &Reply,
        route: &Route,
        key: Option<&[u8]>,
        headers: HeaderIter<'_>,
    ) -> Result<SendResult, Unpublished> {
        let Reply { record, keyless } = reply;
        let headers = reply_headers(&record.headers, headers);
        let outgoing = Outgoing {
            topic: &route.topic,
            partition: record.partition.or(route.partition),
            key: record.key.as_deref().or(key).filter(|_| !keyless),
            payload: record.payload.as_deref(),
            timestamp: None,
            headers: &headers,
        };
        self.forwarder.publish(&outgoing).await
    }
}

/// The headers of a reply: its own, and the correlation of the record that is replied to.
fn reply_headers(own: &[u8], source: HeaderIter<'_>) -> Vec<u8> {
    let mut headers = own.to_vec();
    let is_correlation = |(name, _): &(&[u8], Option<&[u8]>)| *name == CORRELATION_ID;
    if !HeaderIter::new(own).any(|header| is_correlation(&header))
        && let Some((name, Some(id))) = source.filter(is_correlation).last()
    {
        encode_header(&mut headers, name, Some(id));
    }
    headers
}

/// Whether an error means that the reply itself, or the place that the record asks for, will never do: then the record
/// has failed. Anything else is waited for.
pub(crate) fn is_fault_of_the_record(error: &Unpublished, route: &Route, reply: &Reply) -> bool {
    const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
    match error {
        Unpublished::Send(SendError::TooLarge { .. } | SendError::Encode { .. }) => true,
        Unpublished::Send(SendError::UnknownPartition { .. }) => {
            route.partition.is_some() || reply.record.partition.is_some()
        }
        Unpublished::NoTopic { .. } | Unpublished::Send(SendError::UnknownTopic { .. }) => route.is_asked_for,
        Unpublished::Ask { reason, .. } => route.is_asked_for && reason.code() == Some(TOPIC_AUTHORIZATION_FAILED),
        Unpublished::Headers(_) | Unpublished::Send(_) => false,
    }
}

/// Checks that a record can be replied to, before anything is done about it.
///
/// # Errors
///
/// It asks for its reply where none can go: terminal.
#[inline]
pub fn check_request(record: RecordContext<'_>) -> Result<(), ListenerError> {
    match record.replies() {
        None => Ok(()),
        Some(replies) => replies.route(record.topic(), record.headers()).map(drop).map_err(ListenerError::terminal),
    }
}

#[cfg(test)]
mod tests;
