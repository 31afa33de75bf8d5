//! One listener at run time: its consumers, their threads, and the handle to steer them.

mod consumer;
mod control;
mod waiting;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use consumer::{Consumer, ConsumerPhase, ConsumerState, Ending, Pauses, Step, StopRequest, kept_out};
pub use control::PauseOutcome;

use crate::clock::Instant;
use crate::config::ListenerSettings;
use crate::error::Error;
use crate::forward::{self, Forwarder};
use crate::kafka::{self, ConsumerParts};
use crate::rebalance::Hooks;
use crate::record::TopicPartition;
use crate::registry::ListenerReport;
use crate::status::ListenerStatus;
use crate::worker::{HeldAction, HeldAnswer, HeldDecision, ListenerContext};

/// How much longer than its own budget a poll loop may take before a wait for it gives up.
const GRACE: Duration = Duration::from_millis(500);
/// How long a control call waits for the poll loop or a worker to carry it out.
const CONTROL_LIMIT: Duration = Duration::from_secs(5);

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContainerState {
    /// Not started before others have completed: `start_after`.
    Waiting,
    /// Started, and not all of its consumers have joined the group yet. It stays so while no broker can be reached.
    Starting,
    /// The seat of a static member in its group is held by another member: the container joins as soon as it is free.
    WaitingForSeat,
    /// All consumers are in the group, each as the owner of partitions or as a spare.
    Running,
    /// In the group, and nothing is started until [`ListenerContainer::resume`].
    Paused,
    /// Draining, committing, leaving.
    Stopping,
    /// Not started, or stopped in order.
    Stopped,
    /// It has read to the end and everything is done: `until = "end"`.
    Completed,
    /// Cannot go on by itself; the reason is in the status and in the log.
    Failed,
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Starting => "starting",
            Self::WaitingForSeat => "waiting_for_seat",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

/// What became of a decision about a held record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldOutcome {
    /// Carried out for the record at this offset.
    Applied {
        /// The record that was on hold.
        offset: i64,
    },
    /// No record of the partition is on hold.
    NotHeld,
    /// Another record is on hold than the one named; nothing was done.
    OtherRecord {
        /// The record that is on hold.
        held: i64,
    },
    /// The partition is on hold where its log cannot be read: there is no record to publish.
    Unreadable {
        /// The offset that cannot be read.
        held: i64,
    },
    /// This process does not own the partition.
    NotAssigned,
}

/// The handle of one listener; clones are handles of the same one. Found by [`ListenerRegistry::container`].
///
/// Dropping the last handle of a container and of its registry stops it without waiting for that.
///
/// [`ListenerRegistry::container`]: crate::ListenerRegistry::container
#[derive(Clone, Debug)]
pub struct ListenerContainer {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Arc<ListenerSettings>,
    listener: Arc<ListenerContext>,
    /// What the consumer of the retry topics runs with, where there are any.
    retries: Option<(Arc<ListenerSettings>, Arc<ListenerContext>)>,
    hooks: Hooks,
    runtime: Handle,
    /// Look for the topics that the listener publishes to, where there are any.
    _watches: Vec<AbortOnDropHandle<()>>,
    /// The consumers of the present or the last run; replaced by `start`.
    consumers: Mutex<Vec<Arc<Consumer>>>,
    /// What is to be paused, in this run and the next ones.
    pauses: Mutex<Pauses>,
    wait: waiting::Wait,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("id", &self.listener.id).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let running: Vec<_> = self.consumers().iter().filter(|consumer| !has_ended(consumer)).cloned().collect();
        if running.is_empty() {
            return;
        }
        tracing::warn!(listener = %self.listener.id,
            "the last handle was dropped: the listener stops and nobody waits for it; call `shutdown` to wait");
        let stop = StopRequest::new(Instant::now(), self.settings.shutdown_timeout);
        for consumer in running {
            consumer.request_stop(stop);
        }
    }
}

