//! `retry_topics`: which topics records wait in.

use super::cluster::Cluster;
use super::listener::unsafe_producer;
use super::reader::Reader;
use super::report::{Problem, shown};
use super::settings::{FailurePolicies, RetryTopicSettings};
use super::subscription::illegal_topic;
use super::value::Origin;
use crate::retry_topics::Suffix;

/// `None`: without delays there are none.
pub(super) fn read(
    topics: &[String],
    group_id: &str,
    cluster: &Cluster,
    reader: &mut Reader<'_>,
) -> Option<RetryTopicSettings> {
    reader.inner("retry_topics", |reader| {
        let delays = reader.durations("delays");
        let topic = reader.text("topic");
        let suffix = match reader.choice("suffix").value {
            "index" => Suffix::Index,
            _ => Suffix::Delay,
        };
        if delays.value.is_empty() {
            return None;
        }
        let origin = if topic.is_set() { &topic.origin } else { &delays.origin };
        let settings = RetryTopicSettings { delays: delays.value, topic: topic.value.clone(), suffix };
        if !topic.broken
            && let Some(problem) = check_names(&settings, topics, origin)
        {
            reader.report.add(problem);
        }
        if !cluster.producer.is_safe {
            reader.report.add(unsafe_producer(&delays.origin, "retry topics"));
        }
        (!group_id.is_empty()).then_some(settings)
    })
}

/// For the start line.
pub(super) fn note(settings: &RetryTopicSettings, topics: &[String], failures: &FailurePolicies) -> String {
    let times = match failures.default.retry.attempts {
        Some(1) | None => "once".to_owned(),
        Some(attempts) => format!("{attempts} times"),
    };
    let topics = settings.all_topics(topics).join(", ");
    format!("retry_topics: records that fail wait in {topics}; each is delivered {times} in each topic")
}

/// What is wrong with the topics' names: they have to be legal, and nothing may come back without waiting.
fn check_names(settings: &RetryTopicSettings, topics: &[String], origin: &Origin) -> Option<Problem> {
    let mut taken: Vec<(String, &str)> = Vec::new();
    for source in topics {
        for name in settings.all_topics(std::slice::from_ref(source)) {
            if let Some(reason) = illegal_topic(&name) {
                let message = format!("`{}` is not the name of a retry topic", shown(&name));
                return Some(Problem::new(origin, message).help(reason));
            }
            if topics.contains(&name) {
                let problem = Problem::new(origin, format!("records of `{source}` would wait in `{name}`"));
                return Some(problem.help("the listener reads that topic itself, without waiting"));
            }
            if let Some((_, other)) = taken.iter().find(|(taken, _)| *taken == name) {
                let message = format!("records of `{other}` and of `{source}` would wait in one topic, `{name}`");
                return Some(Problem::new(origin, message).help("`{topic}` in `retry_topics.topic` tells them apart"));
            }
            taken.push((name, source));
        }
    }
    None
}
