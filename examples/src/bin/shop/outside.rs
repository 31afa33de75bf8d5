//! What the groups have committed, as anybody else sees it: read from the broker by clients that join nothing.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::cluster::{Cluster, TOPIC};

const DEADLINE: Duration = Duration::from_secs(30);

/// One offset per partition, from partition 0 on: the first that the group would read if it started now.
///
/// Without a commit that is where the log begins, as the shop's listeners start at the earliest record.
pub(crate) fn next_offsets(cluster: &Cluster, group_id: &str) -> anyhow::Result<Vec<i64>> {
    let reader: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &cluster.bootstrap_servers).set("group.id", group_id).create()?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(TOPIC, 0, cluster.partitions - 1);
    let committed = once_settled(&reader, || reader.committed_offsets(asked.clone(), DEADLINE))
        .with_context(|| format!("read what `{group_id}` has committed"))?;

    let next_offset = |partition: i32| match committed.find_partition(TOPIC, partition).map(|found| found.offset()) {
        Some(Offset::Offset(offset)) => Ok(offset),
        _ => once_settled(&reader, || reader.fetch_watermarks(TOPIC, partition, DEADLINE))
            .map(|(begin, _)| begin)
            .with_context(|| format!("find the beginning of `{TOPIC}-{partition}`")),
    };
    (0..cluster.partitions).map(next_offset).collect()
}

/// Asks again while the cluster is finding leaders: a topic, or the first group of all, is not ready the moment that it
/// is created.
fn once_settled<T>(reader: &BaseConsumer, ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    const SETTLING: [RDKafkaErrorCode; 6] = [
        RDKafkaErrorCode::NotCoordinator,
        RDKafkaErrorCode::CoordinatorNotAvailable,
        RDKafkaErrorCode::CoordinatorLoadInProgress,
        RDKafkaErrorCode::LeaderNotAvailable,
        RDKafkaErrorCode::NotLeaderForPartition,
        RDKafkaErrorCode::UnknownTopicOrPartition,
    ];
    let deadline = Instant::now() + DEADLINE;
    loop {
        match ask() {
            Err(error)
                if error.rdkafka_error_code().is_some_and(|code| SETTLING.contains(&code))
                    && Instant::now() < deadline =>
            {
                // The pause between two questions; the client joins no group and is given nothing.
                drop(reader.poll(Duration::from_millis(100)));
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::CommitMode;

    use super::*;
    use crate::order::RunId;
    use crate::producer::{Plan, Progress, produce};

    #[test]
    fn a_group_goes_on_at_the_beginning_and_then_where_it_has_committed() {
        let cluster = Cluster::start_embedded().unwrap();
        let (progress, plan) = (Progress::default(), Plan { orders: Some(600), pause: Duration::ZERO });
        let stored = produce(&cluster.bootstrap_servers, &RunId::random(), plan, &progress).unwrap();
        assert_eq!((stored.len(), progress.produced()), (600, 600));
        assert_eq!(next_offsets(&cluster, "readers").unwrap(), [0; 6]);

        let committer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &cluster.bootstrap_servers)
            .set("group.id", "readers")
            .create()
            .unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(TOPIC, 4, Offset::Offset(17)).unwrap();
        committer.commit(&offsets, CommitMode::Sync).unwrap();
        assert_eq!(next_offsets(&cluster, "readers").unwrap(), [0, 0, 0, 0, 17, 0]);
        assert_eq!(next_offsets(&cluster, "others").unwrap(), [0; 6]);
    }
}
