//! What befalls brokers, and groups without one.

use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};

use super::super::group::Group;
use super::{host, secs};

const ONLY_NODE: usize = 1;
const FAULT: &str = "the only broker is away";

/// How much a member may grow while it has no broker, in bytes.
const FLAT: u64 = 48 << 20;

/// Commits are refused with every code that says: later.
pub(super) async fn commit_retried(group: &mut Group) -> anyhow::Result<()> {
    const CODES: [Code; 4] = [
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    group.produce();
    group.gather(2).await?;
    for code in CODES {
        group.site.mock()?.fail_requests(Api::OffsetCommit, &[code; 3])?;
        tokio::time::sleep(secs(2)).await;
    }
    group.site.mock()?.stop_failing(Api::OffsetCommit)
}

/// Leaders change, brokers stay: nothing is disturbed but the fetching.
pub(super) async fn leader_moves_at_once(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    group.gather(2).await?;
    for round in 0..12 {
        for partition in 0..6 {
            let broker = (round + partition) % 3 + 1;
            group.site.mock()?.leader(&group.topic, partition, Some(broker))?;
        }
        tokio::time::sleep(secs(1)).await;
    }
    Ok(())
}

/// Members start while nobody listens.
pub(super) async fn away_at_start(group: &mut Group) -> anyhow::Result<()> {
    go(group, false).await?;
    let names = (0..2).map(|_| group.join()).collect::<anyhow::Result<Vec<_>>>()?;
    tokio::time::sleep(secs(5)).await;
    for name in &names {
        let ended = group.member(name)?.try_exit()?;
        group.expect(ended.is_none(), || format!("{name} did not wait for the broker: {ended:?}"))?;
    }
    come_back(group).await?;
    group.produce();
    group.wait_until_assigned(&names).await
}

/// Away for longer than a session and `max_poll_interval`.
pub(super) async fn away_for_long(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(2).await?;
    tokio::time::sleep(secs(2)).await;
    go(group, true).await?;
    tokio::time::sleep(secs(2)).await;
    let mut before = Vec::new();
    for name in &names {
        before.push(host::resident(group.member(name)?.pid())?);
    }
    // More than `max_poll_interval`.
    tokio::time::sleep(secs(14)).await;
    for (name, before) in names.iter().zip(before) {
        let grown = host::resident(group.member(name)?.pid())?.saturating_sub(before);
        group.expect(grown < FLAT, || format!("{name} has grown by {grown} bytes without a broker"))?;
    }
    come_back(group).await?;
    tokio::time::sleep(secs(3)).await;
    Ok(())
}

/// Everybody is told to stop while there is nobody to commit to.
pub(super) async fn stop_without(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(3).await?;
    tokio::time::sleep(secs(2)).await;
    go(group, true).await?;
    for name in &names {
        group.tell_to_stop(name)?;
    }
    for name in &names {
        // How late and how badly is for the checker to say.
        group.wait_for_exit(name).await?;
    }
    come_back(group).await?;
    group.gather(2).await?;
    Ok(())
}

async fn go(group: &Group, by_force: bool) -> anyhow::Result<()> {
    group.fault_begins(FAULT, None)?;
    let cluster = group.site.cluster()?;
    if by_force { cluster.kill(ONLY_NODE).await } else { cluster.stop(ONLY_NODE).await }
}

async fn come_back(group: &Group) -> anyhow::Result<()> {
    group.site.cluster()?.restart(ONLY_NODE).await?;
    group.fault_ends(FAULT)
}
