//! What generated code calls. Not public API: it changes with the attribute, whose version is pinned to ours.
//!
//! Each check is a `const fn` with one bound, called in one constant on the user's own token: so a type that does not
//! fit is reported once, there, in our words.

use std::any::type_name;
use std::future::Future;
use std::marker::PhantomData;

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

pub use inventory;

pub use crate::decode::Payload;
pub use crate::definition::{Attribute, AttributeValue, Handler, ListenerDefinition};
pub use crate::extract::FromRecord;
pub use crate::failure::{Classification, Classify, ListenerError};
pub use crate::filter::{FilterBy, filter};
pub use crate::outcome::{OutcomeOf, Probe, outcome};
pub use crate::record::RecordContext;
pub use crate::reply::{Answer, ReplyProbe, check_request, reply_probe};
pub use crate::state::Requirements;
pub use crate::worker::erase;

/// Imported whole, so that the one of the two that is not needed is not unused.
pub mod settling {
    pub use crate::filter::{ViaDecoding, ViaValidate};
    pub use crate::outcome::{ViaClassify, ViaOutcome};
}

/// Imported whole where the listener replies, for the same reason.
pub mod replying {
    pub use crate::reply::{
        ViaAnswer, ViaAnyResult, ViaClassifiedResult, ViaFailureNames, ViaNoNames, ViaNoReply, ViaReplies, ViaValue,
    };
    #[cfg(feature = "json")]
    pub use crate::reply::{ViaOption, ViaSerialize};
}

use crate::codec::Decode;
use crate::decode::DecodeError;
use crate::extract::ConsumerRecord;
use crate::failure::ErrorClass;
use crate::filter::Validity;
use crate::slots::Tenure;

/// How a listener's payload is decoded.
#[derive(Debug)]
pub struct PayloadOf<T> {
    decode: fn(RecordContext<'_>) -> Result<T, DecodeError>,
    requirements: fn(&mut Requirements),
}

/// Checks that `T` is a payload.
pub const fn payload<T: Payload>() -> PayloadOf<T> {
    PayloadOf { decode: T::decode, requirements: |requirements| requirements.reads_headers |= T::READS_HEADERS }
}

/// Checks that the codec `C` decodes `T`.
pub const fn payload_by<C: Decode<T>, T>() -> PayloadOf<T> {
    PayloadOf { decode: by_codec::<C, T>, requirements: codec_requirements::<C, T> }
}

/// The same for a payload that may be null.
pub const fn optional_payload_by<C: Decode<T>, T>() -> PayloadOf<Option<T>> {
    PayloadOf { decode: optional_by_codec::<C, T>, requirements: codec_requirements::<C, T> }
}

/// The same for a payload with the key, headers and metadata of its record.
pub const fn record_by<C: Decode<T>, T>() -> PayloadOf<ConsumerRecord<T>> {
    PayloadOf {
        decode: |record| Ok(ConsumerRecord::around(by_codec::<C, T>(record)?, record)),
        requirements: |requirements| {
            codec_requirements::<C, T>(requirements);
            requirements.reads_headers = true;
        },
    }
}

/// The same for a record whose payload may be null.
pub const fn optional_record_by<C: Decode<T>, T>() -> PayloadOf<ConsumerRecord<Option<T>>> {
    PayloadOf {
        decode: |record| Ok(ConsumerRecord::around(optional_by_codec::<C, T>(record)?, record)),
        requirements: |requirements| {
            codec_requirements::<C, T>(requirements);
            requirements.reads_headers = true;
        },
    }
}

fn by_codec<C: Decode<T>, T>(record: RecordContext<'_>) -> Result<T, DecodeError> {
    optional_by_codec::<C, T>(record)?.ok_or_else(DecodeError::tombstone::<T>)
}

fn optional_by_codec<C: Decode<T>, T>(record: RecordContext<'_>) -> Result<Option<T>, DecodeError> {
    let decode = |payload| C::decode(payload, record).map_err(|error| DecodeError::of_bytes::<T>(error, payload));
    record.payload().map(decode).transpose()
}

fn codec_requirements<C: Decode<T>, T>(requirements: &mut Requirements) {
    C::requirements(requirements);
    requirements.reads_headers |= C::READS_HEADERS;
    requirements.has_own_codec = true;
}

impl<T> PayloadOf<T> {
    /// Decodes the record's payload.
    ///
    /// # Errors
    ///
    /// It does not decode: terminal, of the class `decode`.
    #[inline]
    pub fn decode(&self, record: RecordContext<'_>) -> Result<T, ListenerError> {
        (self.decode)(record).map_err(|error| ListenerError::of_class(error, ErrorClass::Decode, false))
    }

