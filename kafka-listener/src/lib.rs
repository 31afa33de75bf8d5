//! Spring-style declarative Kafka listeners for Rust.
#![expect(dead_code, reason = "the engine that uses these comes next")]

mod attribute;
mod clock;
mod commit;
pub mod config;
mod decode;
mod definition;
#[cfg(feature = "embedded")]
pub mod embedded;
mod epoch;
pub mod extract;
mod failure;
mod kafka;
mod offset_jump;
mod offset_tracker;
mod outcome;
mod phase;
mod private;
mod record;
mod retry;
mod state;
mod worker;

#[cfg(feature = "macros")]
pub use attribute::kafka_listener;
pub use commit::CommitOutcome;
pub use config::AckMode;
pub use definition::ListenerDefinition;
pub use extract::{ConsumerRecord, RecordMetadata};
pub use failure::{Classification, Classify, ErrorClass, ListenerError};
pub use phase::Phase;
pub use record::{HeaderIter, RecordContext, Timestamp, TopicPartition};

/// For generated code only; not public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::private::*;
}
