//! What a listener reads: topics by name or by pattern as a member of its group, or partitions by itself.

use std::time::Duration;

use super::listener::{Remarks, Unread};
use super::parse::PartitionsByTopic;
use super::reader::{Read, Reader, Scope};
use super::report::{Problem, shown};
use super::settings::{InitialOffset, PartitionSelection, Place, Standalone};
use super::value::Origin;
use crate::kafka::pattern_fault;

/// What is read, and the group that knows of it.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) topics: Vec<String>,
    pub(super) pattern: Option<String>,
    pub(super) standalone: Option<Standalone>,
    /// Empty without a group.
    pub(super) group_id: String,
    has_group: bool,
}

/// Keys that mean something to a member of a group only.
const OF_MEMBERS: &[&str] = &[
    "group_protocol",
    "group_remote_assignor",
    "group_instance_id",
    "leave_on_stop",
    "partition_assignment_strategy",
    "session_timeout",
    "heartbeat_interval",
    "on_stuck",
];

/// Keys that mean something to whoever commits only.
const OF_COMMITS: &[&str] = &[
    "ack_mode",
    "sync_commits",
    "ack_time",
    "ack_count",
    "async_acks",
    "ack_drain",
    "commit_interval",
    "max_commit_delay",
    "enable_auto_commit",
    "auto_commit_interval",
];

impl Subscription {
    pub(super) fn read(id: &str, definition: &Origin, reader: &mut Reader<'_>, remarks: &mut Remarks) -> Self {
        let pattern = reader.optional_text("topic_pattern");
        let partitions = reader.partitions();
        let topics = reader.texts("topics");
        let initial_offset = reader.initial_offset();
        let commit = reader.boolean("commit");
        let until = reader.optional_choice("until");
        let until_timeout = reader.optional_duration("until_timeout");

        let is_standalone = partitions.is_set();
        let has_pattern = pattern.is_set() && takes_the_place(&pattern, &topics, "topic_pattern", reader);
        if has_pattern && is_standalone {
            reader.report.add(
                Problem::new(&partitions.origin, "`partitions` does not go with `topic_pattern`")
                    .help(format!("`topic_pattern` is set at {}", pattern.origin))
                    .help("without a group, topics are named one by one"),
            );
        }
        let picked = partitions.value.clone().unwrap_or_default();
        let names_topics = picked.iter().any(|(topic, ..)| topic.is_some());
        let topics = if names_topics {
            takes_the_place(&partitions, &topics, "partitions", reader);
            let named = picked.iter().filter_map(|(topic, node, _)| Some((topic.clone()?, node.origin.clone())));
            legal_topics(named.collect(), reader)
        } else if has_pattern || (partitions.broken && !topics.is_set()) || pattern.broken {
            check_pattern(id, &pattern, reader);
            Vec::new()
        } else {
            named_topics(id, definition, topics, reader)
        };
        let usual = if commit.value { Place::Committed } else { Place::Beginning };
        let initial = initial_offset.value.unwrap_or(InitialOffset::From(usual, 0));
        let partitions_by_topic = by_topic(picked, &topics);
        let needs_committed = is_standalone && {
            let own = partitions_by_topic.iter().flat_map(|(_, selection)| selection.starts());
            own.chain([initial]).any(InitialOffset::needs_committed)
        };
        let has_group = !is_standalone || commit.value || needs_committed;
        let group_id = match (has_group, is_standalone) {
            (false, _) => String::new(),
            (true, false) => group_id(id, definition, reader, &format!("listener `{id}` has no group")),
            (true, true) if commit.value => group_id(id, &commit.origin, reader, "`commit = true` needs a group"),
            (true, true) => group_id(id, &partitions.origin, reader, "the place `committed` needs a group"),
        };
        if is_standalone {
            let until_end = if until.value.is_some() { " until its end" } else { "" };
            remarks.notes.push(format!("reads partitions by itself from {initial}{until_end}"));
        }
        let unread = &mut remarks.unread;
        note_standalone_keys(is_standalone, &initial_offset, &commit, &until, &until_timeout, unread);
        let standalone = is_standalone.then(|| Standalone {
            partitions: partitions_by_topic,
            initial_offset: initial,
            commit: commit.value,
            until_end: until.value.is_some(),
            until_timeout: until_timeout.value,
        });
        let pattern = has_pattern.then_some(pattern.value).flatten();
        Self { topics, pattern, standalone, group_id, has_group }
    }

