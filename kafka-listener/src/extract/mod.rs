//! What a listener takes beside its payload.
//!
//! A listener's first parameter is its payload: any type that decodes, [`Option`] of one, [`ConsumerRecord<T>`] or
//! [`RawPayload`]. Every further parameter is an extractor: a type that implements [`FromRecord`]. There are
//! [`State`], [`Key`], [`Headers`], [`RecordMetadata`], [`Attempt`] and [`Acknowledgment`]; write your own by implementing
//! the trait.
//!
//! [`ConsumerRecord<T>`]: crate::ConsumerRecord

mod acknowledgment;
mod attempt;
mod consumer_record;
mod headers;
mod key;
mod metadata;
mod raw_payload;
mod state;

use std::error::Error;

pub use crate::dead_letter::{DeadLetter, NoDeadLetter};
pub use crate::decode::{DecodeError, Payload};
pub use crate::producer::Producer;
pub use crate::state::Requirements;
pub use acknowledgment::{AckOutcome, AckReceipt, Acknowledgment, NotAcknowledged};
pub use attempt::Attempt;
pub use consumer_record::ConsumerRecord;
pub use headers::{HeaderNotUtf8, Headers};
pub use key::{FromKey, Key};
pub use metadata::RecordMetadata;
pub use raw_payload::RawPayload;
pub use state::{State, StateNotGiven};

use crate::record::RecordContext;

/// Makes a listener's parameter from the record.
///
/// ```
/// use kafka_listener::RecordContext;
/// use kafka_listener::extract::{FromRecord, Headers, HeaderNotUtf8};
///
/// /// The tenant that a record belongs to.
/// struct Tenant(Option<String>);
///
/// impl FromRecord for Tenant {
///     type Rejection = HeaderNotUtf8;
///
///     fn from_record(record: RecordContext<'_>) -> Result<Self, HeaderNotUtf8> {
///         let headers = Headers::of(record);
///         Ok(Self(headers.get_str("tenant")?.map(str::to_owned)))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from a record",
    label = "every parameter after the first is an extractor",
    note = "extractors are `State<S>` with `S: Clone + Send + Sync + 'static`, `Key<K>`, `Headers`, `RecordMetadata`, `Acknowledgment` and types of your own that implement `kafka_listener::extract::FromRecord`",
    note = "the payload is the first parameter: `async fn handle(order: Order, State(stock): State<Stock>)`"
)]
pub trait FromRecord: Sized {
    /// Why it cannot be made. A terminal failure: the listener is not called, and the record is not tried again. Its
    /// class is `decode` when it is or was caused by a [`DecodeError`], else `terminal`.
    type Rejection: Into<Box<dyn Error + Send + Sync>>;

    /// Whether it looks at the record's headers. `false` saves the engine from taking them out of the message, which
    /// costs two allocations per record; [`RecordContext::headers`] is then empty unless another parameter wants them.
    const READS_HEADERS: bool = true;

    /// Whether it takes the record's [`Acknowledgment`]. A listener with such a parameter has `ack_mode = "manual"` or
    /// `"manual_immediate"`, and one parameter of the kind at most.
    const TAKES_ACKNOWLEDGMENT: bool = false;

    /// Declares the states it reads, so that what is missing is found at start. Does nothing unless implemented.
    fn requirements(requirements: &mut Requirements) {
        let _ = requirements;
    }

    /// Makes it. Runs in the partition's worker for every record and every attempt: it must not block.
    ///
    /// # Errors
    ///
    /// The record has not what the listener asks for.
    fn from_record(record: RecordContext<'_>) -> Result<Self, Self::Rejection>;
}

#[cfg(test)]
pub(crate) mod robustness;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
