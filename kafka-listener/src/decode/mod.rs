//! From a record's bytes to the payload that a listener takes.
//!
//! Runs in the partition's worker, before anything else of the user's code. Knows no coordinates: the engine says which
//! record failed, this says why.

mod error;
mod looks;
#[cfg(feature = "json")]
mod plain;

#[cfg(feature = "json")]
use std::any::type_name;

pub use error::DecodeError;

#[cfg(feature = "json")]
use crate::config::Codec;
use crate::record::RecordContext;

/// What a listener may take as its first parameter.
///
/// Every type that implements [`serde::de::DeserializeOwned`] is decoded by the listener's codec, JSON unless it says
/// otherwise (see [`codec`](crate::codec)). A null payload (a tombstone) is
/// `None` to an `Option` and an error to a plain struct. Beside those there are
/// [`ConsumerRecord<T>`](crate::ConsumerRecord) and [`RawPayload`](crate::extract::RawPayload).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a payload",
    label = "the first parameter of a listener is its payload",
    note = "extractors follow the payload: `async fn handle(order: Order, State(stock): State<Stock>)`"
)]
#[cfg_attr(
    feature = "json",
    diagnostic::on_unimplemented(
        note = "a payload is any type that implements `serde::de::DeserializeOwned` (`#[derive(serde::Deserialize)]` on a type that borrows nothing), `Option` of one (`None` is a tombstone), `RawPayload`, or `ConsumerRecord<T>` of any payload"
    )
)]
#[cfg_attr(
    not(feature = "json"),
    diagnostic::on_unimplemented(
        note = "without the feature `json` of `kafka-listener` a payload is `RawPayload`, or `ConsumerRecord<RawPayload>`"
    )
)]
pub trait Payload: Sized {
    /// Whether decoding looks at the record's headers; where nothing does, a record has none to show.
    const READS_HEADERS: bool = true;

    /// Decodes the record's payload.
    ///
    /// # Errors
    ///
    /// The payload is not what `Self` expects. The record is not tried again: it would fail the same way.
    fn decode(record: RecordContext<'_>) -> Result<Self, DecodeError>;
}

#[cfg(feature = "json")]
#[diagnostic::do_not_recommend]
impl<T: serde::de::DeserializeOwned> Payload for T {
    const READS_HEADERS: bool = false;

    fn decode(record: RecordContext<'_>) -> Result<Self, DecodeError> {
        match record.codec() {
            Codec::Json => from_json(record.payload()),
            Codec::Text => from_plain(record.payload(), |bytes| str::from_utf8(bytes).map(plain::Plain::Text)),
            Codec::Bytes => from_plain(record.payload(), |bytes| Ok(plain::Plain::Bytes(bytes))),
        }
    }
}

/// Decodes what is one value, text or bytes: it may be empty.
#[cfg(feature = "json")]
fn from_plain<'p, T: serde::Deserialize<'p>>(
    payload: Option<&'p [u8]>,
    read: impl FnOnce(&'p [u8]) -> Result<plain::Plain<'p>, std::str::Utf8Error>,
) -> Result<T, DecodeError> {
    let Some(bytes) = payload else { return from_nothing() };
    let plain = read(bytes).map_err(|error| DecodeError::of_bytes::<T>(error, bytes))?;
    T::deserialize(plain).map_err(|error| DecodeError::new::<T>(error))
}

/// A null payload, which only types that have room for nothing accept.
#[cfg(feature = "json")]
fn from_nothing<'p, T: serde::Deserialize<'p>>() -> Result<T, DecodeError> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error as UnitError, UnitDeserializer};

    let nothing: UnitDeserializer<UnitError> = ().into_deserializer();
    T::deserialize(nothing).map_err(|_| DecodeError::tombstone::<T>())
}

/// Decodes JSON; `None` is a null payload.
#[cfg(feature = "json")]
pub(crate) fn from_json<'p, T: serde::Deserialize<'p>>(payload: Option<&'p [u8]>) -> Result<T, DecodeError> {
    match payload {
        Some([]) => Err(DecodeError::empty(type_name::<T>())),
        Some(json) => serde_json::from_slice(json).map_err(|error| DecodeError::of_bytes::<T>(error, json)),
        None => from_nothing(),
    }
}

#[cfg(test)]
#[cfg(feature = "json")]
mod tests;
