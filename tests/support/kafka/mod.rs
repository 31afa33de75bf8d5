//! A running Kafka as a test sees it: topics, records and groups, each call with a deadline.
//!
//! All of it talks to rdkafka directly and knows nothing of the library under test: it is the outside witness.

mod admin;
mod group;
mod produce;
mod raw;
mod read;
mod sampler;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::producer::Producer as _;

pub use self::group::{Group, GroupMember, GroupOffsets};
use self::produce::RecordProducer;
pub use self::produce::{Delivered, Record, Transaction};
pub use self::read::{Isolation, Stored};
pub use self::sampler::{CommitSampler, Regress, Sample, Samples};

/// How long a single request may take; what waits for a condition has a deadline of its own.
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(60);

/// A Kafka cluster by its address. Clones share their connections.
#[derive(Clone)]
pub struct Kafka {
    bootstrap_servers: String,
    producer: Arc<OnceLock<RecordProducer>>,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kafka").field(&self.bootstrap_servers).finish()
    }
}

impl Kafka {
    /// A cluster that listens at `bootstrap_servers`; nothing connects yet.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), producer: Arc::default() }
    }

    /// The cluster's addresses, separated by commas.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// A client configuration for this cluster that notices a returning broker soon.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "250");
        config
    }

    /// The ids of the brokers that the cluster's metadata names.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn brokers(&self) -> anyhow::Result<Vec<i32>> {
        self.blocking(|kafka| {
            let metadata = kafka.producer()?.client().fetch_metadata(None, Duration::from_secs(2))?;
            Ok(metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect())
        })
        .await
    }

    /// The one producer that all helpers of this handle share.
    fn producer(&self) -> anyhow::Result<&RecordProducer> {
        if let Some(producer) = self.producer.get() {
            return Ok(producer);
        }
        let producer = produce::create(self.client_config())?;
        Ok(self.producer.get_or_init(|| producer))
    }

    /// Runs a call that blocks its thread where it blocks nobody else.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let kafka = self.clone();
        tokio::task::spawn_blocking(move || call(&kafka)).await.context("a blocking call panicked")?
    }
}
