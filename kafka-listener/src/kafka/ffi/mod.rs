//! The only `unsafe` code of the crate: librdkafka's client, its queues and its lists behind owning types.
//!
//! Contract: one [`Client`] owns the native client; every [`Queue`] of it is dropped before it (callback off, then the
//! queue, then the client: the types that hold both say so by field order), and a client that was not closed closes
//! itself then, for a few seconds at most. Wake-up callbacks only set a flag and unpark a thread, and outlive the queue
//! they are set on. Codes and messages of librdkafka leave as integers and owned strings; nothing borrowed from C
//! escapes.
#![expect(unsafe_code, reason = "this module is the border to C")]

mod client;
mod configuration;
mod drain;
mod event;
mod leaving;
mod list;
mod offsets;
mod own;
mod pattern;
mod producer;
mod queue;
mod sys;
#[cfg(test)]
mod tests;

pub(crate) use client::{Client, TopicState};
pub(crate) use drain::{Drained, PartitionError, Scratch};
pub(crate) use event::{Event, RebalanceKind, RebalancePartitions};
pub(crate) use list::PartitionOffset;
pub(crate) use offsets::{OffsetOf, OffsetsAnswer};
pub(crate) use pattern::pattern_fault;
pub(crate) use producer::{Delivery, Enqueued, Outgoing, ProducerClient};
pub(crate) use queue::{Queue, Ready};

use std::ffi::{CStr, c_char};
use std::fmt;

/// An error of librdkafka or of a broker: its number, its name and, where there is one, the reason given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaError {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl KafkaError {
    /// The error that a code stands for.
    pub(crate) fn of(code: i32) -> Self {
        Self::from_code(code)
    }

    fn from_code(code: sys::ErrorCode) -> Self {
        // SAFETY: both functions return static strings for every integer.
        let (name, text) = unsafe { (owned(sys::rd_kafka_err2name(code)), owned(sys::rd_kafka_err2str(code))) };
        Self { code, text: format!("{text} ({name})") }
    }

    fn check(code: sys::ErrorCode) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self::from_code(code)) }
    }

    /// Takes ownership of an error object; null is success.
    fn check_object(error: *mut sys::NativeError) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: `error` is a live error object that the caller owns; it is destroyed once, after its last use.
        unsafe {
            let code = sys::rd_kafka_error_code(error);
            let text = owned(sys::rd_kafka_error_string(error));
            sys::rd_kafka_error_destroy(error);
            Err(Self { code, text })
        }
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for KafkaError {}

/// Copies a C string; null becomes the empty string, bytes that are not UTF-8 are replaced.
///
/// # Safety
/// `text` is null or points to a string that ends in NUL and lives through the call.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: passed on from the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
