//! The rows of the fault matrix: what befalls a group, what it is promised, and where that can be shown.

use std::str::FromStr;

use super::site::Kind::{self, Mock, One, Three};

/// A row of the fault matrix, or one of two ways into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Kill,
    Stop,
    KillInLastCommit,
    Roll,
    StaticRoll,
    StaticGone,
    Twins,
    TwinsOfConsumer,
    Zombie,
    Join,
    Flap,
    Outlive,
    Lost,
    CommitRetried,
    Evicted,
    CommitHeldInRevoke,
    Spare,
    BrokerKill,
    BrokerRestart,
    BrokerAwayAtStart,
    BrokerAwayForLong,
    StopWithoutBroker,
    CoordinatorKill,
    LeaderMoves,
    LeaderMovesAtOnce,
    TopicDeleted,
    TopicRecreated,
    TopicMissing,
    Retention,
    OffsetsExpired,
    MorePartitions,
    Stall,
    Mute,
    BrokerStall,
    Cut,
    BrokerFreeze,
    Wire,
    ClockJump,
    FewFiles,
}

/// What is known of a row before it is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    /// Its number in the matrix.
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) promise: &'static str,
    /// Where it is run when it is run by itself.
    pub(crate) site: Kind,
    /// How likely it is among those that the nemesis can do now; with 0 it is run by itself only.
    pub(crate) weight: u64,
    /// It is run for every change.
    pub(crate) in_gate: bool,
}

impl Row {
    pub(crate) const ALL: [Self; 39] = [
        Self::Kill,
        Self::Stop,
        Self::KillInLastCommit,
        Self::Roll,
        Self::StaticRoll,
        Self::StaticGone,
        Self::Twins,
        Self::TwinsOfConsumer,
        Self::Zombie,
        Self::Join,
        Self::Flap,
        Self::Outlive,
        Self::Lost,
        Self::CommitRetried,
        Self::Evicted,
        Self::CommitHeldInRevoke,
        Self::Spare,
        Self::BrokerKill,
        Self::BrokerRestart,
        Self::BrokerAwayAtStart,
        Self::BrokerAwayForLong,
        Self::StopWithoutBroker,
        Self::CoordinatorKill,
        Self::LeaderMoves,
        Self::LeaderMovesAtOnce,
        Self::TopicDeleted,
        Self::TopicRecreated,
        Self::TopicMissing,
        Self::Retention,
        Self::OffsetsExpired,
        Self::MorePartitions,
        Self::Stall,
        Self::Mute,
        Self::BrokerStall,
        Self::Cut,
        Self::BrokerFreeze,
        Self::Wire,
        Self::ClockJump,
        Self::FewFiles,
    ];