impl ListenerContainer {
    pub(crate) fn new(
        settings: Arc<ListenerSettings>,
        listener: Arc<ListenerContext>,
        hooks: Hooks,
        runtime: Handle,
    ) -> Self {
        let consumers = Mutex::new(Vec::new());
        let letters = settings.failures.publish_dead_letters().then(|| {
            let letters = &listener.dead_letters;
            (letters.forwarder(), letters.wanted(&settings.topics))
        });
        let replies =
            listener.replies.as_deref().map(|replies| (replies.forwarder(), replies.wanted(&settings.topics)));
        let watch = |(forwarder, wanted): (&Arc<Forwarder>, _)| {
            let watch = forward::watch(Arc::downgrade(forwarder), Arc::clone(&listener.id), wanted);
            AbortOnDropHandle::new(runtime.spawn(watch))
        };
        let watches = letters.into_iter().chain(replies).map(watch).collect();
        let pauses = Mutex::default();
        let wait = waiting::Wait::default();
        let retries = settings.of_retry_topics().map(|settings| {
            let listener = listener.of_retry_topics(&settings);
            (Arc::new(settings), Arc::new(listener))
        });
        let inner = Inner { settings, listener, retries, hooks, runtime, _watches: watches, consumers, pauses, wait };
        Self { inner: Arc::new(inner) }
    }

    /// The listener's id.
    pub fn id(&self) -> &str {
        &self.inner.listener.id
    }

    /// Where the container stands now.
    pub fn state(&self) -> ContainerState {
        self.inner.state()
    }

    /// Starts the container's consumers. Returns when their threads run; joining the group goes on in the background.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] unless the container is stopped or failed; [`Error::Thread`] when the system refuses a
    /// thread.
    pub fn start(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let mut consumers = inner.consumers();
        if !consumers.iter().all(|consumer| has_ended(consumer)) {
            return Err(Error::AlreadyRunning { listener: self.id().to_owned() });
        }
        let fresh = inner.fresh_consumers();
        for consumer in &fresh {
            consumer.pause(inner.pauses().clone());
        }
        consumers.clone_from(&fresh);
        drop(consumers);
        for consumer in &fresh {
            if let Err(source) = inner.spawn(consumer, &fresh) {
                request_stop(&fresh, StopRequest::at_once(Instant::now()));
                // Those behind it have no thread either.
                for unstarted in &fresh[consumer.index..] {
                    unstarted.update(|state| state.phase = ConsumerPhase::Ended);
                }
                return Err(Error::Thread { listener: self.id().to_owned(), source });
            }
        }
        inner.wait.started();
        Ok(())
    }

    /// Stops the container: nothing new starts, what runs may finish, what is done is committed, the group is left; all
    /// within `shutdown_timeout` (30 s). The container can be started again.
    ///
    /// # Cancel safety
    ///
    /// The stop goes on when the future is dropped; only its report is lost.
    pub async fn stop(&self) -> ListenerReport {
        self.stop_within(self.inner.settings.shutdown_timeout).await
    }

    pub(crate) async fn stop_within(&self, budget: Duration) -> ListenerReport {
        // It waits for nobody any more.
        self.inner.wait.set(waiting::Waiting::No);
        let consumers = self.inner.consumers().clone();
        let request = StopRequest::new(Instant::now(), budget);
        request_stop(&consumers, request);
        self.wait_until_ended(&consumers, budget + GRACE).await;
        self.report()
    }

    /// Stops waiting for anything: running handlers are cancelled at their next await.
    pub(crate) fn interrupt(&self) {
        let request = StopRequest::at_once(Instant::now());
        request_stop(&self.inner.consumers(), request);
    }

    async fn wait_until_ended(&self, consumers: &[Arc<Consumer>], limit: Duration) {
        let all_ended = async {
            for consumer in consumers {
                consumer.wait_for(|state| state.phase == ConsumerPhase::Ended).await;
            }
        };
        if tokio::time::timeout(limit, all_ended).await.is_err() {
            tracing::error!(listener = %self.id(), ?limit, "a poll loop did not end within its deadline");
        }
    }