    /// Refuses settings of groups and commits that were made for this listener and mean nothing here. In a shared block
    /// they are for others.
    pub(super) fn refuse_unread(&self, reader: &mut Reader<'_>) {
        let is_member = self.standalone.is_none();
        let commits = self.standalone.as_ref().is_none_or(|standalone| standalone.commit);
        let groups = OF_MEMBERS.iter().map(|name| (*name, is_member, "`partitions`: such a listener is in no group"));
        let commits = OF_COMMITS.iter().map(|name| (*name, commits, "`partitions` and without `commit = true`"));
        let group_id = ("group_id", self.has_group, "`partitions` and without `commit = true`");
        for (name, is_read, with) in groups.chain(commits).chain([group_id]) {
            if let Some((Scope::Attribute | Scope::Listener, entry)) = reader.entry(name)
                && !is_read
            {
                let message = format!("`{name}` is not read with {with}");
                reader.report.add(Problem::new(&entry.node.origin, message));
            }
        }
    }

    /// Records are put off to topics that belong to a group and to the topics that it reads, by name.
    pub(super) fn refuse_retry_topics(&self, are_set: bool, reader: &mut Reader<'_>) {
        let with = match (&self.standalone, &self.pattern) {
            (Some(_), _) => "partitions",
            (None, Some(_)) => "topic_pattern",
            (None, None) => return,
        };
        let is_own = |scope: Scope| scope >= Scope::Attribute;
        if let Some((_, entry)) = reader.entry("retry_topics").filter(|(scope, _)| are_set || is_own(*scope)) {
            let message = format!("`retry_topics` does not go with `{with}`");
            reader.report.add(Problem::new(&entry.node.origin, message).help("`retry` tries again in place"));
        }
    }

    /// A pattern may match the topics that dead letters go to: a record that fails would come back for ever.
    pub(super) fn refuse_dead_letters(&self, are_published: bool, reader: &mut Reader<'_>) {
        if let Some((_, entry)) = reader.entry("on_failure").filter(|_| are_published && self.pattern.is_some()) {
            reader.report.add(
                Problem::new(&entry.node.origin, "dead letters do not go with `topic_pattern`")
                    .help("the pattern may match the topics that they go to; name the topics that are read"),
            );
        }
    }

    /// What librdkafka is told: it assigns nothing without a group, joined or not.
    pub(super) fn client_group_id(&self, id: &str) -> String {
        if self.group_id.is_empty() { format!("kafka-listener-{id}") } else { self.group_id.clone() }
    }
}

/// Whether a setting that names topics in a way of its own counts, or the list of topics; the more specific does.
fn takes_the_place<T>(
    setting: &Read<Option<T>>,
    topics: &Read<Vec<(String, Origin)>>,
    name: &str,
    reader: &mut Reader<'_>,
) -> bool {
    if topics.is_set() && topics.scope >= setting.scope && !topics.broken {
        if topics.scope == setting.scope || name == "partitions" {
            reader.report.add(
                Problem::new(&setting.origin, format!("both `{name}` and `topics` say which topics are read"))
                    .help(format!("`topics` is set at {}", topics.origin))
                    .help("keep one of the two"),
            );
        }
        return topics.scope == setting.scope;
    }
    true
}

fn check_pattern(id: &str, pattern: &Read<Option<String>>, reader: &mut Reader<'_>) {
    const EXAMPLES: &str =
        "`^orders-.*` matches names that begin with `orders-`, `^.*-orders$` those that end with `-orders`";
    let Some(text) = &pattern.value else { return };
    let problem = if !text.starts_with('^') {
        Problem::new(&pattern.origin, format!("`{}` in `topic_pattern` does not begin with `^`", shown(text)))
    } else if let Some(fault) = pattern_fault(text) {
        let what = format!("`{}` in `topic_pattern` of `{id}` is no regular expression: {fault}", shown(text));
        Problem::new(&pattern.origin, what).help("POSIX extended regular expressions are taken")
    } else {
        return;
    };
    reader.report.add(problem.help(EXAMPLES));
}