    /// Declares what decoding it needs.
    pub fn requirements(&self, requirements: &mut Requirements) {
        (self.requirements)(requirements);
    }

    /// Finds out whether such payloads can be invalid.
    pub const fn validity(&self) -> Validity<T> {
        Validity(PhantomData)
    }

    /// The type's name, for errors.
    pub fn type_name(&self) -> &'static str {
        type_name::<T>()
    }
}

/// How one of a listener's further parameters is made.
#[derive(Debug)]
pub struct ExtractorOf<T> {
    extract: fn(RecordContext<'_>) -> Result<T, ListenerError>,
    requirements: fn(&mut Requirements),
    reads_headers: bool,
    takes_acknowledgment: bool,
}

/// Checks that `T` is an extractor.
pub const fn extractor<T: FromRecord>() -> ExtractorOf<T> {
    ExtractorOf {
        extract: extract::<T>,
        requirements: T::requirements,
        reads_headers: T::READS_HEADERS,
        takes_acknowledgment: T::TAKES_ACKNOWLEDGMENT,
    }
}

#[inline]
fn extract<T: FromRecord>(record: RecordContext<'_>) -> Result<T, ListenerError> {
    T::from_record(record).map_err(|rejection| {
        let rejection = rejection.into();
        let class = if DecodeError::is_behind(&*rejection) { ErrorClass::Decode } else { ErrorClass::Terminal };
        ListenerError::of_class(rejection, class, false)
    })
}

impl<T> ExtractorOf<T> {
    /// Makes the parameter.
    ///
    /// # Errors
    ///
    /// Its rejection: terminal, of the class `decode` where the record's bytes are to blame.
    #[inline]
    pub fn extract(&self, record: RecordContext<'_>) -> Result<T, ListenerError> {
        (self.extract)(record)
    }

    /// Declares what making it needs.
    pub fn requirements(&self, requirements: &mut Requirements) {
        (self.requirements)(requirements);
        requirements.reads_headers |= self.reads_headers;
        requirements.takes_acknowledgment |= self.takes_acknowledgment;
    }

    /// Whether it is the record's acknowledgement.
    pub const fn takes_acknowledgment(&self) -> bool {
        self.takes_acknowledgment
    }
}

/// Checks that the listener's future may move between threads.
///
/// The opaque type is `Send` by its own declaration, so that the generated code around it raises no second error.
#[inline]
pub fn listener_future_must_be_send<F: Future + Send>(future: F) -> impl Future<Output = F::Output> + Send {
    future
}

/// Runs a plain function on the blocking pool.
///
/// The slot and the partition's ownership move into the closure: they come back when the code has really ended, also
/// when the future of this call was dropped before. A call that the pool has not started by then never starts.
pub fn run_blocking<R, F>(record: RecordContext<'_>, listener: F) -> impl Future<Output = R> + Send + use<R, F>
where
    R: Send + 'static,
    F: FnOnce() -> R + Send + 'static,
{
    in_blocking_pool(record.tenure(), listener)
}

/// Runs a listener's future to its end on the blocking pool, as [`run_blocking`] runs a function.
pub fn run_blocking_future<R, F>(
    record: RecordContext<'_>,
    listener: F,
) -> impl Future<Output = R::Output> + Send + use<R, F>
where
    R: Future<Output: Send + 'static>,
    F: FnOnce() -> R + Send + 'static,
{
    let tenure = record.tenure();
    async move {
        let runtime = Handle::current();
        in_blocking_pool(tenure, move || runtime.block_on(listener())).await
    }
}

async fn in_blocking_pool<R: Send + 'static>(tenure: Tenure, listener: impl FnOnce() -> R + Send + 'static) -> R {
    let span = tracing::Span::current();
    let task = tokio::task::spawn_blocking(move || {
        let _tenure = tenure;
        span.in_scope(listener)
    });
    match AbortOnDropHandle::new(task).await {
        Ok(outcome) => outcome,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and started nothing: whoever waits for this is about to be dropped.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Checks a constant `id` at compile time; literals are checked by the attribute, with better words.
///
/// # Panics
///
/// It does not hold. In a constant that is a compile error.
pub const fn check_id(id: &str) {
    assert!(!id.is_empty(), "`id` is empty");
    let bytes = id.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        assert!(
            matches!(bytes[at], b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-'),
            "`id` has a character other than letters, digits, `_`, `.` and `-`"
        );
        at += 1;
    }
}

/// Checks a constant string argument at compile time, as [`check_id`] does.
///
/// # Panics
///
/// It does not hold. In a constant that is a compile error.
pub const fn check_text(text: &str) {
    assert!(!text.is_empty(), "the string is empty");
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'$', b'$') => at += 2,
            (b'$', b'{') => {
                while at < bytes.len() && bytes[at] != b'}' {
                    at += 1;
                }
                assert!(at < bytes.len(), "`${{` is never closed; `$$` is a plain dollar");
            }
            _ => at += 1,
        }
    }
}

