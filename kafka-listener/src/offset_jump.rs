//! What it means when a record does not have the offset that was expected next.
//!
//! Pure: the low watermark is whatever the caller last heard of it.

use crate::offset_tracker::CommitOffset;

/// How a record follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetJump {
    /// It is the next one, or the first of its epoch.
    Contiguous,
    /// The offsets between are transaction markers, aborted or compacted records.
    Gap,
    /// The records of `from..to` were deleted by retention before they were read.
    LostToRetention {
        /// The offset that was expected.
        from: i64,
        /// The first offset that was not lost.
        to: i64,
    },
    /// The log was recreated or truncated: a new epoch and a new tracker. The record is new, never a duplicate.
    LogReset {
        /// The offset that was expected.
        expected: i64,
        /// The offset that came.
        got: i64,
    },
}

impl OffsetJump {
    /// Judges a record at `offset` where `expected` would be next, with the low watermark as last heard of.
    ///
    /// A seek of ours starts a new epoch, in which nothing is expected yet.
    pub(crate) fn judge(expected: Option<CommitOffset>, offset: i64, low_watermark: Option<i64>) -> Self {
        let Some(expected) = expected.map(CommitOffset::get) else { return Self::Contiguous };
        match low_watermark {
            _ if offset == expected => Self::Contiguous,
            _ if offset < expected => Self::LogReset { expected, got: offset },
            // Between the low watermark and the record lie markers and compacted records, which nobody lost.
            Some(low) if low > expected => Self::LostToRetention { from: expected, to: low.min(offset) },
            _ => Self::Gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: Option<i64>, offset: i64, low_watermark: Option<i64>, jump: OffsetJump) {
        assert_eq!(OffsetJump::judge(expected.map(CommitOffset::at), offset, low_watermark), jump);
    }

    #[test]
    fn the_first_record_of_an_epoch_jumps_nowhere() {
        check(None, 0, None, OffsetJump::Contiguous);
        check(None, 1_000, Some(990), OffsetJump::Contiguous);
    }

    #[test]
    fn the_expected_record_is_contiguous_whatever_retention_did_since() {
        check(Some(7), 7, None, OffsetJump::Contiguous);
        check(Some(7), 7, Some(9), OffsetJump::Contiguous);
    }

    #[test]
    fn a_jump_ahead_is_a_gap_unless_the_low_watermark_passed_the_expected_offset() {
        check(Some(7), 9, None, OffsetJump::Gap);
        check(Some(7), 9, Some(0), OffsetJump::Gap);
        check(Some(7), 9, Some(7), OffsetJump::Gap);
        check(Some(7), 9, Some(8), OffsetJump::LostToRetention { from: 7, to: 8 });
        check(Some(7), 9, Some(9), OffsetJump::LostToRetention { from: 7, to: 9 });
    }

    #[test]
    fn the_lost_range_ends_at_the_record_when_retention_has_gone_on_since() {
        check(Some(7), 9, Some(50), OffsetJump::LostToRetention { from: 7, to: 9 });
    }

    #[test]
    fn an_offset_below_the_expected_one_is_a_new_log() {
        check(Some(7), 6, None, OffsetJump::LogReset { expected: 7, got: 6 });
        check(Some(7), 0, Some(0), OffsetJump::LogReset { expected: 7, got: 0 });
    }
}
