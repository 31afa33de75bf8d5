//! Rows by themselves: each a group of its own that one thing befalls, and what is promised for that in particular.

mod broker;
mod host;
mod members;
mod network;
mod topic;

use std::time::Duration;

use support::event::{Event, What};

use super::group::Group;
use super::nemesis;
use super::row::Row;
use super::setting::Setting;

/// For how long the nemesis repeats a row.
const REPEATING: Duration = Duration::from_secs(20);

/// How the members of a row are set up.
pub(crate) fn setting(row: Row) -> anyhow::Result<Setting> {
    let usual = Setting::new(6, 300)?.with(&["--work-ms", "1"]);
    Ok(match row {
        Row::StaticRoll => usual.set("listener.session_timeout", "30000ms")?,
        Row::TwinsOfConsumer => Setting::of_broker(6, 300).with(&["--set", "listener.group_protocol=consumer"]),
        // Four records a second are what six partitions can do.
        Row::Outlive => Setting::new(6, 3)?.with(&["--work-ms", "1500"]).set("listener.revoke_timeout", "500ms")?,
        Row::Spare => Setting::new(2, 100)?,
        Row::StopWithoutBroker => usual.set("listener.shutdown_timeout", "8000ms")?,
        Row::BrokerAwayForLong => usual.with(&["--set", "listener.max_poll_interval=10s"]),
        Row::TopicMissing => Setting { topic_is_there: false, ..quick_to_look(usual) },
        Row::TopicDeleted | Row::TopicRecreated | Row::LeaderMovesAtOnce => quick_to_look(usual),
        Row::MorePartitions => Setting { partitions: 3, ..quick_to_look(usual) },
        // A request without an answer is given up before the session is over.
        Row::Wire => usual.with(&["--property", "socket.timeout.ms=3000"]),
        _ => usual,
    })
}

/// Looks at the topics once a second.
fn quick_to_look(setting: Setting) -> Setting {
    setting.with(&["--property", "topic.metadata.refresh.interval.ms=1000"])
}

/// Makes a row; whether the topic is still there.
pub(crate) async fn play(row: Row, group: &mut Group) -> anyhow::Result<bool> {
    match row {
        Row::StaticRoll => members::static_roll(group).await?,
        Row::StaticGone => members::static_gone(group).await?,
        Row::Twins => members::twins(group).await?,
        Row::TwinsOfConsumer => members::twins_of_consumer(group).await?,
        Row::Spare => members::spare(group).await?,
        Row::Outlive => members::outlive(group).await?,
        Row::CommitRetried => broker::commit_retried(group).await?,
        Row::LeaderMovesAtOnce => broker::leader_moves_at_once(group).await?,
        Row::BrokerAwayAtStart => broker::away_at_start(group).await?,
        Row::BrokerAwayForLong => broker::away_for_long(group).await?,
        Row::StopWithoutBroker => broker::stop_without(group).await?,
        Row::CommitHeldInRevoke => network::commit_held_in_revoke(group).await?,
        Row::Mute => network::mute(group).await?,
        Row::Cut => network::cut(group).await?,
        Row::Wire => network::wire(group).await?,
        Row::TopicDeleted => {
            topic::deleted(group).await?;
            return Ok(false);
        }
        Row::TopicRecreated => topic::recreated(group).await?,
        Row::TopicMissing => topic::missing(group).await?,
        Row::Retention => topic::retention(group).await?,
        Row::OffsetsExpired => topic::offsets_expired(group).await?,
        Row::MorePartitions => topic::more_partitions(group).await?,
        Row::ClockJump => host::clock_jump(group).await?,
        Row::FewFiles => host::few_files(group).await?,
        // Whatever the nemesis does to one member or broker, again and again.
        Row::Kill
        | Row::Stop
        | Row::KillInLastCommit
        | Row::Roll
        | Row::Zombie
        | Row::Join
        | Row::Flap
        | Row::Lost
        | Row::Evicted
        | Row::Stall
        | Row::BrokerKill
        | Row::BrokerRestart
        | Row::CoordinatorKill
        | Row::LeaderMoves
        | Row::BrokerStall
        | Row::BrokerFreeze => {
            // Who only goes has to be followed by somebody, who only comes by somebody who goes.
            let rows: &[Row] = match row {
                Row::Kill | Row::Stop | Row::KillInLastCommit => &[row, Row::Join],
                Row::Join => &[Row::Join, Row::Stop],
                _ => &[row],
            };
            let rows = nemesis::disturb(group, rows, 1_500..=3_000, REPEATING).await?;
            group.expect(rows.get(&row).is_some_and(|times| *times > 0), || format!("{row:?} was never made"))?;
        }
    }
    Ok(true)
}

/// How many partitions a member was given or had to give since `since`.
fn moved(events: &[Event], since: u64) -> usize {
    let moves = events.iter().filter(|event| event.at >= since).map(|event| match &event.what {
        What::Assigned { partitions } | What::Revoked { partitions } | What::Lost { partitions } => partitions.len(),
        _ => 0,
    });
    moves.sum()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