/// Checks a constant list of strings, as [`check_text`] does.
///
/// # Panics
///
/// It does not hold. In a constant that is a compile error.
pub const fn check_texts(texts: &[&str]) {
    assert!(!texts.is_empty(), "the list is empty");
    let mut at = 0;
    while at < texts.len() {
        check_text(texts[at]);
        at += 1;
    }
}

/// Checks a constant list of pairs, as [`check_texts`] does a list.
///
/// # Panics
///
/// It does not hold. In a constant that is a compile error.
pub const fn check_pairs(pairs: &[(&str, &str)]) {
    assert!(!pairs.is_empty(), "the list is empty");
    let mut at = 0;
    while at < pairs.len() {
        check_text(pairs[at].0);
        check_text(pairs[at].1);
        at += 1;
    }
}

/// Checks a constant number, as [`check_text`] does a string.
///
/// # Panics
///
/// It does not hold. In a constant that is a compile error.
pub const fn check_count(count: usize) {
    assert!(0 < count && count <= i32::MAX as usize, "the number is not between 1 and 2147483647");
}

/// Gives a checked number the type that the definition holds.
pub const fn count(count: usize) -> i64 {
    #[expect(clippy::cast_possible_wrap, reason = "`check_count` keeps it far below the limit")]
    let count = count as i64;
    count
}

/// Checks `ack_mode` against the parameters. One with a placeholder is known at start only, and checked there.
///
/// # Panics
///
/// It does not hold. In a constant that is a compile error.
pub const fn check_ack_mode(mode: &str, parameters: &[bool]) {
    let takes = takes_acknowledgment(parameters);
    if is_one_of(mode, &["manual", "manual_immediate"]) {
        assert!(takes, "this `ack_mode` needs a parameter `ack: Acknowledgment`");
    }
    if is_one_of(mode, &["batch", "record", "time", "count", "count_time", "at_most_once"]) {
        assert!(
            !takes,
            "this `ack_mode` has no `Acknowledgment`: `ack_mode = \"manual\"` or `\"manual_immediate\"` has"
        );
    }
}

/// Checks that a listener that replies does not acknowledge its records itself.
///
/// # Panics
///
/// It does not hold. In a constant that is a compile error.
pub const fn check_reply(parameters: &[bool]) {
    assert!(
        !takes_acknowledgment(parameters),
        "a record with a reply is done when the broker has the reply: a listener with `send_to` takes no `Acknowledgment`"
    );
}

/// Declares what a listener needs that replies: the headers that say where and to what.
pub fn reply_requirements(requirements: &mut Requirements) {
    requirements.reads_headers = true;
    requirements.replies = true;
    requirements.needs_producer = true;
}

/// Checks `async_acks` against the parameters.
///
/// # Panics
///
/// It does not hold. In a constant that is a compile error.
pub const fn check_async_acks(async_acks: bool, parameters: &[bool]) {
    assert!(
        !async_acks || takes_acknowledgment(parameters),
        "`async_acks = true` needs a parameter `ack: Acknowledgment`"
    );
}

const fn takes_acknowledgment(parameters: &[bool]) -> bool {
    let mut at = 0;
    while at < parameters.len() {
        if parameters[at] {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_one_of(text: &str, of: &[&str]) -> bool {
    let mut at = 0;
    while at < of.len() {
        if is_equal(text.as_bytes(), of[at].as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(feature = "test-hooks")]
pub mod test_hooks;
#[cfg(test)]
mod tests;
