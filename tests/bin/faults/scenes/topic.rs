//! What befalls topics and committed offsets.

use support::event::{Place, What};
use support::unique;

use super::super::group::{Group, JOIN_DEADLINE};
use super::{moved, secs};

/// The topic goes while its group runs.
pub(super) async fn deleted(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(2).await?;
    tokio::time::sleep(secs(2)).await;
    group.stop_producing().await?;
    group.catch_up().await?;
    group.end_first_life().await?;
    group.kafka().delete_topic(&group.topic).await?;
    // Several looks at what topics there are.
    tokio::time::sleep(secs(5)).await;
    for name in &names {
        let ended = group.member(name)?.try_exit()?;
        group.expect(ended.is_none(), || format!("{name} ended with its topic: {ended:?}"))?;
    }
    Ok(())
}

/// The topic goes and comes again with fewer records.
pub(super) async fn recreated(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    group.gather(2).await?;
    tokio::time::sleep(secs(4)).await;
    group.stop_producing().await?;
    group.catch_up().await?;
    group.end_first_life().await?;
    group.kafka().delete_topic(&group.topic).await?;
    group.harness.write(What::Recreated { topic: group.topic.clone() })?;
    group.kafka().create_topic(&group.topic, 6).await?;
    group.watch().await?;
    group.produce_at(60);
    tokio::time::sleep(secs(4)).await;
    Ok(())
}

/// The topic comes after the members, and for one of them never.
pub(super) async fn missing(group: &mut Group) -> anyhow::Result<()> {
    let name = group.join()?;
    let other = unique("never-there");
    let picky = group.options().clone();
    let picky = support::MemberOptions { topic: other.clone(), ..picky };
    let picky = group.join_as(&picky.set("listener.missing_topics", "fail"))?;
    group.harness.write(What::MayFail { member: picky.clone() })?;
    let words = {
        let member = group.member(&picky)?;
        member.wait_for_exit(JOIN_DEADLINE).await?;
        member.words()
    };
    group.wait_for_exit(&picky).await?;
    group.expect(words.contains(&other), || format!("{picky} does not say that `{other}` is missing: {words}"))?;

    tokio::time::sleep(secs(3)).await;
    let ended = group.member(&name)?.try_exit()?;
    group.expect(ended.is_none(), || format!("{name} did not wait for its topic: {ended:?}"))?;
    group.site.create_topic(&group.topic, 6).await?;
    group.watch().await?;
    group.produce();
    group.wait_until_assigned(&[name]).await?;
    tokio::time::sleep(secs(2)).await;
    Ok(())
}

/// Records go before anybody has read them.
pub(super) async fn retention(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(2).await?;
    tokio::time::sleep(secs(2)).await;
    for name in &names {
        group.stop(name).await?;
    }
    tokio::time::sleep(secs(2)).await;
    let committed = group.kafka().committed(&group.id, &group.topic).await?;
    for (partition, committed) in committed.into_iter().filter(|(partition, _)| partition % 2 == 0) {
        let place = Place::new(&group.topic, partition, committed + 20);
        group.harness.write(What::Truncated { place })?;
        group.kafka().delete_records(&group.topic, partition, committed + 20).await?;
    }
    group.gather(2).await?;
    Ok(())
}

/// What was committed is forgotten while nobody is there.
pub(super) async fn offsets_expired(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(2).await?;
    tokio::time::sleep(secs(2)).await;
    for name in &names {
        group.stop(name).await?;
    }
    let before = group.kafka().committed(&group.id, &group.topic).await?;
    group.harness.write(What::OffsetsDeleted)?;
    group.kafka().delete_group(&group.id).await?;
    let again = group.gather(2).await?;
    group.stop_producing().await?;
    group.catch_up().await?;
    let mut repeated = 0;
    for name in &again {
        let first = |event: &&support::event::Event| match &event.what {
            What::Start { place, .. } => before.get(&place.partition).is_some_and(|end| place.offset < *end),
            _ => false,
        };
        repeated += i64::try_from(group.events_of(name)?.iter().filter(first).count())?;
    }
    let all: i64 = before.values().sum();
    group.expect(repeated >= all, || format!("of {all} records that were committed {repeated} were handled again"))
}

/// Three partitions more.
pub(super) async fn more_partitions(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(2).await?;
    tokio::time::sleep(secs(2)).await;
    let before: usize = given(group, &names)?;
    group.kafka().create_partitions(&group.topic, 6).await?;
    group.spread_to(6);
    let (directory, members) = (group.directory().to_owned(), names.clone());
    let more = || async {
        let mut now = 0;
        for name in &members {
            let log = std::fs::read_to_string(directory.join(format!("{name}.jsonl")))?;
            now += moved(&support::event::parse(&log)?, 0);
        }
        anyhow::ensure!(now >= before + 3, "{now} partitions were dealt, {before} before");
        Ok(())
    };
    support::eventually(JOIN_DEADLINE, "the new partitions are dealt", more).await?;
    tokio::time::sleep(secs(2)).await;
    Ok(())
}

fn given(group: &Group, names: &[String]) -> anyhow::Result<usize> {
    names.iter().map(|name| Ok(moved(&group.events_of(name)?, 0))).sum()
}
