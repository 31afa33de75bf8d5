//! What became of a seek.

use std::fmt;

use crate::commit::CommitOutcome;

/// What became of a seek or of the beginning of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeekOutcome {
    /// The partition is read from here on; no record of the time before the call will be started any more.
    Applied {
        /// The offset that is read next.
        offset: i64,
        /// Offsets from the first record that was not done to the target, where that lies ahead; markers of transactions
        /// and compacted records count.
        skipped: u64,
        /// What became of the commit of the target, where the call asks for one and the listener commits. A target that is not committed is read
        /// all the same; what is finished there is committed in its turn.
        commit: Option<CommitOutcome>,
    },
    /// A later seek of the partition took its place before it was carried out.
    Superseded,
    /// This process does not own the partition; or it went, or came anew, before the seek was carried out.
    NotAssigned,
    /// The log has no such offset, or, in a replay, nothing between the two places has been handled. Nothing was done.
    OutOfRange {
        /// The oldest offset.
        first: i64,
        /// The end of the log; in a replay, of what is done.
        end: i64,
    },
    /// The broker did not say in time where that is. Nothing was done.
    Unresolved,
    /// The poll loop is held up, for example by a rebalance. A seek that it has not taken up is withdrawn; one that it has
    /// may still be carried out.
    Unanswered,
}

impl fmt::Display for SeekOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { offset, skipped, commit } => {
                write!(f, "applied: read from offset {offset} on")?;
                if *skipped > 0 {
                    write!(f, ", {skipped} skipped")?;
                }
                commit.map_or(Ok(()), |commit| write!(f, ", commit {commit}"))
            }
            Self::Superseded => f.write_str("superseded by a later seek"),
            Self::NotAssigned => f.write_str("not assigned to this process"),
            Self::OutOfRange { first, end } => write!(f, "out of range: there is {first} to {end}"),
            Self::Unresolved => f.write_str("unresolved: the broker did not say in time where that is"),
            Self::Unanswered => f.write_str("unanswered: the poll loop is held up"),
        }
    }
}
