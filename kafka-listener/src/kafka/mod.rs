//! Everything that touches librdkafka: the client, its queues, and the one thread per consumer that uses them.
//!
//! The only place that names `rdkafka`; none of its types leave the crate.

mod assign;
mod feed;
pub(crate) mod ffi;
#[cfg(feature = "embedded")]
pub(crate) mod mock;
mod own;
mod partition;
mod poll_loop;
mod producer;
mod reaper;
mod rebuild;
mod reread;
mod revoke;
mod search;
mod seek;
mod start;
mod stop;
mod supervise;
mod sweep;
mod until;
pub(crate) mod waker;

pub(crate) use ffi::pattern_fault;
pub(crate) use poll_loop::ConsumerParts;
pub(crate) use producer::{ProducerEngine, SendFailure};
pub(crate) use reaper::unclosed_clients;
pub(crate) use rebuild::run;
pub(crate) use reread::{Reread, Rereader};
pub(crate) use seek::{RESOLVE_LIMIT, SeekCommand};
