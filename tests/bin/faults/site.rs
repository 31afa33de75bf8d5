//! Where a group lives: one Kafka node or three, each behind a fault proxy, or librdkafka's mock.

use std::path::Path;

use anyhow::Context as _;
use support::{Cluster, ClusterOptions, Effect, Fault, Kafka, MockKafka, Requests};

/// Which kind of site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    One,
    Three,
    Mock,
}

/// Brokers, and the way that members take to them.
#[derive(Debug)]
pub(crate) enum Site {
    Nodes(Box<Cluster>),
    Mock(MockKafka),
}

/// The brokers of the mock.
const MOCK_BROKERS: i32 = 3;

impl Site {
    /// Starts it; the nodes' logs go into `directory`.
    pub(crate) async fn start(kind: Kind, directory: &Path) -> anyhow::Result<Self> {
        let nodes = match kind {
            Kind::One => 1,
            Kind::Three => 3,
            Kind::Mock => return Ok(Self::Mock(MockKafka::start(MOCK_BROKERS)?)),
        };
        let options = ClusterOptions {
            log_directory: Some(directory.to_owned()),
            behind_proxies: true,
            ..ClusterOptions::default()
        };
        Ok(Self::Nodes(Box::new(Cluster::start_with(nodes, &options).await?)))
    }

    /// Starts every node that is not running.
    pub(crate) async fn bring_up(&self) -> anyhow::Result<()> {
        if let Self::Nodes(cluster) = self {
            for node in (1..=cluster.nodes()).filter(|node| !cluster.is_running(*node)) {
                cluster.restart(node).await?;
            }
        }
        Ok(())
    }

    /// The cluster as witnesses know it: past every proxy.
    pub(crate) fn kafka(&self) -> &Kafka {
        match self {
            Self::Nodes(cluster) => cluster,
            Self::Mock(mock) => mock,
        }
    }

    /// The cluster as members know it.
    pub(crate) fn for_members(&self) -> anyhow::Result<Kafka> {
        match self {
            Self::Nodes(cluster) => cluster.behind_proxies(),
            Self::Mock(mock) => Ok(Kafka::clone(mock)),
        }
    }

    pub(crate) fn cluster(&self) -> anyhow::Result<&Cluster> {
        match self {
            Self::Nodes(cluster) => Ok(cluster),
            Self::Mock(_) => anyhow::bail!("the mock has no nodes"),
        }
    }

    pub(crate) fn mock(&self) -> anyhow::Result<&MockKafka> {
        match self {
            Self::Mock(mock) => Ok(mock),
            Self::Nodes(_) => anyhow::bail!("a real broker does not do what it is told"),
        }
    }

    pub(crate) async fn create_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        match self {
            Self::Nodes(cluster) => cluster.create_topic(topic, partitions).await,
            Self::Mock(mock) => mock.create_topic(topic, partitions),
        }
    }

    /// Does this to requests of a member, on its way to whichever node.
    pub(crate) fn inject(&self, client: &str, requests: &Requests, effect: Effect) -> anyhow::Result<Vec<Fault>> {
        let cluster = self.cluster()?;
        let inject = |node| Ok(cluster.proxy(node)?.inject(requests.clone().of_client(client), effect));
        (1..=cluster.nodes()).map(inject).collect()
    }

    /// The node that coordinates a group.
    pub(crate) async fn coordinator(&self, group: &str) -> anyhow::Result<usize> {
        self.kafka().coordinator(group).await.map(usize::try_from)?.context("the coordinator has no number")
    }
}
