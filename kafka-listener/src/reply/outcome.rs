//! What a listener that replies may return, and how it becomes replies.
//!
//! Found out by the order of method lookup, as for errors that classify themselves: a bound could not tell `Option<T>` or
//! `Result<T, E>` from other types that serialize. Generated code calls the first of the methods here that fits.

use std::error::Error;
use std::marker::PhantomData;

use super::Reply;
use crate::failure::{Classify, ListenerError};
use crate::outcome::Failure;
use crate::record::RecordContext;

/// What a listener that replies returns. Nothing implements it: whatever fits is found before it is asked.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a reply",
    label = "a listener with `send_to` returns what is sent",
    note = "a reply is a value that implements `serde::Serialize`, an `Option` of one (`None` sends nothing), `Reply`, `Option<Reply>` or `Vec<Reply>` (each is a record), alone or in `Result<_, E>`",
    note = "bytes as they are go into `Reply::bytes`"
)]
pub trait Answer {}

/// Finds out what `R` is.
pub struct ReplyProbe<R>(PhantomData<fn(R)>);

impl<R> std::fmt::Debug for ReplyProbe<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReplyProbe")
    }
}

impl<R> ReplyProbe<R> {
    /// The probe for `R`.
    pub const NEW: Self = Self(PhantomData);
}

/// The probe for the type of a value.
pub fn reply_probe<V>(_: &V) -> ReplyProbe<V> {
    ReplyProbe::NEW
}

// First, what the listener failed with, if it did.

/// Splits results whose error classifies itself.
#[doc(hidden)]
pub trait ViaClassifiedResult<V, E> {
    fn __kafka_listener_split(&self, outcome: Result<V, E>) -> Result<V, ListenerError>;

    /// The names of classes that an error may give, if all are known.
    fn __kafka_listener_names(&self) -> Option<&'static [&'static str]>;
}

impl<V, E: Classify + Into<Box<dyn Error + Send + Sync>>> ViaClassifiedResult<V, E> for &&ReplyProbe<Result<V, E>> {
    #[inline]
    fn __kafka_listener_split(&self, outcome: Result<V, E>) -> Result<V, ListenerError> {
        outcome.map_err(ListenerError::classified)
    }

    fn __kafka_listener_names(&self) -> Option<&'static [&'static str]> {
        E::names()
    }
}

/// Splits every other result.
#[doc(hidden)]
pub trait ViaAnyResult<V, E> {
    fn __kafka_listener_split(&self, outcome: Result<V, E>) -> Result<V, ListenerError>
    where
        E: Failure;
}

impl<V, E> ViaAnyResult<V, E> for &ReplyProbe<Result<V, E>> {
    #[inline]
    fn __kafka_listener_split(&self, outcome: Result<V, E>) -> Result<V, ListenerError>
    where
        E: Failure,
    {
        outcome.map_err(Failure::into_listener_error)
    }
}

/// Takes what cannot fail.
#[doc(hidden)]
pub trait ViaValue<V> {
    fn __kafka_listener_split(&self, value: V) -> Result<V, ListenerError>;
}

impl<V> ViaValue<V> for ReplyProbe<V> {
    #[inline]
    fn __kafka_listener_split(&self, value: V) -> Result<V, ListenerError> {
        Ok(value)
    }
}

/// Names of classes of results whose error does not classify itself.
#[doc(hidden)]
pub trait ViaFailureNames<V, E> {
    fn __kafka_listener_names(&self) -> Option<&'static [&'static str]>;
}

impl<V, E: Failure> ViaFailureNames<V, E> for &ReplyProbe<Result<V, E>> {
    fn __kafka_listener_names(&self) -> Option<&'static [&'static str]> {
        E::NAMES
    }
}

/// Names of classes where nothing can fail.
#[doc(hidden)]
pub trait ViaNoNames<V> {
    fn __kafka_listener_names(&self) -> Option<&'static [&'static str]>;
}

