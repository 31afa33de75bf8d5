//! What retry topics are called: as Spring calls them, so that a service can be moved with its topics. Pure.

use std::fmt;
use std::time::Duration;

use crate::config::RetryTopicSettings;

/// `retry_topics.suffix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suffix {
    /// The delay in milliseconds.
    Delay,
    /// A number from 0.
    Index,
}

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delay => "delay",
            Self::Index => "index",
        })
    }
}

impl RetryTopicSettings {
    /// How many times a record is put off at most.
    pub(crate) fn stages(&self) -> u32 {
        u32::try_from(self.delays.len()).unwrap_or(u32::MAX)
    }

    /// How long a record waits at a stage, from 1.
    pub(crate) fn delay(&self, stage: u32) -> Duration {
        let at = usize::try_from(stage).unwrap_or(usize::MAX).saturating_sub(1);
        self.delays.get(at).copied().unwrap_or_default()
    }

    /// The retry topic of each stage for records of `source`. Stages that wait equally long share one: those at the end
    /// always, as with Spring, and any others where the suffix is the delay.
    pub(crate) fn topics_for(&self, source: &str) -> Vec<String> {
        let base = self.topic.replace("{topic}", source);
        let last = self.delays.last();
        let same_as_last = self.delays.iter().filter(|delay| Some(*delay) == last).count();
        let topics = (self.delays.len() + 1).saturating_sub(same_as_last.max(1));
        let name = |(index, delay): (usize, &Duration)| match self.suffix {
            _ if topics == 1 => base.clone(),
            Suffix::Delay => format!("{base}-{}", delay.as_millis()),
            Suffix::Index => format!("{base}-{}", index.min(topics - 1)),
        };
        self.delays.iter().enumerate().map(name).collect()
    }

    /// Every retry topic of these sources, once.
    pub(crate) fn all_topics(&self, sources: &[String]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for topic in sources.iter().flat_map(|source| self.topics_for(source)) {
            if !all.contains(&topic) {
                all.push(topic);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(delays: &[u64], suffix: Suffix, expected: &[&str]) {
        let delays = delays.iter().copied().map(Duration::from_millis).collect();
        let settings = RetryTopicSettings { delays, topic: "{topic}-retry".to_owned(), suffix };
        let expected: Vec<_> = expected.iter().map(|suffix| format!("orders-retry{suffix}")).collect();
        assert_eq!(settings.topics_for("orders"), expected);
    }

    #[test]
    fn topics_are_called_as_with_spring() {
        check(&[1000, 2000, 4000], Suffix::Delay, &["-1000", "-2000", "-4000"]);
        check(&[1000, 2000, 4000], Suffix::Index, &["-0", "-1", "-2"]);
        check(&[1000], Suffix::Delay, &[""]);
        check(&[1000], Suffix::Index, &[""]);
        check(&[1000, 1000, 1000], Suffix::Delay, &["", "", ""]);
        check(&[1000, 1000, 1000], Suffix::Index, &["", "", ""]);
        check(&[1000, 2000, 2000], Suffix::Delay, &["-1000", "-2000", "-2000"]);
        check(&[1000, 2000, 2000], Suffix::Index, &["-0", "-1", "-1"]);
        check(&[], Suffix::Delay, &[]);
    }

    #[test]
    fn each_topic_is_read_once() {
        let delays = [1, 2, 2].map(Duration::from_millis).to_vec();
        let settings = RetryTopicSettings { delays, topic: "{topic}-retry".to_owned(), suffix: Suffix::Delay };
        let all = settings.all_topics(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(all, ["a-retry-1", "a-retry-2", "b-retry-1", "b-retry-2"]);
    }
}
