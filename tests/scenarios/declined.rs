//! Rebalances that a member cannot carry out: it answers its group all the same and leaves it to the others.

use std::time::Duration;

use kafka_listener::__private::test_hooks;
use kafka_listener::{ContainerState, ListenerRegistry};
use support::{broker, eventually, unique};

use super::desk::{Desk, Journal, LISTENER, SOON, registry};

/// Well below the session timeout, after which the group would go on by itself.
const AT_ONCE: Duration = Duration::from_secs(120);
const SESSION: &str = "5m";

struct Pair {
    topic: String,
    group: String,
    journal: Journal,
}

impl Pair {
    async fn new() -> Self {
        let (topic, group) = (unique("orders"), unique("group"));
        broker().create_topic(&topic, 2).await.unwrap();
        broker().produce_orders(&topic, 20).await.unwrap();
        Self { topic, group, journal: Journal::default() }
    }

    /// Its one consumer has the client id `NAME-GROUP-0`.
    async fn member(&self, name: &'static str) -> ListenerRegistry {
        let builder = registry(broker(), &self.topic, &self.group, &Desk::new(name, &self.journal));
        let builder = builder.set("listener.client_id", format!("{name}-{}", self.group));
        builder.set("listener.session_timeout", SESSION).set("listener.shutdown_timeout", "5m").start().await.unwrap()
    }

    fn client_id(&self, name: &str) -> String {
        format!("{name}-{}-0", self.group)
    }

    /// This one has failed and is gone, and the other one works for both.
    async fn goes_on_with(&self, failed: ListenerRegistry, why: &str, other: ListenerRegistry) {
        let container = failed.container(LISTENER).unwrap();
        let has_failed = || async { container.state() == ContainerState::Failed };
        eventually(AT_ONCE, "the member has failed", has_failed).await.unwrap();
        assert!(container.failure().unwrap().contains(why), "{:?}", container.failure());
        assert!(!failed.health().live.ok);
        broker().wait_for_members(&self.group, 1, AT_ONCE).await.unwrap();
        broker().produce_orders(&self.topic, 20).await.unwrap();
        broker().wait_for_commits_to_end(&self.group, &self.topic, AT_ONCE).await.unwrap();
        assert!(failed.shutdown().await.into_result().is_err());
        other.shutdown().await.into_result().unwrap();
        self.journal.assert_each_once(&broker().end_offsets(&self.topic).await.unwrap());
    }
}

async fn an_assignment_is_declined(fault: impl FnOnce(String), why: &str) {
    let pair = Pair::new().await;
    let first = pair.member("first").await;
    pair.journal.wait_for_ended(20).await;
    fault(pair.client_id("second"));
    let second = pair.member("second").await;
    pair.goes_on_with(second, why, first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_cannot_be_taken_over_is_given_back() {
    an_assignment_is_declined(test_hooks::fail_assignment, "asked for by a test").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_in_which_the_poll_loop_panics_is_given_back() {
    an_assignment_is_declined(test_hooks::panic_in_rebalance, "the poll loop panicked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_in_which_the_poll_loop_panics_is_answered() {
    let pair = Pair::new().await;
    let first = pair.member("first").await;
    pair.journal.wait_for_ended(20).await;
    broker().wait_for_commits_to_end(&pair.group, &pair.topic, SOON).await.unwrap();
    test_hooks::panic_in_rebalance(pair.client_id("first"));
    let second = pair.member("second").await;
    pair.goes_on_with(first, "the poll loop panicked", second).await;
}
