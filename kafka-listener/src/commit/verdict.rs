//! What an error code in the answer to a commit means.
//!
//! Codes are plain integers: a broker may send one that no binding has heard of.

/// Kafka's and librdkafka's codes that a commit can be answered with. Librdkafka's own are negative.
pub(crate) mod code {
    pub(crate) const NO_ERROR: i32 = 0;
    pub(crate) const NOT_LEADER_FOR_PARTITION: i32 = 6;
    pub(crate) const REQUEST_TIMED_OUT: i32 = 7;
    pub(crate) const BROKER_NOT_AVAILABLE: i32 = 8;
    pub(crate) const NETWORK_EXCEPTION: i32 = 13;
    pub(crate) const COORDINATOR_LOAD_IN_PROGRESS: i32 = 14;
    pub(crate) const COORDINATOR_NOT_AVAILABLE: i32 = 15;
    pub(crate) const NOT_COORDINATOR: i32 = 16;
    pub(crate) const ILLEGAL_GENERATION: i32 = 22;
    pub(crate) const UNKNOWN_MEMBER_ID: i32 = 25;
    pub(crate) const REBALANCE_IN_PROGRESS: i32 = 27;
    pub(crate) const FENCED_INSTANCE_ID: i32 = 82;
    pub(crate) const UNSTABLE_OFFSET_COMMIT: i32 = 88;
    pub(crate) const THROTTLING_QUOTA_EXCEEDED: i32 = 89;
    pub(crate) const FENCED_MEMBER_EPOCH: i32 = 110;
    pub(crate) const STALE_MEMBER_EPOCH: i32 = 113;

    /// Some of the many that mean this partition only.
    #[cfg(test)]
    pub(crate) const UNKNOWN_TOPIC_OR_PART: i32 = 3;
    #[cfg(test)]
    pub(crate) const TOPIC_AUTHORIZATION_FAILED: i32 = 29;

    pub(crate) const LOCAL_DESTROY: i32 = -197;
    pub(crate) const LOCAL_TRANSPORT: i32 = -195;
    pub(crate) const LOCAL_RESOLVE: i32 = -193;
    pub(crate) const LOCAL_ALL_BROKERS_DOWN: i32 = -187;
    pub(crate) const LOCAL_TIMED_OUT: i32 = -185;
    pub(crate) const LOCAL_QUEUE_FULL: i32 = -184;
    pub(crate) const LOCAL_WAIT_COORD: i32 = -180;
    pub(crate) const LOCAL_IN_PROGRESS: i32 = -178;
    pub(crate) const LOCAL_PREV_IN_PROGRESS: i32 = -177;
    pub(crate) const LOCAL_NO_OFFSET: i32 = -168;
    pub(crate) const LOCAL_OUTDATED: i32 = -167;
    pub(crate) const LOCAL_TIMED_OUT_QUEUE: i32 = -166;
    pub(crate) const LOCAL_INTR: i32 = -163;
    pub(crate) const LOCAL_RETRY: i32 = -153;
    pub(crate) const LOCAL_FATAL: i32 = -150;
    pub(crate) const LOCAL_FENCED: i32 = -144;
    pub(crate) const LOCAL_ASSIGNMENT_LOST: i32 = -142;
}

/// What to do about one partition of an answered commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Committed,
    /// Send the watermark of then again.
    Retriable,
    /// The generation that it was sent in is over: a rebalance under way, or the end of the membership.
    GenerationOver,
    /// The member is out of the group: its partitions are lost.
    Fenced,
    /// This partition cannot be committed now; the others go on.
    Failed,
}

impl Verdict {
    pub(super) fn of(code: i32) -> Self {
        match code {
            code::NO_ERROR => Self::Committed,
            code::NOT_LEADER_FOR_PARTITION
            | code::REQUEST_TIMED_OUT
            | code::BROKER_NOT_AVAILABLE
            | code::NETWORK_EXCEPTION
            | code::COORDINATOR_LOAD_IN_PROGRESS
            | code::COORDINATOR_NOT_AVAILABLE
            | code::NOT_COORDINATOR
            | code::REBALANCE_IN_PROGRESS
            | code::UNSTABLE_OFFSET_COMMIT
            | code::THROTTLING_QUOTA_EXCEEDED
            | code::STALE_MEMBER_EPOCH
            | code::LOCAL_TRANSPORT
            | code::LOCAL_RESOLVE
            | code::LOCAL_ALL_BROKERS_DOWN
            | code::LOCAL_TIMED_OUT
            | code::LOCAL_QUEUE_FULL
            | code::LOCAL_WAIT_COORD
            | code::LOCAL_IN_PROGRESS
            | code::LOCAL_PREV_IN_PROGRESS
            // Success with nothing: no harm, but nothing that may count as acknowledged either.
            | code::LOCAL_NO_OFFSET
            | code::LOCAL_OUTDATED
            | code::LOCAL_TIMED_OUT_QUEUE
            | code::LOCAL_INTR
            | code::LOCAL_RETRY => Self::Retriable,
            code::ILLEGAL_GENERATION => Self::GenerationOver,
            code::UNKNOWN_MEMBER_ID
            | code::FENCED_INSTANCE_ID
            | code::FENCED_MEMBER_EPOCH
            | code::LOCAL_FATAL
            | code::LOCAL_FENCED
            | code::LOCAL_ASSIGNMENT_LOST => Self::Fenced,
            _ => Self::Failed,
        }
    }
}

/// Whether the broker may have stored the offset although the answer is an error.
pub(super) fn may_have_been_applied(code: i32) -> bool {
    matches!(
        code,
        code::NO_ERROR
            | code::REQUEST_TIMED_OUT
            | code::NETWORK_EXCEPTION
            | code::LOCAL_DESTROY
            | code::LOCAL_TRANSPORT
            | code::LOCAL_TIMED_OUT
            | code::LOCAL_INTR
            | code::LOCAL_FATAL
    )
}

/// Whether the client has given the request up, and the broker may still get it.
pub(super) fn may_arrive_later(code: i32) -> bool {
    matches!(code, code::LOCAL_TRANSPORT | code::LOCAL_TIMED_OUT | code::LOCAL_INTR)
}
