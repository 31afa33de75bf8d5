//! `start_after`: a container that has not started because others have to complete first.

use tokio::sync::watch;

use super::{ContainerState, ListenerContainer};
use crate::error::Error;

/// Whether a container waits for others. Changed after what it waited for has led to something that can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Waiting {
    #[default]
    No,
    For(Vec<String>),
    /// What it waited for will not come.
    InVain(String),
}

/// One container's wait, as those see it who wait for the container.
#[derive(Debug, Default)]
pub(super) struct Wait {
    waiting: watch::Sender<Waiting>,
    /// How often the container was started.
    starts: watch::Sender<u64>,
}

impl Wait {
    pub(super) fn is_over(&self) -> bool {
        !matches!(*self.waiting.borrow(), Waiting::For(_))
    }

    pub(super) fn set(&self, waiting: Waiting) {
        self.waiting.send_replace(waiting);
    }

    /// The container's consumers are there.
    pub(super) fn started(&self) {
        self.set(Waiting::No);
        self.starts.send_modify(|starts| *starts += 1);
    }

    pub(super) fn in_vain(&self) -> Option<String> {
        match &*self.waiting.borrow() {
            Waiting::InVain(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    pub(super) async fn over(&self) {
        // An error would mean that the sender is gone, and it lives in `self`.
        drop(self.waiting.subscribe().wait_for(|waiting| !matches!(waiting, Waiting::For(_))).await);
    }
}

impl ListenerContainer {
    /// Ids of the containers that have to complete before this one starts; empty when it waits for none.
    pub fn waits_for(&self) -> Vec<String> {
        match &*self.inner.wait.waiting.borrow() {
            Waiting::For(ids) => ids.clone(),
            _ => Vec::new(),
        }
    }

    /// Notes that it will be started by [`ListenerContainer::start_after`].
    pub(crate) fn will_wait_for(&self, ids: Vec<String>) {
        self.inner.wait.set(Waiting::For(ids));
    }

    /// Starts the container when all of these have completed.
    pub(crate) async fn start_after(&self, others: Vec<Self>) {
        for other in &others {
            loop {
                let mut starts = other.inner.wait.starts.subscribe();
                match other.stopped().await {
                    ContainerState::Completed => break,
                    // Somebody may start it again.
                    ContainerState::Stopped => drop(starts.changed().await),
                    _ => {
                        let reason = format!(
                            "`{}`, which it starts after, has not completed: {}",
                            other.id(),
                            other.failure().unwrap_or_default()
                        );
                        tracing::error!(listener = %self.id(), %reason, "the listener does not start");
                        self.inner.wait.set(Waiting::InVain(reason));
                        return;
                    }
                }
            }
        }
        if self.inner.wait.is_over() {
            // An operator was faster.
            return;
        }
        tracing::info!(listener = %self.id(), after = ?self.waits_for(), "listener starts");
        match self.start() {
            Ok(()) | Err(Error::AlreadyRunning { .. }) => {}
            Err(error) => {
                tracing::error!(listener = %self.id(), ?error, "the listener does not start");
                self.inner.wait.set(Waiting::InVain(format!("{error:?}")));
            }
        }
    }

    /// Resolves when the container waits for nothing, started or not.
    pub(crate) async fn waited(&self) {
        self.inner.wait.over().await;
    }
}
