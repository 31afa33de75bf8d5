//! What is done to whose requests, and for how long.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::types::RDKafkaApiKey;
use tokio::sync::watch;

use super::frame::RequestHeader;
use super::{Shared, lock};

/// What happens to a request or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The answer comes so much later, and with it everything behind it on its connection.
    Delay(Duration),
    /// The request waits on its way to the broker until the fault is lifted, and with it everything behind it on its
    /// connection. It arrives even when its sender has given up and closed the connection by then.
    HoldRequest,
    /// As [`Effect::HoldRequest`], but later requests on the connection overtake this one, and are carried out and answered
    /// before it: so it looks where a client itself sends a request again later than the next one.
    HoldRequestAlone,
    /// The broker has carried it out; the answer waits until the fault is lifted, and everything behind it.
    HoldAnswer,
    /// As [`Effect::HoldAnswer`], but later answers on the connection overtake this one.
    HoldAnswerAlone,
    /// The broker has carried it out and nobody ever hears of it; later answers pass.
    LoseAnswer,
    /// The broker has carried it out; instead of its answer comes a reset of the connection.
    ResetAfterApply,
    /// The connection is reset before the broker has seen the request.
    Reset,
    /// From this request on nothing passes on its connection in either direction, and nobody closes it.
    HalfOpen,
}

/// Which requests a fault is about.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    api: Option<i16>,
    client_id: Option<String>,
    /// How many of them; all without.
    limit: Option<usize>,
}

impl Requests {
    /// Every request.
    pub fn all() -> Self {
        Self::default()
    }

    /// Requests of one API.
    pub fn to(api: RDKafkaApiKey) -> Self {
        // Kafka's numbers, all below a hundred.
        Self { api: i16::try_from(api as i32).ok(), ..Self::default() }
    }

    /// Only those of this client.
    #[must_use]
    pub fn of_client(mut self, client_id: &str) -> Self {
        self.client_id = Some(client_id.to_owned());
        self
    }

    /// Only the first so many from now on.
    #[must_use]
    pub fn first(mut self, count: usize) -> Self {
        self.limit = Some(count);
        self
    }

    fn name(&self, header: &RequestHeader) -> bool {
        self.api.is_none_or(|api| api == header.api)
            && self.client_id.as_ref().is_none_or(|client_id| *client_id == header.client_id)
    }
}

/// A fault as the connections see it.
#[derive(Debug)]
pub(super) struct Rule {
    requests: Requests,
    pub(super) effect: Effect,
    hits: watch::Sender<usize>,
    lifted: watch::Sender<bool>,
}

impl Rule {
    pub(super) fn new(requests: Requests, effect: Effect) -> Self {
        Self { requests, effect, hits: watch::Sender::new(0), lifted: watch::Sender::new(false) }
    }

    /// Whether the request is one of this fault's; then it is counted.
    pub(super) fn takes(&self, header: &RequestHeader) -> bool {
        if *self.lifted.borrow() || !self.requests.name(header) {
            return false;
        }
        self.hits.send_if_modified(|hits| {
            let is_one = self.requests.limit.is_none_or(|limit| *hits < limit);
            *hits += usize::from(is_one);
            is_one
        })
    }

    pub(super) async fn lifted(&self) {
        // Ends with an error only when the rule is gone, and it is here.
        self.lifted.subscribe().wait_for(|lifted| *lifted).await.ok();
    }
}

/// A fault that is in force until it is lifted or dropped.
#[derive(Debug)]
#[must_use = "a fault that is dropped is lifted"]
pub struct Fault {
    rule: Arc<Rule>,
    shared: Arc<Shared>,
}

impl Fault {
    pub(super) fn new(rule: Arc<Rule>, shared: Arc<Shared>) -> Self {
        Self { rule, shared }
    }

    /// How many requests it has met.
    pub fn hits(&self) -> usize {
        *self.rule.hits.borrow()
    }

    /// Waits until it has met so many requests.
    ///
    /// # Errors
    ///
    /// When it has not within the deadline.
    pub async fn wait_for_hits(&self, hits: usize, deadline: Duration) -> anyhow::Result<()> {
        let mut met = self.rule.hits.subscribe();
        let waited = tokio::time::timeout(deadline, met.wait_for(|met| *met >= hits)).await;
        waited.with_context(|| format!("{:?} has met {} of {hits} requests", self.rule.effect, self.hits()))??;
        Ok(())
    }

    /// Ends the fault: what it holds goes on its way.
    pub fn lift(self) {
        drop(self);
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        lock(&self.shared.rules).retain(|rule| !Arc::ptr_eq(rule, &self.rule));
        self.rule.lifted.send_replace(true);
    }
}
