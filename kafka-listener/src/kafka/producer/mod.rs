//! The producer of a registry: one client, made when it is first needed, served by a thread of its own, replaced when it
//! has broken down for good.
//!
//! Knows nothing of listeners. Every wait has a deadline.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::ffi::{Enqueued, Event, KafkaError, Outgoing, ProducerClient, TopicState};
use super::supervise;
use crate::clock::Instant;
use crate::config::ProducerSettings;

/// How much longer than `delivery_timeout` an answer is waited for: librdkafka looks at its deadlines once a second.
const GRACE: Duration = Duration::from_secs(5);
/// How soon a client is replaced again that broke down at once.
const REBUILD_AFTER: Duration = Duration::from_secs(1);

/// The producer behind all handles of one registry.
#[derive(Debug)]
pub(crate) struct ProducerEngine {
    settings: ProducerSettings,
    /// Never held across an await.
    live: Mutex<Option<Live>>,
}

/// Why a record was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendFailure {
    /// librdkafka refuses the configuration, or the system a thread.
    #[error("{0}")]
    NotCreated(String),
    /// The broker, or librdkafka in its place, refused the record with this error.
    #[error(transparent)]
    Refused(KafkaError),
    /// There was no answer in time. The record may be stored.
    #[error("no answer in time")]
    TimedOut,
    /// The client broke down for good and is replaced. The record may be stored.
    #[error("{0}")]
    BrokeDown(String),
}

impl SendFailure {
    /// The broker's code, where it is the broker that refused.
    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Refused(error) => Some(error.code),
            Self::NotCreated(_) | Self::TimedOut | Self::BrokeDown(_) => None,
        }
    }
}

/// One client and the thread that serves it, which ends when this is dropped.
#[derive(Debug)]
struct Live {
    client: Arc<ProducerClient>,
    closing: Arc<AtomicBool>,
    made_at: Instant,
}

impl ProducerEngine {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: ProducerSettings) -> Self {
        Self { settings, live: Mutex::default() }
    }

    /// Makes the client now, so that what is wrong with it shows at start.
    pub(crate) fn prepare(&self) -> Result<(), SendFailure> {
        self.client().map(drop)
    }

    /// Sends one record and waits for the broker's answer: the partition and the offset it was stored at.
    ///
    /// Dropping the future changes nothing once it was polled: the record may be stored.
    pub(crate) async fn send(&self, record: &Outgoing<'_>) -> Result<(i32, i64), SendFailure> {
        let client = self.client()?;
        let answered = self.enqueue(&client, record).await?;
        let limit = self.settings.delivery_timeout + GRACE;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(Ok(stored))) => Ok(stored),
            Ok(Ok(Err(error))) => Err(failure(&client, error)),
            Ok(Err(_)) => Err(SendFailure::BrokeDown("the client was closed".to_owned())),
            Err(_) => Err(SendFailure::TimedOut),
        }
    }

    async fn enqueue(
        &self,
        client: &ProducerClient,
        record: &Outgoing<'_>,
    ) -> Result<tokio::sync::oneshot::Receiver<super::ffi::Delivery>, SendFailure> {
        const LOOK_AGAIN: Duration = Duration::from_millis(10);
        let until = Instant::now() + self.settings.delivery_timeout;
        loop {
            match client.enqueue(record).map_err(|error| failure(client, error))? {
                Enqueued::Accepted(answered) => return Ok(answered),
                // Nothing tells when there is room; what is out gets its answer within `delivery_timeout`.
                Enqueued::Full if Instant::now() < until => tokio::time::sleep(LOOK_AGAIN).await,
                Enqueued::Full => return Err(SendFailure::TimedOut),
            }
        }
    }

    /// How many partitions a topic has; `None` where it does not exist. Never creates it.
    pub(crate) async fn partitions(self: &Arc<Self>, topic: &str, limit: Duration) -> Result<Option<i32>, SendFailure> {
        let client = self.client()?;
        let topic = topic.to_owned();
        let asked = tokio::task::spawn_blocking(move || client.topic_state(&topic, limit)).await;
        match asked {
            Ok(Ok(TopicState::Exists { partitions })) => Ok(Some(partitions)),
            Ok(Ok(TopicState::Missing)) => Ok(None),
            Ok(Err(error)) => Err(SendFailure::Refused(error)),
            Err(_) => Err(SendFailure::BrokeDown("the runtime is shutting down".to_owned())),
        }
    }

    /// Waits until every record has its answer, for at most `budget`. Returns how many have none.
    pub(crate) async fn flush(&self, budget: Duration) -> usize {
        let Some(client) = self.live().as_ref().map(|live| Arc::clone(&live.client)) else { return 0 };
        if client.outstanding() == 0 {
            return 0;
        }
        let flushed = tokio::task::spawn_blocking(move || {
            client.flush(budget);
            client.outstanding()
        });
        flushed.await.unwrap_or(0)
    }

    fn client(&self) -> Result<Arc<ProducerClient>, SendFailure> {
        let mut live = self.live();
        if let Some(present) = live.as_ref() {
            let Some(fatal) = present.client.fatal_error() else { return Ok(Arc::clone(&present.client)) };
            if Instant::now().saturating_since(present.made_at) < REBUILD_AFTER {
                return Err(SendFailure::BrokeDown(fatal.to_string()));
            }
            tracing::warn!(error = %fatal, "the producer broke down for good and is made anew");
            metrics::counter!("kafka_listener_producer_rebuilt_total").increment(1);
        }
        let fresh = Live::start(&self.settings)?;
        let client = Arc::clone(&fresh.client);
        *live = Some(fresh);
        Ok(client)
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Breaks the client down as a fatal error does.
    #[cfg(test)]
    pub(crate) fn break_down(&self) {
        const INVALID_PRODUCER_EPOCH: i32 = 47;
        if let Some(live) = self.live().as_ref() {
            live.client.break_down(INVALID_PRODUCER_EPOCH);
        }
    }
}

