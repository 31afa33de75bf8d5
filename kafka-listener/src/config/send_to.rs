//! `send_to`: where what a listener returns is sent.

use super::cluster::Cluster;
use super::listener::{Remarks, Written, unsafe_producer};
use super::reader::Reader;
use super::report::{Problem, shown};
use super::subscription::{Subscription, illegal_topic};
use super::value::Origin;
use crate::reply::SendTo;

const REPLY_TOPIC: &str = "{reply_topic}";

/// `None`: the listener does not reply.
pub(super) fn read(
    written: &Written<'_>,
    subscription: &Subscription,
    cluster: &Cluster,
    reader: &mut Reader<'_>,
    remarks: &mut Remarks,
) -> Option<SendTo> {
    let id = written.possible.listener;
    let read = reader.optional_text("send_to");
    remarks.unread.note(&read.origin, read.scope, written.replies, || {
        Problem::new(&read.origin, format!("listener `{id}` returns nothing that could be sent"))
            .help("`send_to` in its attribute makes what it returns a reply, or it returns a `Reply`")
    });
    if !written.replies || read.broken {
        return None;
    }
    let Some(text) = read.value else {
        reader.report.add(
            Problem::new(&written.place, format!("listener `{id}` returns a `Reply`, and has no `send_to`"))
                .help(format!("`send_to = \"…\"` in the attribute, or in `[listeners.{id}]`")),
        );
        return None;
    };
    if !cluster.producer.is_safe {
        reader.report.add(unsafe_producer(&read.origin, "replies"));
    }
    if subscription.pattern.is_some() {
        reader.report.add(
            Problem::new(&read.origin, "`send_to` does not go with `topic_pattern`")
                .help("the pattern may match the topics that replies go to; name the topics that are read"),
        );
    }
    if text == REPLY_TOPIC {
        return Some(SendTo::ReplyTopic);
    }
    let send_to = SendTo::Topic(text);
    if let Some(problem) = check_names(&send_to, &subscription.topics, &read.origin) {
        reader.report.add(problem);
    }
    Some(send_to)
}

/// What is wrong with the topics' names: they have to be legal, and no reply may come back to the listener.
fn check_names(send_to: &SendTo, topics: &[String], origin: &Origin) -> Option<Problem> {
    for name in send_to.topics(topics) {
        if let Some(reason) = illegal_topic(&name) {
            let problem = Problem::new(origin, format!("`{}` is not the name of a topic", shown(&name))).help(reason);
            let has_braces = name.contains(['{', '}']);
            return Some(if has_braces {
                problem.help(
                    "`{topic}` stands for the topic of the record, `{reply_topic}` alone for the one that it asks for",
                )
            } else {
                problem
            });
        }
        if topics.contains(&name) {
            return Some(
                Problem::new(origin, format!("replies would go to `{name}`"))
                    .help("the listener reads that topic itself, so each reply would be a record of its own"),
            );
        }
    }
    None
}