    /// Tries the held record of a partition again, with its attempts and its backoff counted afresh.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the decision may be carried out although the future is dropped.
    pub async fn retry_held(&self, topic_partition: &TopicPartition) -> HoldOutcome {
        self.decide(topic_partition, HeldAction::Retry).await
    }

    /// Skips the held record of a partition: it counts as done and is counted as skipped. The offset has to be that of
    /// the record on hold, so that no other one is skipped by mistake.
    ///
    /// # Cancel safety
    ///
    /// As [`ListenerContainer::retry_held`].
    pub async fn skip_held(&self, topic_partition: &TopicPartition, offset: i64) -> HoldOutcome {
        self.decide(topic_partition, HeldAction::Skip { offset }).await
    }

    /// Publishes the held record of a partition as a dead letter, whatever `on_failure` says: its partition goes on when
    /// the broker has acknowledged it, and waits loudly until then. The offset has to be that of the record on hold.
    ///
    /// Resolves when the worker has taken the decision up; [`ListenerContainer::status`] shows what becomes of it.
    ///
    /// # Cancel safety
    ///
    /// As [`ListenerContainer::retry_held`].
    pub async fn dead_letter_held(&self, topic_partition: &TopicPartition, offset: i64) -> HoldOutcome {
        self.decide(topic_partition, HeldAction::DeadLetter { offset }).await
    }

    async fn decide(&self, topic_partition: &TopicPartition, action: HeldAction) -> HoldOutcome {
        let Some((_, control)) = self.owner_of(topic_partition) else { return HoldOutcome::NotAssigned };
        let (answer, answered) = oneshot::channel();
        control.decide(HeldDecision { action, answer });
        match tokio::time::timeout(CONTROL_LIMIT, answered).await {
            Ok(Ok(HeldAnswer::Done { offset })) => HoldOutcome::Applied { offset },
            Ok(Ok(HeldAnswer::OtherRecord { held })) => HoldOutcome::OtherRecord { held },
            Ok(Ok(HeldAnswer::Unreadable { held })) => HoldOutcome::Unreadable { held },
            // The worker left while the decision was on its way.
            Ok(Ok(HeldAnswer::NotHeld) | Err(_)) | Err(_) => HoldOutcome::NotHeld,
        }
    }

    /// What the container is doing, partition by partition.
    pub fn status(&self) -> ListenerStatus {
        ListenerStatus::of(self)
    }

    /// Resolves when the container has completed, stopped or failed. One that waits for others has not stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn stopped(&self) -> ContainerState {
        loop {
            self.inner.wait.over().await;
            let consumers = self.consumers();
            for consumer in &consumers {
                consumer.wait_for(|state| state.phase == ConsumerPhase::Ended).await;
            }
            // A container that was started again meanwhile has not stopped.
            if self.consumers().iter().all(|consumer| has_ended(consumer)) {
                return self.state();
            }
        }
    }

    /// Why the container failed, if it did.
    pub fn failure(&self) -> Option<String> {
        let failure = self.consumers().iter().find_map(|consumer| consumer.state().failure);
        failure.map(|failure| failure.to_string()).or_else(|| self.inner.wait.in_vain())
    }

    /// Whether the container failed in a way that is to end the others too.
    pub(crate) fn failure_ends_all(&self) -> bool {
        self.consumers().iter().any(|consumer| consumer.state().failure_ends_all)
    }

    pub(crate) fn report(&self) -> ListenerReport {
        ListenerReport::of(self.id(), self.failure(), &self.consumers())
    }

    pub(crate) fn consumers(&self) -> Vec<Arc<Consumer>> {
        self.inner.consumers().clone()
    }

    pub(crate) fn settings(&self) -> &ListenerSettings {
        &self.inner.settings
    }

    pub(crate) fn listener(&self) -> &ListenerContext {
        &self.inner.listener
    }
}

