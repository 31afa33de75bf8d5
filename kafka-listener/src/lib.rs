//! Spring-style declarative Kafka listeners: plain `async fn`s, one worker per partition, nothing lost.
//!
//! ```no_run
//! use kafka_listener::extract::State;
//! use kafka_listener::{ListenerRegistry, kafka_listener};
//!
//! #[derive(serde::Deserialize)]
//! struct Order { id: String, quantity: u32 }
//!
//! #[derive(Clone)]
//! struct Stock;
//!
//! #[kafka_listener(topic = "orders", group_id = "inventory-service", concurrency = 3)]
//! async fn reserve_stock(order: Order, State(stock): State<Stock>) -> anyhow::Result<()> {
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), kafka_listener::Error> {
//!     ListenerRegistry::builder().state(Stock).run().await?.into_result()
//! }
//! ```
//!
//! **The promise.** With default settings nothing is lost, and what may happen twice is bounded, and counted wherever the
//! process is alive to count it: through rebalances, crashes, slow handlers, poison records and broker outages. A record
//! is committed when it is done, and done when its handler returned `Ok` or a policy that you wrote down skipped it.
//!
//! # Listeners
//!
//! [`kafka_listener`] turns a function into a listener and leaves it callable. Its first parameter is the payload, decoded
//! from JSON or by another [`codec`]; the others are [extractors](extract). Its return value says how it went: any error is tried again unless it
//! says otherwise ([`ListenerError::terminal`], [`Classify`]).
//!
//! # Running them
//!
//! [`ListenerRegistry::builder`] takes what the listeners need, checks everything, and starts all listeners that are
//! linked into the program; [`run`](ListenerRegistryBuilder::run) also waits for a signal and drains. A
//! [`ListenerContainer`] is the handle of one listener: pause, stop, decide about a record on hold. [`status`] and
//! [`health`] say what is going on; counters and timings go to the `metrics` facade as `kafka_listener_…`, logs and spans
//! to `tracing`.
//!
//! Every assigned partition has a worker of its own, so a slow or failing record holds up its partition and nothing else.
//! `concurrency` bounds how many handlers of a listener run at once in the process, over all partitions. Without it that
//! is one per assigned partition: mind connection pools. (Spring's `concurrency` is the number of consumers, and 1 by
//! default; here that is `consumers`.)
//!
//! # Configuration
//!
//! `kafka-listener.toml`, environment variables, the builder and the attribute's arguments are one layered configuration;
//! every mistake is reported with its place before anything connects. See [`config`].
//!
//! # Features
//!
//! | feature | what it adds | default |
//! |---|---|---|
//! | `macros` | the attribute | yes |
//! | `json` | payloads decoded from JSON | yes |
//! | `toml` | configuration files | yes |
//! | `embedded` | a broker inside the process, for demos and quick tests | no |
//! | `tls` | TLS and SASL (PLAIN, SCRAM, OAUTHBEARER) with the system's OpenSSL | no |
//! | `tls-vendored` | the same with an OpenSSL built along | no |
//! | `oidc` | OAUTHBEARER tokens from an OIDC provider; needs curl | no |
//! | `gssapi` | Kerberos; needs Cyrus SASL | no |
//!
//! A feature that the configuration needs and that is off is named in the error.

mod attribute;
mod clock;
pub mod codec;
mod commit;
pub mod config;
mod container;
mod dead_letter;
mod decode;
mod definition;
#[cfg(feature = "embedded")]
pub mod embedded;
mod epoch;
mod error;
pub mod error_handler;
pub mod extract;
mod failure;
mod filter;
mod forward;
pub mod health;
pub mod interceptor;
mod kafka;
mod offset_jump;
mod offset_tracker;
mod outcome;
mod ownership;
mod phase;
mod private;
mod producer;
mod read_to_end;
pub mod rebalance;
mod record;
mod registry;
mod reply;
mod retry;
mod retry_topics;
mod sabotage;
mod seek;
#[cfg(test)]
mod simulation;
mod slots;
mod state;
pub mod status;
mod worker;

#[cfg(feature = "macros")]
pub use attribute::{Classify, kafka_listener};
pub use commit::CommitOutcome;
pub use config::AckMode;
pub use container::{ContainerState, HoldOutcome, ListenerContainer, PauseOutcome};
pub use definition::ListenerDefinition;
pub use error::Error;
pub use extract::{AckOutcome, Acknowledgment, ConsumerRecord, RecordMetadata};
pub use failure::{Classification, Classify, ErrorClass, ListenerError};
pub use filter::Validate;
pub use phase::Phase;
pub use producer::{Producer, ProducerRecord, SendError, SendResult};
pub use record::{HeaderIter, RecordContext, Timestamp, TopicPartition};
pub use registry::{ListenerRegistry, ListenerRegistryBuilder, ListenerReport, Outcome, ShutdownReport};
pub use reply::Reply;
pub use seek::{SeekOutcome, SeekTo};

/// For generated code only; not public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::private::*;
}
