//! Which records a listener takes at all, and which payloads are valid.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use crate::extract::ConsumerRecord;
use crate::failure::{ErrorClass, ListenerError};
use crate::record::RecordContext;
use crate::state::Requirements;

/// What `filter` in the attribute names: a function of the record, asked before its payload is decoded, or of the decoded
/// payload. `false` passes the record over: it is done, and counted as filtered.
///
/// ```
/// use kafka_listener::RecordContext;
///
/// # struct Order { is_test: bool }
/// fn is_european(record: RecordContext<'_>) -> bool {
///     record.headers().any(|(name, value)| name == b"region" && value == Some(b"eu"))
/// }
///
/// fn is_real(order: &Order) -> bool {
///     !order.is_test
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a filter of this listener",
    label = "`filter` names `fn(RecordContext<'_>) -> bool` or a function of `&{T}` to `bool`",
    note = "the first is asked before the payload is decoded, the second after that"
)]
pub trait Filter<T, When> {
    /// Whether it looks at the record, headers included.
    #[doc(hidden)]
    const ASKS_BEFORE: bool;

    /// Whether the record is decoded.
    #[doc(hidden)]
    fn passes_before(&self, record: RecordContext<'_>) -> bool;

    /// Whether the listener gets the payload.
    #[doc(hidden)]
    fn passes_after(&self, payload: &T) -> bool;
}

/// Tells filters that are asked before decoding from the others.
#[derive(Debug)]
pub enum BeforeDecoding {}

/// Tells filters that are asked after decoding from the others.
#[derive(Debug)]
pub enum AfterDecoding {}

#[diagnostic::do_not_recommend]
impl<T, F: Fn(RecordContext<'_>) -> bool> Filter<T, BeforeDecoding> for F {
    const ASKS_BEFORE: bool = true;

    #[inline]
    fn passes_before(&self, record: RecordContext<'_>) -> bool {
        self(record)
    }

    #[inline]
    fn passes_after(&self, _: &T) -> bool {
        true
    }
}

#[diagnostic::do_not_recommend]
impl<T, F: Fn(&T) -> bool> Filter<T, AfterDecoding> for F {
    const ASKS_BEFORE: bool = false;

    #[inline]
    fn passes_before(&self, _: RecordContext<'_>) -> bool {
        true
    }

    #[inline]
    fn passes_after(&self, payload: &T) -> bool {
        self(payload)
    }
}

/// A filter with its kind, as generated code holds it.
pub struct FilterOf<F, When>(F, PhantomData<fn(When)>);

impl<F, When> fmt::Debug for FilterOf<F, When> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilterOf")
    }
}

/// Checks that `filter` is one for payloads of type `T`.
pub fn filter<T, F: Filter<T, When>, When>(filter: F) -> FilterOf<F, When> {
    FilterOf(filter, PhantomData)
}

/// What generated code asks a filter.
pub trait FilterBy<T> {
    /// Whether the record is decoded; if not, it is noted as filtered.
    fn passes_before(&self, record: RecordContext<'_>) -> bool;

    /// Whether the listener gets the payload; if not, the record is noted as filtered.
    fn passes_after(&self, payload: &T, record: RecordContext<'_>) -> bool;

    /// Declares what it reads.
    fn requirements(&self, requirements: &mut Requirements);
}

impl<T, F: Filter<T, When>, When> FilterBy<T> for FilterOf<F, When> {
    #[inline]
    fn passes_before(&self, record: RecordContext<'_>) -> bool {
        self.0.passes_before(record) || pass_over(record)
    }

    #[inline]
    fn passes_after(&self, payload: &T, record: RecordContext<'_>) -> bool {
        self.0.passes_after(payload) || pass_over(record)
    }

    fn requirements(&self, requirements: &mut Requirements) {
        requirements.reads_headers |= F::ASKS_BEFORE;
    }
}

fn pass_over(record: RecordContext<'_>) -> bool {
    record.note_filtered();
    false
}

/// A payload that can be found invalid although it decodes. A listener whose payload implements it, alone, in `Option` or
/// in `ConsumerRecord`, is only called with valid ones; another is a failure of class `validation`, which is never tried
/// again. Adapters to libraries of rules are a line each.
///
/// ```
/// use kafka_listener::Validate;
///
/// struct Order { quantity: u32 }
///
/// impl Validate for Order {
///     type Error = &'static str;
///
///     fn validate(&self) -> Result<(), &'static str> {
///         if self.quantity == 0 { Err("an order of nothing") } else { Ok(()) }
///     }
/// }
/// ```
pub trait Validate {
    /// What is wrong.
    type Error: Into<Box<dyn Error + Send + Sync>>;

    /// Judges the payload. Runs in the partition's worker for every record and every attempt: it must not block.
    ///
    /// # Errors
    ///
    /// The payload is not valid.
    fn validate(&self) -> Result<(), Self::Error>;
}

impl<T: Validate> Validate for Option<T> {
    type Error = T::Error;

    fn validate(&self) -> Result<(), T::Error> {
        self.as_ref().map_or(Ok(()), T::validate)
    }
}

impl<T: Validate> Validate for ConsumerRecord<T> {
    type Error = T::Error;

    fn validate(&self) -> Result<(), T::Error> {
        self.payload().validate()
    }
}

/// Finds out whether a payload implements [`Validate`], by the order of method lookup as for errors that classify
/// themselves.
#[derive(Debug)]
pub struct Validity<T>(pub(crate) PhantomData<fn(T)>);

/// Judges payloads that can be invalid.
#[doc(hidden)]
pub trait ViaValidate<T> {
    fn __kafka_listener_validate(&self, payload: &T) -> Result<(), ListenerError>;
}

impl<T: Validate> ViaValidate<T> for Validity<T> {
    #[inline]
    fn __kafka_listener_validate(&self, payload: &T) -> Result<(), ListenerError> {
        payload.validate().map_err(|error| ListenerError::of_class(error, ErrorClass::Validation, false))
    }
}

/// Takes every other payload as it is.
#[doc(hidden)]
pub trait ViaDecoding<T> {
    fn __kafka_listener_validate(&self, payload: &T) -> Result<(), ListenerError>;
}

impl<T> ViaDecoding<T> for &Validity<T> {
    #[inline]
    fn __kafka_listener_validate(&self, _: &T) -> Result<(), ListenerError> {
        Ok(())
    }
}