    #[rustfmt::skip] // a table
    pub(crate) fn about(self) -> About {
        let row = |number, name, fault, promise, site, weight, in_gate| About { number, name, fault, promise, site, weight, in_gate };
        match self {
            Self::Kill => row(17, "kill", "kill -9 of a member under load", "nothing lost; repeats: what finished in one commit interval and round trip, and the record that ran", One, 5, false),
            Self::Stop => row(18, "stop", "SIGTERM of a member under load", "nothing twice; the others take over at once; exit 0", One, 5, false),
            Self::KillInLastCommit => row(19, "kill-in-last-commit", "kill -9 of a member while its last commit is on its way", "as for a kill", One, 1, true),
            Self::Roll => row(20, "roll", "every member replaced in turn", "nothing twice", One, 1, false),
            Self::StaticRoll => row(21, "static-roll", "static members restarted in turn, each back within its session", "no partition moves, nobody else sees a rebalance, nothing twice", One, 0, true),
            Self::StaticGone => row(22, "static-gone", "a static member gone for longer than its session", "the others take over; as for a kill", One, 0, false),
            Self::Twins => row(23, "twins", "two members with one `group_instance_id`", "the old one ends with an error and commits nothing more; the new one goes on", One, 0, true),
            Self::TwinsOfConsumer => row(23, "twins-of-consumer", "the same in a group of the `consumer` protocol", "the new one waits until the old one has gone", One, 0, false),
            Self::Zombie => row(24, "zombie", "a member frozen for longer than its session, and woken", "starts at most the record that had passed its check; its commits are refused", One, 3, false),
            Self::Join => row(25, "join", "members join under load", "nothing twice", One, 6, false),
            Self::Flap => row(26, "flap", "a member comes or goes every half second", "nothing lost or twice, and work goes on", One, 1, true),
            Self::Outlive => row(27, "outlive", "handlers outlive `revoke_timeout` at a revoke", "at most the record that ran repeats", One, 0, true),
            Self::Lost => row(28, "lost", "a member cut off for longer than its session", "it commits nothing more, and comes back by itself", One, 1, true),
            Self::CommitRetried => row(29, "commit-retried", "commits are refused for now: coordinator loading, moved, timed out", "sent again until they get through; nothing twice", Mock, 0, false),
            Self::Evicted => row(30, "evicted", "a member thrown out of its group between two commits", "nothing is committed with the old membership; it comes back by itself", One, 2, true),
            Self::CommitHeldInRevoke => row(31, "commit-held-in-revoke", "the commit of a revoke is not answered", "the revoke ends within `revoke_timeout`", One, 0, true),
            Self::Spare => row(34, "spare", "more members than partitions", "a spare is quiet, costs no processor, and takes over", One, 0, true),
            Self::BrokerKill => row(35, "broker-kill", "kill -9 of a broker that leads partitions, and back", "nothing lost; what was not committed may repeat", Three, 1, false),
            Self::BrokerRestart => row(36, "broker-restart", "the only broker restarted", "goes on when it is back", One, 1, false),
            Self::BrokerAwayAtStart => row(37, "broker-away-at-start", "no broker at the start", "members wait for it and join", One, 0, false),
            Self::BrokerAwayForLong => row(38, "broker-away-for-long", "no broker for longer than session and `max_poll_interval`", "as a restart, and a new join; memory stays flat", One, 0, false),
            Self::StopWithoutBroker => row(39, "stop-without-broker", "members stopped while no broker is there", "they end within `shutdown_timeout`, by themselves, and say what they could not commit", One, 0, false),
            Self::CoordinatorKill => row(40, "coordinator-kill", "kill -9 of the group's coordinator", "nothing lost; what was not committed may repeat", Three, 0, false),
            Self::LeaderMoves => row(41, "leader-moves", "brokers stopped in turn: every partition changes its leader", "no record skipped, none twice but what was not committed", Three, 0, false),
            Self::LeaderMovesAtOnce => row(41, "leader-moves-at-once", "the leaders of all partitions change every second, brokers staying up", "no record skipped, none twice", Mock, 0, false),
            Self::TopicDeleted => row(43, "topic-deleted", "the topic deleted under a running group", "members stay alive and stop in good order", One, 0, false),
            Self::TopicRecreated => row(44, "topic-recreated", "the topic deleted and created again with fewer records", "the new log is read from its begin", One, 0, false),
            Self::TopicMissing => row(45, "topic-missing", "the topic is not there at the start", "`wait`: joined when it comes; `fail`: an error that names it", One, 0, false),
            Self::Retention => row(46, "retention", "records deleted by retention before they were read", "the rest is handled, and none of it twice", One, 0, true),
            Self::OffsetsExpired => row(47, "offsets-expired", "the group's committed offsets expired", "with `earliest` everything is handled again, nothing is lost", One, 0, true),
            Self::MorePartitions => row(48, "more-partitions", "partitions added under a running group", "their records are handled from the first one on", One, 0, true),
            Self::Stall => row(53, "stall", "a member stands still for less than its session", "no rebalance, nothing twice", One, 3, false),
            Self::Mute => row(53, "mute", "the network of a member carries nothing for less than its session", "no rebalance, nothing twice", One, 2, true),
            Self::BrokerStall => row(53, "broker-stall", "a broker stands still for less than a session", "nothing but time", One, 1, false),
            Self::Cut => row(54, "cut", "the network of all members carries nothing for longer than a session", "as a loss; everybody comes back", One, 0, false),
            Self::BrokerFreeze => row(54, "broker-freeze", "a broker stands still for longer than a session", "as a loss; everybody comes back", One, 1, false),
            Self::Wire => row(56, "wire", "connections are reset, half open, slow, and answers are lost", "no commit goes back; repeats only what was not committed", One, 2, true),
            Self::ClockJump => row(58, "clock-jump", "the clock of a member jumps an hour ahead and back", "nothing happens", One, 0, false),
            Self::FewFiles => row(59, "few-files", "64 files for a member with a long backlog, and too few for another one", "memory stays within its limits; too few are an error and no crash", One, 0, false),
        }
    }

    /// The rows that the nemesis throws its dice about.
    pub(crate) fn of_nemesis() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|row| row.about().weight > 0)
    }

    /// Whether it is done to a broker that everybody uses.
    pub(crate) fn is_of_broker(self) -> bool {
        matches!(
            self,
            Self::BrokerKill
                | Self::BrokerRestart
                | Self::BrokerAwayAtStart
                | Self::BrokerAwayForLong
                | Self::StopWithoutBroker
                | Self::BrokerStall
                | Self::BrokerFreeze
                | Self::CoordinatorKill
                | Self::LeaderMoves
                | Self::LeaderMovesAtOnce
        )
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is = |row: &&Self| row.about().name == text || row.about().number.to_string() == text;
        Self::ALL.iter().find(is).copied().ok_or_else(|| {
            let all = Self::ALL.map(|row| format!("{} ({})", row.about().name, row.about().number)).join(", ");
            format!("there is no row `{text}`; there are {all}")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_and_the_first_one_by_its_number() {
        let names: BTreeSet<&str> = Row::ALL.iter().map(|row| row.about().name).collect();
        assert_eq!(names.len(), Row::ALL.len());
        for row in Row::ALL {
            assert_eq!(row.about().name.parse(), Ok(row));
        }
        assert_eq!("23".parse(), Ok(Row::Twins));
        assert!("99".parse::<Row>().is_err());
    }

    #[test]
    fn what_is_run_for_every_change_shares_one_broker_and_leaves_it_alone() {
        for row in Row::ALL.into_iter().filter(|row| row.about().in_gate) {
            assert!(row.about().site == One && !row.is_of_broker(), "{row:?}");
        }
    }
}
