//! What the nemesis can do: the rows of the fault matrix that it knows, and how likely each is.

use std::str::FromStr;

/// A row of the fault matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// 17: kill -9 of a member.
    Kill,
    /// 18: SIGTERM under load.
    Stop,
    /// 20: every member is replaced in turn.
    Roll,
    /// 24: a member is frozen past its session and wakes.
    Zombie,
    /// 25: a member joins.
    Join,
    /// 35: a broker is killed and comes back.
    BrokerKill,
    /// 36: a broker is restarted.
    BrokerRestart,
    /// 53: a member stands still for less than its session.
    Stall,
    /// 53 at the other end: a broker is frozen for less than a session.
    BrokerStall,
    /// 54: a broker is frozen for longer than a session.
    BrokerFreeze,
}

impl Row {
    pub(crate) const ALL: [Self; 10] = [
        Self::Kill,
        Self::Stop,
        Self::Roll,
        Self::Zombie,
        Self::Join,
        Self::BrokerKill,
        Self::BrokerRestart,
        Self::Stall,
        Self::BrokerStall,
        Self::BrokerFreeze,
    ];

    /// Its number in the matrix.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Kill => 17,
            Self::Stop => 18,
            Self::Roll => 20,
            Self::Zombie => 24,
            Self::Join => 25,
            Self::BrokerKill => 35,
            Self::BrokerRestart => 36,
            Self::Stall | Self::BrokerStall => 53,
            Self::BrokerFreeze => 54,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Roll => "roll",
            Self::Zombie => "zombie",
            Self::Join => "join",
            Self::BrokerKill => "broker-kill",
            Self::BrokerRestart => "broker-restart",
            Self::Stall => "stall",
            Self::BrokerStall => "broker-stall",
            Self::BrokerFreeze => "broker-freeze",
        }
    }

    /// How likely it is among those that can be done now.
    pub(crate) fn weight(self) -> u64 {
        match self {
            Self::Join => 6,
            Self::Kill | Self::Stop => 5,
            Self::Zombie | Self::Stall => 3,
            Self::Roll | Self::BrokerKill | Self::BrokerRestart | Self::BrokerStall | Self::BrokerFreeze => 1,
        }
    }

    /// Whether it is done to a broker.
    pub(crate) fn is_of_broker(self) -> bool {
        matches!(self, Self::BrokerKill | Self::BrokerRestart | Self::BrokerStall | Self::BrokerFreeze)
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|row| row.name() == text || row.number().to_string() == text);
        known.copied().ok_or_else(|| {
            let all = Self::ALL.map(|row| format!("{} ({})", row.name(), row.number())).join(", ");
            format!("there is no row `{text}`; there are {all}")
        })
    }
}
