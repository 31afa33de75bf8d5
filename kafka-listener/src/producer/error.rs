//! Why a record was not acknowledged.

use crate::kafka::SendFailure;
use crate::kafka::ffi::Outgoing;

/// Why a record was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The payload cannot be encoded. Nothing was sent.
    #[error("encode the payload of a record for topic `{topic}`: {reason}")]
    Encode {
        /// Where it was to go.
        topic: String,
        /// What the encoder said.
        reason: String,
    },
    /// The record is larger than the producer (`message.max.bytes`) or the broker allows.
    #[error("a record of {size} bytes is too large for topic `{topic}`")]
    TooLarge {
        /// Where it was to go.
        topic: String,
        /// Bytes of key, payload and headers.
        size: usize,
    },
    /// The topic does not exist. It is not created.
    #[error("there is no topic `{topic}`")]
    UnknownTopic {
        /// Where it was to go.
        topic: String,
    },
    /// The topic has no such partition.
    #[error("topic `{topic}` has no partition {partition}")]
    UnknownPartition {
        /// Where it was to go.
        topic: String,
        /// The partition that was asked for.
        partition: i32,
    },
    /// The broker refused the record.
    #[error("send to topic `{topic}`: {reason}")]
    Refused {
        /// Where it was to go.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// No answer within `delivery_timeout`. The record may be stored.
    #[error("send to topic `{topic}`: no answer within `delivery_timeout`; the record may be stored")]
    TimedOut {
        /// Where it was to go.
        topic: String,
    },
    /// The client broke down, and the next record is sent by a new one; or the registry is gone. The record may be stored.
    #[error("send to topic `{topic}`: {reason}; the record may be stored")]
    Interrupted {
        /// Where it was to go.
        topic: String,
        /// What happened to the client.
        reason: String,
    },
    /// No client can be made: librdkafka refuses its configuration.
    #[error("create the producer: {reason}")]
    NotCreated {
        /// What librdkafka said.
        reason: String,
    },
}

impl SendError {
    /// Whether sending the record again may help without anybody changing anything but the cluster.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Encode { .. } | Self::TooLarge { .. } | Self::NotCreated { .. })
    }

    pub(crate) fn of(failure: SendFailure, record: &Outgoing<'_>) -> Self {
        let topic = record.topic.to_owned();
        match failure {
            SendFailure::NotCreated(reason) => Self::NotCreated { reason },
            SendFailure::TimedOut => Self::TimedOut { topic },
            SendFailure::BrokeDown(reason) => Self::Interrupted { topic, reason },
            SendFailure::Refused(error) => match (error.code, record.partition) {
                (code::TOO_LARGE | code::LIST_TOO_LARGE, _) => Self::TooLarge { topic, size: size(record) },
                (code::LOCAL_UNKNOWN_TOPIC, _) | (code::UNKNOWN_TOPIC_OR_PARTITION, None) => {
                    Self::UnknownTopic { topic }
                }
                (code::LOCAL_UNKNOWN_PARTITION | code::UNKNOWN_TOPIC_OR_PARTITION, Some(partition)) => {
                    Self::UnknownPartition { topic, partition }
                }
                _ => Self::Refused { topic, reason: error.to_string() },
            },
        }
    }

    /// Whether the broker may have the record all the same. One that it refused it may have appended before.
    pub(crate) fn may_be_stored(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Interrupted { .. } | Self::Refused { .. })
    }

    /// A short word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Encode { .. } => "encode",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownTopic { .. } => "unknown_topic",
            Self::UnknownPartition { .. } => "unknown_partition",
            Self::Refused { .. } => "refused",
            Self::TimedOut { .. } => "timed_out",
            Self::Interrupted { .. } => "interrupted",
            Self::NotCreated { .. } => "not_created",
        }
    }
}

fn size(record: &Outgoing<'_>) -> usize {
    record.key.map_or(0, <[u8]>::len) + record.payload.map_or(0, <[u8]>::len) + record.headers.len()
}

mod code {
    pub(super) const TOO_LARGE: i32 = 10;
    pub(super) const LIST_TOO_LARGE: i32 = 18;
    pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i32 = 3;
    pub(super) const LOCAL_UNKNOWN_TOPIC: i32 = -188;
    pub(super) const LOCAL_UNKNOWN_PARTITION: i32 = -190;
}
