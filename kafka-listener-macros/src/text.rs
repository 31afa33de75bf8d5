//! Rules for the strings in the attribute, as far as they can be judged without the environment.

/// The values that `ack_mode` takes.
pub(crate) const ACK_MODES: &[&str] =
    &["record", "batch", "time", "count", "count_time", "manual", "manual_immediate", "at_most_once"];

/// The names that `codec` takes.
const CODECS: &[&str] = &["json", "string", "bytes"];

/// Whether the string is resolved at start: until then nothing can be said about its content.
pub(crate) fn is_resolved_at_start(text: &str) -> bool {
    text.contains('$')
}

/// What is wrong with any string argument.
pub(crate) fn fault(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("is empty".to_owned());
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        rest = match after.as_bytes().first() {
            Some(b'$') => &after[1..],
            Some(b'{') => match after.split_once('}') {
                Some((_, after)) => after,
                None => {
                    return Some("has a `${` that is never closed: write `${NAME}`, or `$$` for a dollar".to_owned());
                }
            },
            _ => after,
        };
    }
    None
}

/// What is wrong with a listener's id.
pub(crate) fn id_fault(id: &str) -> Option<String> {
    let wrong = id.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))?;
    Some(format!("has the character `{wrong}`: an id is made of ASCII letters, digits, `_`, `.` and `-`"))
}

/// What is wrong with a topic's name.
pub(crate) fn topic_fault(topic: &str) -> Option<String> {
    if let Some(wrong) = topic.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))) {
        return Some(format!(
            "has the character `{wrong}`: a topic's name is made of ASCII letters, digits, `_`, `.` and `-`"
        ));
    }
    (topic.len() > 249 || topic == "." || topic == "..").then(|| "is not a name that Kafka allows".to_owned())
}

/// What is wrong with a pattern of topics.
pub(crate) fn pattern_fault(pattern: &str) -> Option<String> {
    (!pattern.starts_with('^')).then(|| "does not begin with `^`, as in `^orders-.*`".to_owned())
}

/// What is wrong with the end of a listener.
pub(crate) fn until_fault(until: &str) -> Option<String> {
    (until != "end").then(|| "is no end: expected `end`".to_owned())
}

/// What is wrong with partitions. Where they begin, behind an `@`, is judged at start.
pub(crate) fn partitions_fault(partitions: &str) -> Option<String> {
    let parts: Vec<&str> = partitions.split(',').map(str::trim).collect();
    let mut seen: Vec<(i32, i32)> = Vec::new();
    for part in &parts {
        let range = part.split_once('@').map_or(*part, |(range, _)| range.trim());
        if range == "*" {
            return (parts.len() > 1).then(|| "names `*`, which is all of them, and others".to_owned());
        }
        let number = |text: &str| {
            let text = text.trim();
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten()
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Some(format!("has `{range}` where a number, a range or `*` is expected: `0-5,7`"));
        };
        if first > last {
            return Some(format!("has the range `{range}`, which counts down"));
        }
        if let Some((from, _)) = seen.iter().find(|(from, to)| *from <= last && first <= *to) {
            return Some(format!("names partition {} twice", first.max(*from)));
        }
        seen.push((first, last));
    }
    None
}

/// What is wrong with the topic that replies go to.
pub(crate) fn send_to_fault(send_to: &str) -> Option<String> {
    let named = send_to.replace("{topic}", "orders");
    if send_to == "{reply_topic}" {
        return None;
    }
    if named.contains(['{', '}']) {
        return Some(
            "is not a topic: beside names there are `{topic}` for the topic of the record, and `{reply_topic}` alone for \
             the one that the record asks for"
                .to_owned(),
        );
    }
    topic_fault(&named)
}

/// What is wrong with one of `properties`.
pub(crate) fn property_fault(property: &str) -> Option<String> {
    let key = property.split_once('=').map(|(key, _)| key.trim());
    key.is_none_or(str::is_empty).then(|| "is not of the form `\"key=value\"`".to_owned())
}

/// What is wrong with an ack mode.
pub(crate) fn ack_mode_fault(mode: &str) -> Option<String> {
    let legal: Vec<_> = ACK_MODES.iter().map(|mode| format!("`{mode}`")).collect();
    (!ACK_MODES.contains(&mode)).then(|| format!("is not an ack mode: expected one of {}", legal.join(", ")))
}

/// What is wrong with the name of a codec.
pub(crate) fn codec_fault(codec: &str) -> Option<String> {
    (!CODECS.contains(&codec)).then(|| {
        "is not a codec: expected one of `json`, `string`, `bytes`, or a type without quotes that implements `Decode`"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&str) -> Option<String>, legal: &[&str], illegal: &[&str]) {
        for text in legal {
            assert_eq!(rule(text), None, "{text:?}");
        }
        for text in illegal {
            assert!(rule(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn placeholders_are_closed_and_dollars_escaped() {
        check(
            fault,
            &["orders", "${TOPIC}", "${app.orders-topic:-orders}-${REGION}", "$${", "$$${X}", "a$", "$x", "${A}}"],
            &["", " ", "${TOPIC", "${A}${", "$$${X", "${"],
        );
    }

    #[test]
    fn ids_are_plain_words() {
        check(id_fault, &["request_payment", "a-b.c_9"], &["größe", "a b", "a/b", "${ID}"]);
    }

    #[test]
    fn topics_have_kafkas_names() {
        check(topic_fault, &["orders", "a.b-c_d9", "..."], &["or ders", "ordérs", ".", "..", &"o".repeat(250)]);
    }

    #[test]
    fn partitions_are_numbers_and_ranges() {
        check(
            partitions_fault,
            &["0", "0-2, 7", "*", "3@100,1-2@end-5", "* @ end"],
            &["", "1,", "a", "1-", "-1", "1-2-3", "+1", "5-2", "1-3,2", "*,1", "1,*", "9999999999"],
        );
    }

    #[test]
    fn replies_go_to_a_topic_or_where_the_record_says() {
        check(
            send_to_fault,
            &["replies", "{reply_topic}", "{topic}-replies", "to.{topic}"],
            &["re plies", "{replyTopic}", "{reply_topic}-x", "{topic", "}", "{topic}{x}"],
        );
    }

    #[test]
    fn patterns_begin_as_librdkafka_wants_them_and_the_only_end_is_the_end() {
        check(pattern_fault, &["^orders", "^.*-dlt$"], &["orders.*", "", " ^orders"]);
        check(until_fault, &["end"], &["END", "start", ""]);
    }

    #[test]
    fn properties_have_a_key_and_a_value() {
        check(property_fault, &["a=b", "a=", "a = b=c"], &["a", "=b", " =b"]);
    }

    #[test]
    fn ack_modes_and_codecs_are_those_that_exist() {
        check(codec_fault, &["json", "string", "bytes"], &["avro", "Json", ""]);
        check(ack_mode_fault, ACK_MODES, &["none", "Batch", "RECORD", "manual-immediate"]);
    }
}
