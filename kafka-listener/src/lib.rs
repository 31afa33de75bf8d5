//! Spring-style declarative Kafka listeners for Rust.

mod attribute;
mod clock;
mod commit;
pub mod config;
mod container;
mod decode;
mod definition;
#[cfg(feature = "embedded")]
pub mod embedded;
mod epoch;
mod error;
pub mod extract;
mod failure;
pub mod health;
mod kafka;
mod offset_jump;
mod offset_tracker;
mod outcome;
mod ownership;
mod phase;
mod private;
pub mod rebalance;
mod record;
mod registry;
mod retry;
#[cfg(test)]
mod simulation;
mod slots;
mod state;
pub mod status;
mod worker;

#[cfg(feature = "macros")]
pub use attribute::kafka_listener;
pub use commit::CommitOutcome;
pub use config::AckMode;
pub use container::{ContainerState, HoldOutcome, ListenerContainer};
pub use definition::ListenerDefinition;
pub use error::Error;
pub use extract::{ConsumerRecord, RecordMetadata};
pub use failure::{Classification, Classify, ErrorClass, ListenerError};
pub use phase::Phase;
pub use record::{HeaderIter, RecordContext, Timestamp, TopicPartition};
pub use registry::{ListenerRegistry, ListenerRegistryBuilder, ListenerReport, Outcome, ShutdownReport};

/// For generated code only; not public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::private::*;
}