fn named_topics(
    id: &str,
    definition: &Origin,
    read: Read<Vec<(String, Origin)>>,
    reader: &mut Reader<'_>,
) -> Vec<String> {
    let (scope, broken, origin, is_empty) = (read.scope, read.broken, read.origin, read.value.is_empty());
    if is_empty && !broken {
        let origin = if scope == Scope::Default { definition } else { &origin };
        reader.report.add(
            Problem::new(origin, format!("listener `{id}` has no topic"))
                .help(format!("`topic = \"…\"` in the attribute, or `topic` in `[listeners.{id}]`")),
        );
    }
    legal_topics(read.value, reader)
}

fn legal_topics(named: Vec<(String, Origin)>, reader: &mut Reader<'_>) -> Vec<String> {
    let mut topics: Vec<String> = Vec::new();
    for (topic, origin) in named {
        if let Some(reason) = illegal_topic(&topic) {
            reader
                .report
                .add(Problem::new(&origin, format!("`{}` is not the name of a topic", shown(&topic))).help(reason));
        } else if topics.contains(&topic) {
            reader.report.add(Problem::new(&origin, format!("topic `{topic}` is named twice")));
        } else {
            topics.push(topic);
        }
    }
    topics
}

/// Kafka's rule for names of topics.
pub(crate) fn illegal_topic(topic: &str) -> Option<&'static str> {
    if topic.starts_with('^') {
        return Some("a pattern is given by `topic_pattern`");
    }
    let legal = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if !topic.chars().all(legal) {
        return Some("Kafka allows letters, digits, `.`, `_` and `-`");
    }
    if topic.len() > 249 || matches!(topic, "." | "..") {
        return Some("Kafka allows up to 249 characters, and neither `.` nor `..`");
    }
    None
}

/// Ranges that name no topic are for each of them.
fn by_topic(picked: PartitionsByTopic, topics: &[String]) -> Vec<(String, PartitionSelection)> {
    let mut result = Vec::new();
    for (topic, _, selection) in picked {
        match topic {
            Some(topic) => result.push((topic, selection)),
            None => result.extend(topics.iter().map(|topic| (topic.clone(), selection.clone()))),
        }
    }
    result
}

fn group_id(id: &str, place: &Origin, reader: &mut Reader<'_>, missing: &str) -> String {
    let read = reader.optional_text("group_id");
    if read.value.is_none() && !read.broken {
        let help = format!("`group_id = \"…\"` in the attribute, in `[listeners.{id}]` or in `[listener]`");
        reader.report.add(Problem::new(place, missing).help(help));
    }
    read.value.unwrap_or_default()
}

fn note_standalone_keys(
    is_standalone: bool,
    initial_offset: &Read<Option<InitialOffset>>,
    commit: &Read<bool>,
    until: &Read<Option<&'static str>>,
    until_timeout: &Read<Option<Duration>>,
    unread: &mut Unread,
) {
    let without_partitions = |key: &str, origin: &Origin| {
        Problem::new(origin, format!("`{key}` is not read without `partitions`"))
            .help("a listener in a group reads what the group gives it, from the committed offset on")
    };
    unread.note_setting(initial_offset, is_standalone, || {
        without_partitions("initial_offset", &initial_offset.origin)
            .help("where nothing is committed `auto_offset_reset` says where to begin")
    });
    if commit.value {
        unread.note_setting(commit, is_standalone, || {
            Problem::new(&commit.origin, "`commit` is not read without `partitions`")
                .help("a listener in a group always commits what is finished")
        });
    }
    unread.note_setting(until, is_standalone, || {
        without_partitions("until", &until.origin).help("`partitions = \"*\"` reads all of a topic without a group")
    });
    let is_read = is_standalone && until.value.is_some();
    unread.note_setting(until_timeout, is_read, || {
        let without = if is_standalone { "until" } else { "partitions" };
        Problem::new(&until_timeout.origin, format!("`until_timeout` is not read without `{without}`"))
    });
}
