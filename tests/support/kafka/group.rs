//! Consumer groups seen from outside: who is in them, who owns what, what is committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::{Kafka, REQUEST_DEADLINE};
use crate::eventually::eventually;

/// A group of the classic protocol; the broker describes one of the `consumer` protocol as dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Kafka's word: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`, `Dead`.
    pub state: String,
    /// The assignor in use, such as `cooperative-sticky`.
    pub assignor: String,
    /// Ordered by client id.
    pub members: Vec<GroupMember>,
}

/// One consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the broker gave it.
    pub member_id: String,
    /// The name that the consumer gave itself.
    pub client_id: String,
    /// Topics and partitions that it was given in the last rebalance.
    pub assignment: Vec<(String, i32)>,
}

impl Kafka {
    /// The group as its coordinator describes it.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn group(&self, group: &str) -> anyhow::Result<Group> {
        let name = group.to_owned();
        self.blocking(move |kafka| {
            let list = kafka.producer()?.client().fetch_group_list(Some(&name), REQUEST_DEADLINE)?;
            let info = list.groups().first().with_context(|| format!("no broker knows group `{name}`"))?;
            let mut members: Vec<GroupMember> = info
                .members()
                .iter()
                .map(|member| GroupMember {
                    member_id: member.id().to_owned(),
                    client_id: member.client_id().to_owned(),
                    assignment: member.assignment().and_then(parse_assignment).unwrap_or_default(),
                })
                .collect();
            members.sort_by(|a, b| (&a.client_id, &a.member_id).cmp(&(&b.client_id, &b.member_id)));
            Ok(Group { state: info.state().to_owned(), assignor: info.protocol().to_owned(), members })
        })
        .await
    }

    /// Waits until the group is stable with this many members.
    ///
    /// # Errors
    ///
    /// When it is not within the deadline.
    pub async fn wait_for_members(&self, group: &str, members: usize, deadline: Duration) -> anyhow::Result<()> {
        let settled = || async {
            let now = self.group(group).await?;
            let state = if members == 0 { "Empty" } else { "Stable" };
            ensure!(now.state == state && now.members.len() == members, "{now:?}");
            Ok(())
        };
        eventually(deadline, &format!("group `{group}` is settled with {members} members"), settled).await
    }

    /// What the group has committed of a topic; partitions without a commit are left out. The reader is no member.
    ///
    /// # Errors
    ///
    /// When the topic is not there or nobody answers.
    pub async fn committed(&self, group: &str, topic: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
        self.group_offsets(group, topic).await?.read_in(REQUEST_DEADLINE).await
    }

    /// Waits until the group has committed a topic to its end, as an outside reader sees it.
    ///
    /// # Errors
    ///
    /// When it has not within the deadline.
    pub async fn wait_for_commits_to_end(&self, group: &str, topic: &str, deadline: Duration) -> anyhow::Result<()> {
        let offsets = self.group_offsets(group, topic).await?;
        let there = || async {
            let committed = offsets.read_in(REQUEST_DEADLINE).await?;
            let mut ends = self.end_offsets(topic).await?;
            // Nothing was ever written there, so nothing needs a commit.
            ends.retain(|_, end| *end > 0);
            ensure!(
                ends.iter().all(|(partition, end)| committed.get(partition) == Some(end)),
                "{committed:?} of {ends:?}"
            );
            Ok(())
        };
        eventually(deadline, &format!("group `{group}` has committed `{topic}` to its end"), there).await
    }

    /// A reader of one group's offsets that keeps its connection.
    ///
    /// # Errors
    ///
    /// When the topic is not there or nobody answers.
    pub async fn group_offsets(&self, group: &str, topic: &str) -> anyhow::Result<GroupOffsets> {
        let partitions = self.partitions(topic).await?;
        ensure!(!partitions.is_empty(), "there is no topic `{topic}`");
        let mut config = self.client_config();
        config.set("group.id", group).set("enable.auto.commit", "false");
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(topic, partition);
        }
        Ok(GroupOffsets { consumer: Arc::new(config.create()?), asked })
    }
}

/// Reads the committed offsets of one group and topic again and again, without ever joining.
#[derive(Clone)]
pub struct GroupOffsets {
    consumer: Arc<BaseConsumer>,
    asked: TopicPartitionList,
}

impl std::fmt::Debug for GroupOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupOffsets").finish_non_exhaustive()
    }
}

impl GroupOffsets {
    /// What is committed now, per partition; blocks the thread for at most `deadline`.
    ///
    /// # Errors
    ///
    /// When the coordinator does not answer in time.
    pub fn read(&self, deadline: Duration) -> anyhow::Result<BTreeMap<i32, i64>> {
        let answered = self.consumer.committed_offsets(self.asked.clone(), deadline)?;
        let mut committed = BTreeMap::new();
        for element in answered.elements() {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), offset);
            }
        }
        Ok(committed)
    }

    async fn read_in(&self, deadline: Duration) -> anyhow::Result<BTreeMap<i32, i64>> {
        let reader = self.clone();
        tokio::task::spawn_blocking(move || reader.read(deadline)).await?
    }
}

/// Kafka's `ConsumerProtocolAssignment`: version, then topics with their partitions, all big-endian.
fn parse_assignment(bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    let (_version, mut rest) = bytes.split_at_checked(2)?;
    let mut assignment = Vec::new();
    for _ in 0..take_int(&mut rest)? {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (topic, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = after;
        let topic = String::from_utf8_lossy(topic);
        for _ in 0..take_int(&mut rest)? {
            assignment.push((topic.clone().into_owned(), take_int(&mut rest)?));
        }
    }
    Some(assignment)
}

fn take_int(bytes: &mut &[u8]) -> Option<i32> {
    let (int, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*int))
}
