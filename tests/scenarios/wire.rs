//! What scenarios with a fault proxy share: a member behind it, chosen by its client id, and a reader that goes round it.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_listener::{ListenerRegistry, ListenerRegistryBuilder};
use support::{Cluster, CommitSampler, Effect, Fault, Kafka, Proxy, Requests, eventually, proxied_broker, unique};

use super::common::Ground;
use super::desk::{Desk, Journal, SOON, Step, registry};

/// A topic of the shared broker, a group on it, and the client id of the member that meets the faults.
pub(crate) struct Wire {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) journal: Journal,
    pub(crate) desk: Desk,
    client_id: String,
    behind: Kafka,
}

impl Wire {
    pub(crate) async fn new(partitions: i32, orders: usize) -> Self {
        let (topic, group, client_id) = (unique("orders"), unique("group"), unique("client"));
        let broker = Self::broker();
        broker.create_topic(&topic, partitions).await.unwrap();
        if orders > 0 {
            broker.produce_orders(&topic, orders).await.unwrap();
        }
        let journal = Journal::default();
        let desk = Desk::new("wired", &journal);
        Self { topic, group, journal, desk, client_id, behind: broker.behind_proxies().unwrap() }
    }

    /// The broker itself: for everybody who has no part in the fault.
    pub(crate) fn broker() -> &'static Cluster {
        proxied_broker()
    }

    pub(crate) fn proxy() -> &'static Proxy {
        proxied_broker().proxy(1).unwrap()
    }

    /// The broker as it is seen through the proxy.
    pub(crate) fn behind(&self) -> &Kafka {
        &self.behind
    }

    /// A registry behind the proxy that knows no listener yet.
    pub(crate) fn registry(&self) -> ListenerRegistryBuilder {
        let ground = Ground { topic: self.topic.clone(), group: self.group.clone() };
        ground.registry_on(&self.behind).set("listener.client_id", self.client_id.as_str())
    }

    /// The member behind the proxy.
    pub(crate) fn member(&self) -> ListenerRegistryBuilder {
        registry(&self.behind, &self.topic, &self.group, &self.desk)
            .set("listener.client_id", self.client_id.as_str())
            .set("listener.session_timeout", "45s")
            // For what a test looks at while a stop waits.
            .set("listener.shutdown_timeout", "2m")
    }

    /// The same, which gives a request up and closes its connection after three seconds without an answer.
    pub(crate) fn impatient_member(&self) -> ListenerRegistryBuilder {
        self.member().config_str("[kafka.properties]\n\"socket.timeout.ms\" = 3000")
    }

    /// Another member of the group, which meets no fault.
    pub(crate) fn neighbour(&self, desk: &Desk) -> ListenerRegistryBuilder {
        registry(Self::broker(), &self.topic, &self.group, desk)
    }

    /// Does this to requests of the member.
    pub(crate) fn inject(&self, requests: Requests, effect: Effect) -> Fault {
        Self::proxy().inject(requests.of_client(&format!("{}-0", self.client_id)), effect)
    }

    /// Counts requests of the member that no older fault takes.
    pub(crate) fn count(&self, requests: Requests) -> Fault {
        self.inject(requests, Effect::Delay(Duration::ZERO))
    }

    pub(crate) async fn sampler(&self) -> CommitSampler {
        CommitSampler::start(Self::broker(), &self.group, &self.topic, Duration::from_millis(10)).await.unwrap()
    }

    pub(crate) async fn committed(&self) -> BTreeMap<i32, i64> {
        Self::broker().committed(&self.group, &self.topic).await.unwrap()
    }

    pub(crate) async fn wait_for_commits_to_end(&self) {
        Self::broker().wait_for_commits_to_end(&self.group, &self.topic, SOON).await.unwrap();
    }

    /// Every partition's handler is held at this record from now on.
    pub(crate) fn hold(&self, partitions: i32, offset: i64) {
        (0..partitions).for_each(|partition| self.desk.hold(partition, offset));
    }

    /// Lets the handlers held at `from` go on to `to`, and waits until they are there.
    pub(crate) async fn go_on(&self, partitions: i32, from: i64, to: i64) {
        self.hold(partitions, to);
        (0..partitions).for_each(|partition| self.desk.release(partition, from));
        for partition in 0..partitions {
            self.journal.wait_for(Step::Started, partition, to).await;
        }
    }

    pub(crate) async fn assert_each_once(&self) {
        self.journal.assert_each_once(&Self::broker().end_offsets(&self.topic).await.unwrap());
    }
}

/// Waits until an outside reader has seen this committed.
pub(crate) async fn wait_for_commit(sampler: &CommitSampler, expected: &[(i32, i64)]) {
    let expected: BTreeMap<i32, i64> = expected.iter().copied().collect();
    let there = || async {
        let latest = sampler.latest();
        anyhow::ensure!(latest == expected, "{latest:?} is committed");
        Ok(())
    };
    eventually(SOON, &format!("{expected:?} is committed"), there).await.unwrap();
}

pub(crate) fn possibly_repeated(listeners: &ListenerRegistry) -> u64 {
    listeners.status().listeners[0].possibly_repeated
}