impl<V> ViaNoNames<V> for ReplyProbe<V> {
    fn __kafka_listener_names(&self) -> Option<&'static [&'static str]> {
        Some(&[])
    }
}

// Then, what it returned.

/// Refuses what serializes and is hardly meant to be sent so.
#[doc(hidden)]
pub trait ViaNoReply<V> {
    fn __kafka_listener_reply(&self, value: V, record: RecordContext<'_>) -> Result<(), ListenerError>
    where
        V: Answer;
}

/// Nothing, and bytes, which would become a list of numbers.
#[doc(hidden)]
pub trait NoReply {}

impl NoReply for () {}
impl NoReply for Vec<u8> {}
impl NoReply for bytes::Bytes {}
impl<T: NoReply> NoReply for Option<T> {}

impl<V: NoReply> ViaNoReply<V> for &&&&ReplyProbe<V> {
    fn __kafka_listener_reply(&self, _: V, _: RecordContext<'_>) -> Result<(), ListenerError>
    where
        V: Answer,
    {
        Ok(())
    }
}

/// Notes replies as they are.
#[doc(hidden)]
pub trait ViaReplies<V> {
    fn __kafka_listener_reply(&self, value: V, record: RecordContext<'_>) -> Result<(), ListenerError>;
}

/// One reply, one or none, or several.
#[doc(hidden)]
pub trait IntoReplies {
    fn into_replies(self) -> Vec<Reply>;
}

impl IntoReplies for Reply {
    fn into_replies(self) -> Vec<Reply> {
        vec![self]
    }
}

impl IntoReplies for Option<Reply> {
    fn into_replies(self) -> Vec<Reply> {
        self.into_iter().collect()
    }
}

impl IntoReplies for Vec<Reply> {
    fn into_replies(self) -> Vec<Reply> {
        self
    }
}

impl<V: IntoReplies> ViaReplies<V> for &&&ReplyProbe<V> {
    #[inline]
    fn __kafka_listener_reply(&self, value: V, record: RecordContext<'_>) -> Result<(), ListenerError> {
        let replies = value.into_replies().into_iter().map(Reply::encoded).collect::<Result<_, _>>()?;
        record.note_replies(replies);
        Ok(())
    }
}

/// Notes a value, where there is one, as JSON.
#[cfg(feature = "json")]
#[doc(hidden)]
pub trait ViaOption<T> {
    fn __kafka_listener_reply(&self, value: Option<T>, record: RecordContext<'_>) -> Result<(), ListenerError>;
}

#[cfg(feature = "json")]
impl<T: serde::Serialize> ViaOption<T> for &&ReplyProbe<Option<T>> {
    #[inline]
    fn __kafka_listener_reply(&self, value: Option<T>, record: RecordContext<'_>) -> Result<(), ListenerError> {
        let reply = value.map(|value| Reply::json(&value).encoded()).transpose()?;
        record.note_replies(reply.into_replies());
        Ok(())
    }
}

/// Notes a value as JSON.
#[cfg(feature = "json")]
#[doc(hidden)]
pub trait ViaSerialize<T> {
    fn __kafka_listener_reply(&self, value: T, record: RecordContext<'_>) -> Result<(), ListenerError>;
}

#[cfg(feature = "json")]
impl<T: serde::Serialize> ViaSerialize<T> for &ReplyProbe<T> {
    #[inline]
    fn __kafka_listener_reply(&self, value: T, record: RecordContext<'_>) -> Result<(), ListenerError> {
        record.note_replies(vec![Reply::json(&value).encoded()?]);
        Ok(())
    }
}

/// Refuses everything else, and says what there is.
#[doc(hidden)]
pub trait ViaAnswer<V> {
    fn __kafka_listener_reply(&self, value: V, record: RecordContext<'_>) -> Result<(), ListenerError>
    where
        V: Answer;
}

impl<V> ViaAnswer<V> for ReplyProbe<V> {
    fn __kafka_listener_reply(&self, _: V, _: RecordContext<'_>) -> Result<(), ListenerError>
    where
        V: Answer,
    {
        Ok(())
    }
}
