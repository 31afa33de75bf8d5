//! From bytes to values: what `codec` names, and codecs of your own.
//!
//! A listener's `codec` is `"json"` (the default), `"string"` or `"bytes"`, in the attribute, a container factory or the
//! configuration file; or, in the attribute only, a type that implements [`Decode`].
//!
//! | `codec` | the payload is | suits |
//! |---|---|---|
//! | `"json"` | a JSON text | any `T: DeserializeOwned` |
//! | `"string"` | one UTF-8 text | `String`, newtypes of it, enums of unit variants |
//! | `"bytes"` | one value of bytes | types that deserialize from bytes: newtypes of `Vec<u8>`, `serde_bytes` |
//! | a type | what that type makes of it | what it implements [`Decode`] for |
//!
//! [`RawPayload`](crate::extract::RawPayload) is the bytes themselves, not copied, whatever the codec is.
//!
//! Type headers are not needed: the listener's signature says the type, and Spring's `__TypeId__` is ignored. Where one
//! topic carries several types, [`TypeIdJson`] chooses an enum's variant by it.

use std::error::Error;

#[cfg(feature = "json")]
mod type_id;

#[cfg(feature = "json")]
pub use type_id::{TypeIdJson, TypeIds, UnknownTypeId};

use crate::record::RecordContext;
use crate::state::Requirements;

/// A codec of your own, named in the attribute: `#[kafka_listener(codec = Csv)]`. A type without a value: what it needs
/// at run time are states of the registry, by [`State::from_record`](crate::extract::FromRecord::from_record).
///
/// A null payload never comes here: it is `None` to a listener that takes `Option<T>`, else an error. `ConsumerRecord<T>`
/// is decoded as `T`.
///
/// ```
/// use kafka_listener::RecordContext;
/// use kafka_listener::codec::Decode;
///
/// struct Csv;
///
/// impl Decode<Vec<String>> for Csv {
///     type Error = std::str::Utf8Error;
///
///     fn decode(payload: &[u8], _: RecordContext<'_>) -> Result<Vec<String>, Self::Error> {
///         Ok(str::from_utf8(payload)?.split(',').map(str::to_owned).collect())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not decode `{T}`",
    label = "the listener's `codec` does not implement `Decode` for this payload",
    note = "implement `kafka_listener::codec::Decode<{T}>` for `{Self}`; `\"json\"`, `\"string\"` and `\"bytes\"` are strings",
    note = "`RawPayload` needs no codec"
)]
pub trait Decode<T> {
    /// Why it does not decode: the cause of a [`DecodeError`](crate::extract::DecodeError), class `decode`.
    type Error: Into<Box<dyn Error + Send + Sync>>;

    /// Whether it looks at the record's headers; `false` saves the engine from taking them out.
    const READS_HEADERS: bool = false;

    /// Declares the states it reads, so that what is missing is found at start. Does nothing unless implemented.
    fn requirements(requirements: &mut Requirements) {
        let _ = requirements;
    }

    /// Decodes one payload. Runs in the partition's worker for every record and every attempt: it must not block.
    ///
    /// # Errors
    ///
    /// The bytes are not a `T`. The record is not tried again: it would fail the same way.
    fn decode(payload: &[u8], record: RecordContext<'_>) -> Result<T, Self::Error>;
}