impl Inner {
    /// Never held across an await or user code.
    fn consumers(&self) -> MutexGuard<'_, Vec<Arc<Consumer>>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never held across an await or user code.
    fn pauses(&self) -> MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the listener's own topics, and behind them the one of its retry topics.
    fn fresh_consumers(&self) -> Vec<Arc<Consumer>> {
        let consumer = |settings: &ListenerSettings, index, number| {
            let client_id = format!("{}-{number}", settings.client_id);
            let instance_id = settings.group_instance_id.as_ref().map(|id| format!("{id}-{number}"));
            let group_id = settings.group_id.as_str().into();
            Arc::new(Consumer::new(index, client_id, group_id, instance_id, settings.session_timeout))
        };
        let own = (0..self.settings.consumers).map(|index| consumer(&self.settings, index, index));
        let retries = self.retries.iter().map(|(settings, _)| consumer(settings, self.settings.consumers, 0));
        own.chain(retries).collect()
    }

    fn spawn(&self, consumer: &Arc<Consumer>, siblings: &[Arc<Consumer>]) -> std::io::Result<()> {
        let (settings, listener) = match &self.retries {
            Some((settings, listener)) if consumer.index >= self.settings.consumers => (settings, listener),
            _ => (&self.settings, &self.listener),
        };
        let of_one_group = siblings.iter().filter(|sibling| sibling.group_id == consumer.group_id);
        let parts = ConsumerParts {
            consumer: Arc::clone(consumer),
            listener: Arc::clone(listener),
            settings: Arc::clone(settings),
            hooks: self.hooks.clone(),
            runtime: self.runtime.clone(),
            siblings: of_one_group.cloned().collect(),
        };
        let siblings = siblings.to_vec();
        let shutdown_timeout = self.settings.shutdown_timeout;
        let name = format!("kafka-{}", consumer.client_id);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let consumer = Arc::clone(&parts.consumer);
            kafka::run(&parts);
            // One consumer that cannot go on is the end of its container.
            if consumer.state().failure.is_some() {
                let stop = StopRequest::new(Instant::now(), shutdown_timeout);
                request_stop(&siblings, stop);
            }
        });
        thread.map(drop)
    }

    fn state(&self) -> ContainerState {
        if !self.wait.is_over() {
            return ContainerState::Waiting;
        }
        let mut states: Vec<_> = self.consumers().iter().map(|consumer| consumer.state()).collect();
        if !states.is_empty() && states.iter().all(ConsumerState::has_completed) {
            return ContainerState::Completed;
        }
        // The others still have something to read.
        states.retain(|state| !state.has_completed());
        let ended = states.iter().all(|state| state.phase == ConsumerPhase::Ended);
        let failed = states.iter().any(|state| state.failure.is_some()) || self.wait.in_vain().is_some();
        let least = states.iter().map(|state| state.phase).min().unwrap_or(ConsumerPhase::Ended);
        let most = states.iter().map(|state| state.phase).max().unwrap_or(ConsumerPhase::Ended);
        match (ended, failed) {
            (true, true) => ContainerState::Failed,
            (true, false) => ContainerState::Stopped,
            (false, true) => ContainerState::Stopping,
            (false, false) if most >= ConsumerPhase::Stopping => ContainerState::Stopping,
            (false, false) if states.iter().any(|state| state.waits_for_seat.is_some()) => {
                ContainerState::WaitingForSeat
            }
            (false, false) if least == ConsumerPhase::Joining => ContainerState::Starting,
            (false, false) if states.iter().all(|state| state.paused) => ContainerState::Paused,
            (false, false) => ContainerState::Running,
        }
    }
}

fn request_stop(consumers: &[Arc<Consumer>], request: StopRequest) {
    for consumer in consumers {
        consumer.request_stop(request);
    }
}

fn has_ended(consumer: &Consumer) -> bool {
    consumer.state().phase == ConsumerPhase::Ended
}
