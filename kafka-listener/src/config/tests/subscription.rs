//! What a listener reads: partitions without a group, patterns, ends, and the order of starts.

use super::{definition, refused, sources, variables};
use crate::config::{InitialOffset, ListenerSettings, PartitionSelection, Place, resolve};
use crate::definition::AttributeValue::{Bool, List, Pairs, Str};
use crate::definition::{AttributeValue, ListenerDefinition};

/// The settings of one listener with these arguments and this file.
fn settings(attributes: &[(&'static str, AttributeValue)], toml: &str) -> ListenerSettings {
    let mut resolved =
        resolve(&sources(toml), &[definition("a", 3, attributes)]).unwrap_or_else(|error| panic!("{error}"));
    resolved.listeners.swap_remove(0).settings
}

fn selections(settings: &ListenerSettings) -> Vec<(&str, String)> {
    let standalone = settings.standalone.as_ref().expect("it has partitions");
    standalone.partitions.iter().map(|(topic, selection)| (topic.as_str(), spell(selection))).collect()
}

fn spell(selection: &PartitionSelection) -> String {
    let at = |start: &Option<InitialOffset>| start.map_or_else(String::new, |start| format!("@{start}"));
    match selection {
        PartitionSelection::All(start) => format!("*{}", at(start)),
        PartitionSelection::Named(named) => {
            named.iter().map(|(partition, start)| format!("{partition}{}", at(start))).collect::<Vec<_>>().join(",")
        }
    }
}

#[test]
fn partitions_are_given_for_every_topic_or_by_topic_in_attribute_file_and_environment() {
    let by_attribute = settings(&[("partitions", Pairs(&[("prices", "0-2,7@end"), ("${app.t:-rates}", "*")]))], "");
    assert_eq!(selections(&by_attribute), [("prices", "0,1,2,7@end".to_owned()), ("rates", "*".to_owned())]);
    assert_eq!(
        (by_attribute.topics, by_attribute.group_id.as_str()),
        (vec!["prices".to_owned(), "rates".to_owned()], "")
    );

    let topics = [("topics", List(&["prices", "rates"])), ("partitions", Str("*"))];
    let for_all = settings(&topics, "[listeners.a]\npartitions = '0-1'");
    assert_eq!(selections(&for_all), [("prices", "0,1".to_owned()), ("rates", "0,1".to_owned())]);

    let by_file = settings(&[], "[listeners.a]\npartitions = { 'prices.v1' = '3', rates = '*' }");
    assert_eq!(selections(&by_file), [("prices.v1", "3".to_owned()), ("rates", "*".to_owned())]);
    let wins = settings(&[("partitions", Pairs(&[("prices", "*")]))], "[listeners.a]\npartitions = { rates = '1' }");
    assert_eq!(selections(&wins), [("rates", "1".to_owned())], "one layer counts, not a mixture of both");

    let environment = [("KAFKA_LISTENER__LISTENERS__A__PARTITIONS", r#"{"prices":"0@5"}"#)];
    let resolved = resolve(&variables(sources(""), &environment), &[definition("a", 3, &[])]).unwrap();
    assert_eq!(selections(&resolved.listeners[0].settings), [("prices", "0@5".to_owned())]);
}

#[test]
fn without_a_group_nothing_is_committed_and_reading_begins_at_the_beginning() {
    let plain = settings(&[("topic", Str("prices")), ("partitions", Str("*"))], "[listener]\ngroup_id = 'for-others'");
    let standalone = plain.standalone.as_ref().unwrap();
    assert_eq!((plain.group_id.as_str(), plain.commits(), plain.completes()), ("", false, false));
    assert_eq!(standalone.initial_offset, InitialOffset::From(Place::Beginning, 0));

    let commits = [("topic", Str("prices")), ("partitions", Str("*")), ("commit", Bool(true)), ("group_id", Str("g"))];
    let commits = settings(&commits, "");
    assert_eq!((commits.group_id.as_str(), commits.commits()), ("g", true));
    assert_eq!(commits.standalone.unwrap().initial_offset, InitialOffset::From(Place::Committed, 0));
}

#[test]
fn settings_of_groups_in_a_shared_block_are_for_the_others() {
    let shared = "[listener]\ngroup_id = 'g'\ngroup_protocol = 'consumer'\non_stuck = 'leave'\nack_mode = 'record'\n\
                  sync_commits = true\n[listeners.b]\ntopic = 'orders'\n";
    let reader = [("topic", Str("prices")), ("partitions", Str("*"))];
    let both = [definition("a", 3, &reader), definition("b", 9, &[])];
    let resolved = resolve(&sources(shared), &both).unwrap_or_else(|error| panic!("{error}"));
    let reader = &resolved.listeners[0].settings;
    assert_eq!((reader.group_id.as_str(), reader.sync_commits), ("", false));
    assert!(!reader.client_properties.iter().any(|(name, _)| name == "group.protocol"));
}

#[test]
fn a_pattern_takes_the_place_of_topics_that_are_less_specific() {
    let by_pattern =
        settings(&[("topic", Str("orders")), ("group_id", Str("g"))], "[listeners.a]\ntopic_pattern = '^x'");
    assert_eq!((by_pattern.topics.len(), by_pattern.topic_pattern.as_deref()), (0, Some("^x")));
    let pattern = [("topic_pattern", Str("^orders")), ("group_id", Str("g"))];
    let by_name = settings(&pattern, "[listeners.a]\ntopic = 'orders'");
    assert_eq!((by_name.topics.len(), by_name.topic_pattern), (1, None));
}

/// The report for a listener with these arguments, and beside it `load`, which completes, and `tail`, which does not.
fn report_of(attributes: &[(&'static str, AttributeValue)], toml: &str) -> String {
    let standalone = [("topic", Str("prices")), ("partitions", Str("*"))];
    let load: Vec<_> = standalone.into_iter().chain([("until", Str("end"))]).collect();
    let definitions: [ListenerDefinition; 3] =
        [definition("a", 3, attributes), definition("load", 9, &load), definition("tail", 12, &standalone)];
    refused(resolve(&sources(toml), &definitions))
}

#[test]
fn what_does_not_go_together_is_refused_with_its_place() {
    let topic = ("topic", Str("orders"));
    let group = ("group_id", Str("g"));
    let all = ("partitions", Str("*"));
    let cases: &[(&[(&'static str, AttributeValue)], &str)] = &[
        (&[topic, ("partitions", Str("0-5;7"))], ""),
        (&[topic, ("partitions", Str("5-2"))], ""),
        (&[topic], "[listeners.a]\npartitions = { orders = 3 }"),
        (&[("partitions", Pairs(&[("or ders", "*")]))], ""),
        (&[topic, ("partitions", Pairs(&[("orders", "*")]))], ""),
        (&[all], ""),
        (&[topic, all, ("initial_offset", Str("latest"))], ""),
        (&[topic, all, ("initial_offset", Str("committed"))], ""),
        (&[topic, all, ("commit", Bool(true))], ""),
        (&[topic, all], "[listeners.a]\ngroup_id = 'g'\nack_mode = 'record'\ncommit_interval = '1s'"),
        (
            &[topic, all],
            "[listeners.a]\npartition_assignment_strategy = 'range'\ngroup_instance_id = 'pod'\nsession_timeout = '10s'",
        ),
        (&[topic, group, ("until", Str("end"))], "[listeners.a]\ncommit = true\ninitial_offset = 5"),
        (&[topic, all], "[listeners.a]\nuntil_timeout = '5m'"),
        (&[topic, all], "[listeners.a]\nretry_topics.delays = ['1s']"),
        (&[topic, all, ("until", Str("beginning"))], ""),
        (&[("topic_pattern", Str("orders.*")), group], ""),
        (&[("topic_pattern", Str("^(orders|returns")), group], "[listeners.a]\nuntil_timeout = '5m'"),
        (&[group], "[listeners.a]\ntopic_pattern = '^[orders'"),
        (&[("topic_pattern", Str("^orders")), topic, group], ""),
        (&[("topic_pattern", Str("^orders")), all], ""),
        (&[("topic_pattern", Str("^orders")), group], "[listeners.a]\non_failure = 'dead_letter'"),
        (&[topic, group, ("start_after", List(&["laod"]))], ""),
        (&[topic, group, ("start_after", List(&["tail", "load"]))], ""),
        (&[topic, group, ("start_after", List(&["load"]))], "only = ['a']"),
        (&[topic, group, ("start_after", List(&["load"])), ("auto_startup", Bool(false))], ""),
        (&[topic, all, ("until", Str("end")), ("start_after", List(&["load"]))], "[listeners.load]\nstart_after = 'a'"),
        (&[topic, all, ("until", Str("end")), ("start_after", List(&["a"]))], ""),
        (&[topic, group], "[listeners.load]\ngroup_id = 'g'\ncommit = true"),
        (
            &[topic, all, group, ("commit", Bool(true))],
            "[listeners.tail]\ntopic = 'orders'\ngroup_id = 'g'\ncommit = true",
        ),
    ];
    let reports: Vec<String> = cases.iter().map(|(attributes, toml)| report_of(attributes, toml)).collect();
    insta::assert_snapshot!(reports.join("\n────\n\n"));
}
