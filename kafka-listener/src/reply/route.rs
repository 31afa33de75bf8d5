//! Where a reply goes: a topic of the configuration, or the one that the record asks for. Pure.

use std::fmt;

use crate::record::HeaderIter;

const REPLY_TOPIC: &str = "kafka_replyTopic";
const REPLY_PARTITION: &str = "kafka_replyPartition";

/// `send_to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SendTo {
    /// With `{topic}` for the topic that a record was read from.
    Topic(String),
    /// `{reply_topic}`: the one that the record's `kafka_replyTopic` names.
    ReplyTopic,
}

/// Where the replies to one record go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) topic: String,
    /// The one that the record asks for.
    pub(crate) partition: Option<i32>,
    /// Whether the record names the topic, and not the configuration.
    pub(crate) is_asked_for: bool,
}

/// Why a record cannot be replied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoute {
    #[error("the record has no header `{REPLY_TOPIC}`, which `send_to = \"{{reply_topic}}\"` sends its reply to")]
    Missing,
    #[error("the header `{REPLY_TOPIC}` is not the name of a topic")]
    NoTopic,
    #[error("the header `{REPLY_TOPIC}` names `{0}`, which the listener itself reads")]
    OwnTopic(String),
    #[error(
        "the header `{REPLY_PARTITION}` is not a partition: it has to be an integer of 4 bytes, big-endian, from 0"
    )]
    NoPartition,
}

impl SendTo {
    /// The topics that are known before the first record, for the listener's own topics.
    pub(crate) fn topics(&self, sources: &[String]) -> Vec<String> {
        let Self::Topic(template) = self else { return Vec::new() };
        let mut topics: Vec<String> = sources.iter().map(|source| named(template, source)).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// Where replies to a record of `source` with these headers go. Of several headers of one name the last one counts.
    ///
    /// The partition that a record asks for is one of the topic that it asks for: it means nothing in another.
    pub(super) fn route(&self, source: &str, headers: HeaderIter<'_>, own: &[String]) -> Result<Route, NoRoute> {
        let (mut topic, mut partition) = (None, None);
        for (name, value) in headers {
            match str::from_utf8(name) {
                Ok(REPLY_TOPIC) => topic = Some(value),
                Ok(REPLY_PARTITION) => partition = Some(value),
                _ => {}
            }
        }
        let (topic, is_asked_for) = match self {
            Self::Topic(template) => {
                let configured = named(template, source);
                if topic.flatten().is_some_and(|asked_for| asked_for != configured.as_bytes()) {
                    partition = None;
                }
                (configured, false)
            }
            Self::ReplyTopic => (asked_for(topic.ok_or(NoRoute::Missing)?, own)?, true),
        };
        let number = |value: Option<&[u8]>| {
            let number = value.and_then(|value| value.try_into().ok()).map(i32::from_be_bytes);
            number.filter(|number| *number >= 0).ok_or(NoRoute::NoPartition)
        };
        Ok(Route { topic, partition: partition.map(number).transpose()?, is_asked_for })
    }
}

fn named(template: &str, source: &str) -> String {
    template.replace("{topic}", source)
}

/// A requester chooses a topic by its name, and not one whose records would come back to this listener.
fn asked_for(name: Option<&[u8]>, own: &[String]) -> Result<String, NoRoute> {
    let name = name.and_then(|name| str::from_utf8(name).ok()).ok_or(NoRoute::NoTopic)?;
    if name.is_empty() || crate::config::illegal_topic(name).is_some() {
        return Err(NoRoute::NoTopic);
    }
    if own.iter().any(|own| own == name) {
        return Err(NoRoute::OwnTopic(name.to_owned()));
    }
    Ok(name.to_owned())
}

impl fmt::Display for SendTo {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic(template) => template,
            Self::ReplyTopic => "{reply_topic}",
        })
    }
}