impl Live {
    fn start(settings: &ProducerSettings) -> Result<Self, SendFailure> {
        let properties = settings.properties.iter().map(|(name, value)| (name.as_str(), value.expose_secret()));
        let not_created = |error: &dyn std::fmt::Display| SendFailure::NotCreated(error.to_string());
        let client = ProducerClient::new(properties).map_err(|error| not_created(&error))?;
        let closing = Arc::new(AtomicBool::new(false));
        let served = (Arc::clone(&client), Arc::clone(&closing));
        thread::Builder::new()
            .name("kafka-producer".to_owned())
            .spawn(move || serve(&served.0, &served.1))
            .map_err(|error| not_created(&error))?;
        Ok(Self { client, closing, made_at: Instant::now() })
    }
}

impl Drop for Live {
    /// Does not wait: the thread gives every record its answer and ends the client.
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.client.wake();
    }
}

/// The thread's life.
fn serve(client: &ProducerClient, closing: &AtomicBool) {
    /// Bounds a missed wake-up only.
    const LONGEST_WAIT: Duration = Duration::from_secs(1);
    const LAST_WORDS: Duration = Duration::from_secs(5);
    while !closing.load(Ordering::Acquire) {
        if let Some(event) = client.serve(LONGEST_WAIT) {
            report(event);
        }
    }
    client.purge();
    let until = Instant::now() + LAST_WORDS;
    while client.outstanding() > 0 && Instant::now() < until {
        client.serve(Duration::from_millis(20));
    }
}

fn report(event: Event) {
    match event {
        Event::Fatal(error) => tracing::error!(%error, "the producer cannot go on"),
        // The answer to each record says what it means for that record.
        Event::Error(error) => tracing::debug!(%error, "the producer reports"),
        Event::Log { level, facility, text } => supervise::log(level, &facility, &text),
        Event::Rebalance { .. } | Event::StrayRecord { .. } | Event::Other => {}
    }
}

/// What an error means: one of a client that has broken down says nothing of the record.
fn failure(client: &ProducerClient, error: KafkaError) -> SendFailure {
    const MSG_TIMED_OUT: i32 = -192;
    const PURGED: [i32; 2] = [-152, -151];
    if let Some(fatal) = client.fatal_error() {
        return SendFailure::BrokeDown(fatal.to_string());
    }
    match error.code {
        MSG_TIMED_OUT => SendFailure::TimedOut,
        code if PURGED.contains(&code) => SendFailure::BrokeDown("the client was closed".to_owned()),
        _ => SendFailure::Refused(error),
    }
}
