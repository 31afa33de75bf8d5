//! All listeners of the process: found, configured, started together and stopped together.

mod builder;
mod report;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use builder::ListenerRegistryBuilder;
pub use report::{ListenerReport, Outcome, ShutdownReport};

use tokio_util::task::AbortOnDropHandle;

use crate::clock::Instant;
use crate::container::{ConsumerPhase, ContainerState, ListenerContainer};
use crate::error::Error;
use crate::health::Health;
use crate::producer::Producer;
use crate::status::Status;

/// The running listeners of this process. Clones are handles of the same registry; dropping the last handle of a
/// container and of the registry stops that container without waiting.
#[derive(Clone, Debug)]
pub struct ListenerRegistry {
    containers: Arc<[ListenerContainer]>,
    producer: Producer,
    /// Start the containers that wait for others; ended with the registry, and by its stop.
    waits: Arc<Mutex<Vec<AbortOnDropHandle<()>>>>,
}

impl ListenerRegistry {
    /// Begins to describe what to run. With nothing else said, all linked-in listeners run, configured by
    /// `kafka-listener.toml` in the working directory, if it is there, and the environment.
    pub fn builder() -> ListenerRegistryBuilder {
        ListenerRegistryBuilder::default()
    }

    /// The containers, sorted by id.
    pub fn containers(&self) -> Vec<ListenerContainer> {
        self.containers.to_vec()
    }

    /// The container of the listener `id`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownContainer`], which names the ids there are.
    pub fn container(&self, id: &str) -> Result<ListenerContainer, Error> {
        self.containers
            .iter()
            .find(|container| container.id() == id)
            .cloned()
            .ok_or_else(|| Error::UnknownContainer { id: id.to_owned(), known: names(self.containers.iter()) })
    }

    /// The producer that all listeners of this registry share, for code that is no listener. Connects when the first
    /// record is sent.
    pub fn producer(&self) -> Producer {
        self.producer.clone()
    }

    /// Waits until every started consumer is in its group, as an owner of partitions or as a spare.
    ///
    /// # Errors
    ///
    /// [`Error::NotAssigned`] after `limit`, naming the listeners that are not there yet; [`Error::Failed`] when one
    /// cannot go on, [`Error::NotRunning`] when one was stopped meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_until_assigned(&self, limit: Duration) -> Result<(), Error> {
        let all = async {
            for container in self.containers.iter() {
                container.waited().await;
                for consumer in container.consumers() {
                    consumer.wait_for(|state| state.phase >= ConsumerPhase::Joined).await;
                }
            }
        };
        let timed_out = tokio::time::timeout(limit, all).await.is_err();
        if let Some(error) = self.first_failure() {
            return Err(error);
        }
        let stopped = self.containers.iter().find(|container| {
            !container.consumers().is_empty()
                && !container.settings().completes()
                && matches!(container.state(), ContainerState::Stopping | ContainerState::Stopped)
        });
        if let Some(stopped) = stopped {
            return Err(Error::NotRunning { listener: stopped.id().to_owned() });
        }
        if timed_out {
            let starting = self.containers.iter().filter(|container| {
                matches!(
                    container.state(),
                    ContainerState::Waiting | ContainerState::Starting | ContainerState::WaitingForSeat
                )
            });
            return Err(Error::NotAssigned { waited: limit, waiting: names(starting) });
        }
        Ok(())
    }

    /// What every listener is doing, partition by partition.
    pub fn status(&self) -> Status {
        Status::of(&self.containers)
    }

    /// Whether the process has started, is ready and is alive, with reasons where it is not.
    pub fn health(&self) -> Health {
        Health::of(&self.containers)
    }

    /// Stops all listeners, each within its `shutdown_timeout`, then waits for the answers to records that were sent for
    /// as long as the longest of these leaves, and says what was left.
    ///
    /// # Cancel safety
    ///
    /// The stop goes on when the future is dropped; only the report is lost.
    pub async fn shutdown(&self) -> ShutdownReport {
        self.wait_no_longer();
        let budgets = self.containers.iter().map(|container| container.settings().shutdown_timeout);
        let until = Instant::now() + budgets.max().unwrap_or_default();
        let stops = self.containers.iter().cloned().map(|container| async move { container.stop().await });
        self.flushed(join_all(stops).await, until).await
    }

    /// The same with one deadline for all of them in place of their `shutdown_timeout`.
    ///
    /// # Cancel safety
    ///
    /// As [`ListenerRegistry::shutdown`].
    pub async fn shutdown_within(&self, deadline: Duration) -> ShutdownReport {
        let until = Instant::now() + deadline;
        let stops =
            self.containers.iter().cloned().map(|container| async move { container.stop_within(deadline).await });
        self.flushed(join_all(stops).await, until).await
    }

    /// Adds what the producer has left.
    async fn flushed(&self, mut report: ShutdownReport, until: Instant) -> ShutdownReport {
        report.unsent = self.producer.flush(until.saturating_since(Instant::now())).await;
        report
    }

    /// Stops waiting for running handlers: they are cancelled at their next await and their records will be handled
    /// again. What a second signal does under [`ListenerRegistryBuilder::run`].
    pub fn interrupt(&self) {
        self.containers.iter().for_each(ListenerContainer::interrupt);
    }

    /// Resolves when all containers have completed, stopped or failed, or one has failed that is to end the others too: with
    /// `on_fatal = "exit"`, or at its start.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn stopped(&self) {
        let (sender, mut ends_all) = tokio::sync::mpsc::channel::<()>(1);
        let mut watches = tokio::task::JoinSet::new();
        for container in self.containers.iter() {
            let (container, sender) = (container.clone(), sender.clone());
            watches.spawn(async move {
                if container.stopped().await == ContainerState::Failed && container.failure_ends_all() {
                    // The receiver is gone when another one failed first.
                    sender.send(()).await.ok();
                }
            });
        }
        drop(sender);
        // Ends with the first of those failures, or with `None` when every watch is over.
        ends_all.recv().await;
    }

    /// How many clients of this process could not leave their group in time and are still trying in the background: 0
    /// unless a stop ran into its deadline. Only the end of the process may interrupt them.
    pub fn unclosed_clients() -> usize {
        crate::kafka::unclosed_clients()
    }

    /// Nothing starts any more by itself.
    fn wait_no_longer(&self) {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How all of it ended, where it ended by itself.
    fn has_completed(&self) -> bool {
        let states = self.containers.iter().map(ListenerContainer::state);
        let mut started = states.filter(|state| *state != ContainerState::Stopped).peekable();
        started.peek().is_some() && started.all(|state| state == ContainerState::Completed)
    }

    fn first_failure(&self) -> Option<Error> {
        self.containers.iter().find_map(|container| {
            let reason = container.failure()?;
            Some(Error::Failed { listener: container.id().to_owned(), reason })
        })
    }
}

/// Waits for all stops at the same time.
async fn join_all(
    stops: impl Iterator<Item = impl Future<Output = ListenerReport> + Send + 'static>,
) -> ShutdownReport {
    let mut running: tokio::task::JoinSet<ListenerReport> = stops.collect();
    let mut listeners = Vec::new();
    while let Some(report) = running.join_next().await {
        match report {
            Ok(report) => listeners.push(report),
            Err(error) => tracing::error!(%error, "the report of a stop is lost"),
        }
    }
    ShutdownReport::new(listeners)
}

fn names<'a>(containers: impl Iterator<Item = &'a ListenerContainer>) -> String {
    containers.map(|container| format!("`{}`", container.id())).collect::<Vec<_>>().join(", ")
}
