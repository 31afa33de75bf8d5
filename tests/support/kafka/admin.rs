//! Topics and groups: made, changed, removed.

use std::time::Duration;

use anyhow::{Context as _, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::{Kafka, REQUEST_DEADLINE};
use crate::eventually::eventually;

impl Kafka {
    /// Creates a topic with the cluster's replication and waits until every partition has a leader.
    ///
    /// # Errors
    ///
    /// When the broker refuses, or is not there.
    pub async fn create_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        self.create_topic_with(topic, partitions, &[]).await
    }

    /// Creates a topic with Kafka's own topic keys, such as `retention.ms`.
    ///
    /// # Errors
    ///
    /// As [`Kafka::create_topic`].
    pub async fn create_topic_with(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        for (key, value) in config {
            new = new.set(key, value);
        }
        let admin = self.admin()?;
        // Names are one test's own, so one that is there already was made by a request whose answer came too late.
        let created = but_for(RDKafkaErrorCode::TopicAlreadyExists, admin.create_topics(&[new], &options()).await?);
        check(created).with_context(|| format!("create topic `{topic}`"))?;
        self.wait_for_partitions(topic, partitions).await
    }

    /// Deletes a topic and waits until the cluster does not know it any more.
    ///
    /// # Errors
    ///
    /// When the broker refuses, or is not there.
    pub async fn delete_topic(&self, topic: &str) -> anyhow::Result<()> {
        let admin = self.admin()?;
        let deleted =
            but_for(RDKafkaErrorCode::UnknownTopicOrPartition, admin.delete_topics(&[topic], &options()).await?);
        check(deleted).with_context(|| format!("delete topic `{topic}`"))?;
        let gone = || async { Ok(self.partitions(topic).await?.is_empty()) };
        eventually(REQUEST_DEADLINE, &format!("topic `{topic}` is gone"), gone).await
    }

    /// Grows a topic to `partitions` partitions and waits until they have leaders.
    ///
    /// # Errors
    ///
    /// When the broker refuses, or is not there.
    pub async fn create_partitions(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let admin = self.admin()?;
        let new = NewPartitions::new(topic, usize::try_from(partitions)?);
        check(admin.create_partitions(&[new], &options()).await?)
            .with_context(|| format!("grow topic `{topic}` to {partitions} partitions"))?;
        self.wait_for_partitions(topic, partitions).await
    }

    /// Deletes the records of a partition below `before`, as retention does.
    ///
    /// # Errors
    ///
    /// When the broker refuses, or is not there.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) -> anyhow::Result<()> {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(before))?;
        let answered = self.admin()?.delete_records(&offsets, &options()).await?;
        for element in answered.elements() {
            element.error().with_context(|| format!("delete records of `{topic}-{partition}` below {before}"))?;
        }
        Ok(())
    }

    /// Deletes a group that has no members, with its offsets.
    ///
    /// # Errors
    ///
    /// When the group has members or the broker is not there.
    pub async fn delete_group(&self, group: &str) -> anyhow::Result<()> {
        check(self.admin()?.delete_groups(&[group], &options()).await?)
            .with_context(|| format!("delete group `{group}`"))
    }

    /// The partitions of a topic that have a leader; none for a topic that is not there.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn partitions(&self, topic: &str) -> anyhow::Result<Vec<i32>> {
        let topic = topic.to_owned();
        self.blocking(move |kafka| {
            let metadata = kafka.producer()?.client().fetch_metadata(Some(&topic), REQUEST_DEADLINE)?;
            let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            Ok(partitions.filter(|partition| partition.leader() >= 0).map(MetadataPartition::id).collect())
        })
        .await
    }

    async fn wait_for_partitions(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let complete = || async { Ok(self.partitions(topic).await?.len() == usize::try_from(partitions)?) };
        eventually(REQUEST_DEADLINE, &format!("topic `{topic}` has {partitions} leaders"), complete).await
    }

    fn admin(&self) -> anyhow::Result<AdminClient<DefaultClientContext>> {
        Ok(self.client_config().create()?)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_DEADLINE))
        // The broker answers when the change is made, not when it is accepted.
        .operation_timeout(Some(Duration::from_secs(30)))
}

type Results = Vec<Result<String, (String, RDKafkaErrorCode)>>;

/// A request that the client has sent again finds done what the first one did.
fn but_for(done: RDKafkaErrorCode, mut results: Results) -> Results {
    results.retain(|result| !matches!(result, Err((_, code)) if *code == done));
    results
}

fn check(results: Results) -> anyhow::Result<()> {
    for result in results {
        if let Err((name, code)) = result {
            bail!("`{name}`: {code}");
        }
    }
    Ok(())
}
