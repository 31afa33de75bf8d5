//! What befalls connections.

use std::time::Duration;

use rdkafka::types::RDKafkaApiKey as Api;
use support::clock::monotonic;
use support::event::What;
use support::{Effect, Requests};

use super::super::group::Group;
use super::super::setting::SESSION;
use super::{moved, secs};

/// What a revoke may take beyond its budget: the process gets a processor when it gets one.
const REVOKE_SLACK: Duration = Duration::from_secs(2);

/// A member has to give partitions up and nobody answers its commit.
pub(super) async fn commit_held_in_revoke(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(2).await?;
    tokio::time::sleep(secs(1)).await;
    // Alone, so that its heartbeats and joins get through.
    let held = group.disturb(&names[0], &Requests::to(Api::OffsetCommit), Effect::HoldRequestAlone)?;
    held.wait_for_hit().await?;
    let third = group.join()?;
    group.wait_until_assigned(&[third]).await?;
    tokio::time::sleep(secs(1)).await;
    group.heal(held)?;
    let events = group.events_of(&names[0])?;
    let mut began = None;
    for event in &events {
        match event.what {
            What::Revoking { .. } => began = Some(event.at),
            What::Revoked { .. } | What::Lost { .. } => {
                if let Some(began) = began.take() {
                    let took = Duration::from_nanos(event.at - began);
                    let bound = Duration::from_secs(5) + REVOKE_SLACK;
                    group.expect(took <= bound, || format!("a revoke of {} took {took:?}", names[0]))?;
                }
            }
            _ => {}
        }
    }
    group.expect(moved(&events, 0) > 0, || "nothing was revoked".to_owned())
}

/// Nothing passes for less than a session, for everybody at once.
pub(super) async fn mute(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(3).await?;
    tokio::time::sleep(secs(2)).await;
    let settled = monotonic();
    for _ in 0..3 {
        let disturbed = names
            .iter()
            .map(|name| group.disturb(name, &Requests::all(), Effect::HoldRequest))
            .collect::<anyhow::Result<Vec<_>>>()?;
        // Well below the session, of which the machine itself may take some.
        let stall = group.dice.millis(1_000..=SESSION / 3);
        tokio::time::sleep(stall).await;
        disturbed.into_iter().try_for_each(|one| group.heal(one))?;
        tokio::time::sleep(secs(2)).await;
    }
    for name in &names {
        let moved = moved(&group.events_of(name)?, settled);
        group.expect(moved == 0, || format!("{moved} partitions of {name} moved"))?;
    }
    Ok(())
}

/// Nothing passes for longer than a session, for everybody at once.
pub(super) async fn cut(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    let names = group.gather(3).await?;
    tokio::time::sleep(secs(1)).await;
    let disturbed = names
        .iter()
        .map(|name| group.disturb(name, &Requests::all(), Effect::HoldRequest))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let cut = Duration::from_millis(SESSION) + group.dice.millis(2_000..=5_000);
    tokio::time::sleep(cut).await;
    disturbed.into_iter().try_for_each(|one| group.heal(one))?;
    tokio::time::sleep(secs(5)).await;
    Ok(())
}

/// One after the other, everything that a connection can do.
pub(super) async fn wire(group: &mut Group) -> anyhow::Result<()> {
    group.produce();
    group.gather(3).await?;
    let effects = [
        (Requests::to(Api::OffsetCommit).first(3), Effect::Reset),
        (Requests::to(Api::OffsetCommit).first(3), Effect::ResetAfterApply),
        (Requests::to(Api::OffsetCommit).first(1), Effect::LoseAnswer),
        (Requests::to(Api::Fetch).first(5), Effect::Reset),
        (Requests::to(Api::Heartbeat).first(1), Effect::HalfOpen),
        (Requests::to(Api::Fetch).first(1), Effect::HalfOpen),
        (Requests::all(), Effect::Delay(Duration::from_millis(300))),
    ];
    for (requests, effect) in effects {
        let victim = group.victim()?;
        let disturbed = group.disturb(&victim, &requests, effect)?;
        // Until it has hit, and the request it hit is given up.
        disturbed.wait_for_hit().await?;
        tokio::time::sleep(secs(3)).await;
        group.heal(disturbed)?;
    }
    Ok(())
}
