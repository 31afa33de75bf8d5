//! What befalls members: restarts, twins, spares.

use std::time::{Duration, Instant};

use support::clock::monotonic;
use support::event::What;

use super::super::group::{Group, JOIN_DEADLINE};
use super::super::setting::SESSION;
use super::{moved, secs};

/// What a spare may take of one processor: it polls and sends heartbeats.
const QUIET: f64 = 0.25;

fn seat(name: &str) -> String {
    format!("listener.group_instance_id={name}")
}

/// Each of three static members restarts, twice.
pub(super) async fn static_roll(group: &mut Group) -> anyhow::Result<()> {
    let seats = [seat("a"), seat("b"), seat("c")];
    let mut names = Vec::new();
    for seat in &seats {
        names.push(group.join_with(&["--set", seat])?);
    }
    group.wait_until_assigned(&names).await?;
    group.kafka().wait_for_members(&group.id, 3, JOIN_DEADLINE).await?;
    group.produce();
    tokio::time::sleep(secs(1)).await;
    let settled = monotonic();
    for round in 0..6 {
        let (index, began) = (round % seats.len(), Instant::now());
        group.stop(&names[index]).await?;
        names[index] = group.join_with(&["--set", &seats[index]])?;
        group.wait_until_assigned(&names[index..=index]).await?;
        let took = began.elapsed();
        // A machine that took longer than the session has shown nothing.
        anyhow::ensure!(took < secs(25), "the restart took {took:?}, which is no restart within the session");
    }
    for name in &names {
        // Its own seat was given to it when it came.
        let events = group.events_of(name)?;
        let given = events.iter().find(|event| matches!(event.what, What::Assigned { .. })).map_or(0, |event| event.at);
        let moved = moved(&events, settled.max(given + 1));
        group.expect(moved == 0, || format!("{moved} partitions of {name} moved"))?;
    }
    Ok(())
}

/// One of three static members is killed and stays away.
pub(super) async fn static_gone(group: &mut Group) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for name in ["a", "b", "c"] {
        names.push(group.join_with(&["--set", &seat(name)])?);
    }
    group.wait_until_assigned(&names).await?;
    group.produce();
    tokio::time::sleep(secs(2)).await;
    group.kill(&names[0]).await?;
    group.kafka().wait_for_members(&group.id, 2, Duration::from_millis(SESSION) + JOIN_DEADLINE).await?;
    tokio::time::sleep(secs(2)).await;
    Ok(())
}

/// Partitions are given up while their handlers run for three times as long as a revoke waits.
pub(super) async fn outlive(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let mut names = group.gather(2).await?;
    for _ in 0..4 {
        let next = group.join()?;
        group.wait_until_assigned(std::slice::from_ref(&next)).await?;
        names.push(next);
        tokio::time::sleep(secs(2)).await;
        let oldest = names.remove(0);
        // Where a rebalance cuts a record off during the stop, it says so and has not ended well.
        group.harness.write(What::MayFail { member: oldest.clone() })?;
        group.stop(&oldest).await?;
    }
    names.iter().try_for_each(|name| group.harness.write(What::MayFail { member: name.clone() }))
}

/// A second member takes the seat of the first one.
pub(super) async fn twins(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let seat = seat("twin");
    let old = group.join_with(&["--set", &seat])?;
    let neighbour = group.join()?;
    group.wait_until_assigned(&[old.clone(), neighbour]).await?;
    tokio::time::sleep(secs(1)).await;

    // Until it hears of the other one it does not know better.
    group.harness.write(What::MayFail { member: old.clone() })?;
    group.fault_begins("twins: the old one", Some(&old))?;
    let new = group.join_with(&["--set", &seat])?;
    group.fault_begins("twins: the new one", Some(&new))?;
    group.wait_for_exit(&old).await?;
    group.fault_ends("twins: the old one")?;
    group.fault_ends("twins: the new one")?;
    group.wait_until_assigned(&[new]).await?;
    let failed = |what: &What| matches!(what, What::Report { clean: false, .. });
    let said = group.events_of(&old)?.iter().any(|event| failed(&event.what));
    group.expect(said, || format!("{old} ended without an error"))?;
    tokio::time::sleep(secs(2)).await;
    Ok(())
}

/// The seat of a member in a group of the broker's own protocol is not to be taken.
pub(super) async fn twins_of_consumer(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let seat = seat("twin");
    let old = group.join_with(&["--set", &seat])?;
    let neighbour = group.join()?;
    group.wait_until_assigned(&[old.clone(), neighbour]).await?;

    let new = group.join_with(&["--set", &seat])?;
    tokio::time::sleep(secs(5)).await;
    let early = moved(&group.events_of(&new)?, 0);
    group.expect(early == 0, || format!("{new} was given {early} partitions beside {old}"))?;
    let ended = group.member(&old)?.try_exit()?;
    group.expect(ended.is_none(), || format!("{old} ended for the sake of {new}: {ended:?}"))?;

    group.fault_begins("the seat changes", Some(&old))?;
    group.stop(&old).await?;
    group.wait_until_assigned(&[new]).await?;
    group.fault_ends("the seat changes")
}

/// Two partitions and four members; both owners go.
pub(super) async fn spare(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = (0..4).map(|_| group.join()).collect::<anyhow::Result<Vec<_>>>()?;
    group.kafka().wait_for_members(&group.id, names.len(), JOIN_DEADLINE).await?;
    // The first ones give up what they had alone only by and by.
    let (mut owners, mut spares) = (Vec::new(), Vec::new());
    let give_up = Instant::now() + JOIN_DEADLINE;
    while (owners.len(), spares.len()) != (2, 2) {
        anyhow::ensure!(Instant::now() < give_up, "{owners:?} own, {spares:?} do not");
        tokio::time::sleep(Duration::from_millis(100)).await;
        (owners, spares) = names.iter().cloned().partition(|name| owns(group, name));
    }

    let before: Vec<_> = spares.iter().map(|name| used(group, name)).collect::<anyhow::Result<_>>()?;
    let watched = secs(4);
    tokio::time::sleep(watched).await;
    for (name, before) in spares.iter().zip(before) {
        let used = used(group, name)?.saturating_sub(before).as_secs_f64() / watched.as_secs_f64();
        group.expect(used < QUIET, || format!("{name} has nothing to do and takes {used:.2} of a processor for it"))?;
    }
    for owner in &owners {
        group.stop(owner).await?;
    }
    group.wait_until_assigned(&spares).await
}

/// Whether it has partitions now.
fn owns(group: &Group, name: &str) -> bool {
    let events = group.events_of(name).unwrap_or_default();
    let balance = events.iter().map(|event| match &event.what {
        What::Assigned { partitions } => i64::try_from(partitions.len()).unwrap_or_default(),
        What::Revoked { partitions } | What::Lost { partitions } => {
            -i64::try_from(partitions.len()).unwrap_or_default()
        }
        _ => 0,
    });
    balance.sum::<i64>() > 0
}

fn used(group: &Group, name: &str) -> anyhow::Result<Duration> {
    let live = group.members.iter().find(|live| live.member.name() == name);
    live.map_or_else(
        || anyhow::bail!("there is no member `{name}`"),
        |live| super::host::processor_time(live.member.pid()),
    )
}
