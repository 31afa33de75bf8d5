//! One value to one Rust type, with what is allowed in the error.

use std::time::Duration;

use super::keys::{ACTIONS, ASSIGNORS, Key, Kind};
use super::report::{Problem, listed, nearest, shown};
use super::settings::{AutoOffsetReset, InitialOffset, OnFailure, PartitionSelection};
use super::value::{Node, Tree};

/// The problem that `node` is not what `key` takes. The value itself is told only where it is harmless.
fn wrong(key: &Key, node: &Node, expected: &str) -> Problem {
    let found = match &node.value {
        Tree::Table(_) | Tree::Foreign(_) | Tree::List(_) => node.kind().to_owned(),
        Tree::Text(text) if !node.loose && key.printable() => format!("`\"{}\"`", shown(text)),
        _ if key.printable() && !node.secret => format!("`{}`", shown(&node.to_text())),
        _ => node.kind().to_owned(),
    };
    let problem = Problem::new(&node.origin, format!("`{}` takes {expected}, not {found}", key.name));
    match (&node.value, node.loose) {
        (Tree::Text(text), false) if key.printable() && is_bare(text) => problem.help("without quotes"),
        _ => problem,
    }
}

/// Would the text be a value of its own without its quotes?
fn is_bare(text: &str) -> bool {
    text.parse::<f64>().is_ok() || matches!(text, "true" | "false")
}

pub(crate) fn boolean(key: &Key, node: &Node) -> Result<bool, Problem> {
    match &node.value {
        Tree::Boolean(flag) => Ok(*flag),
        Tree::Text(text) if node.loose => match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong(key, node, "`true` or `false`")),
        },
        _ => Err(wrong(key, node, "`true` or `false`")),
    }
}

pub(crate) fn integer(key: &Key, node: &Node) -> Result<i64, Problem> {
    let Kind::Integer { min, max } = key.kind else { unreachable!("`{}` is read as its kind", key.name) };
    let number = match &node.value {
        Tree::Integer(number) => Some(*number),
        Tree::Text(text) if node.loose => text.trim().replace('_', "").parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ if min == max => Err(wrong(key, node, &format!("`{min}`"))),
        _ => {
            let problem = wrong(key, node, &format!("an integer from {min} to {max}"));
            Err(match (key.name, number) {
                ("concurrency", Some(0)) => problem.help("left out, every assigned partition has its own slot"),
                ("attempts", Some(0)) => problem.help("left out, records are retried for ever"),
                _ => problem,
            })
        }
    }
}

pub(crate) fn float(key: &Key, node: &Node) -> Result<f64, Problem> {
    let Kind::Float { min, max } = key.kind else { unreachable!("`{}` is read as its kind", key.name) };
    let number = match &node.value {
        Tree::Float(number) => Some(*number),
        // The range below is far inside what a float holds exactly.
        Tree::Integer(number) => i32::try_from(*number).ok().map(f64::from),
        Tree::Text(text) if node.loose => text.trim().parse().ok(),
        _ => None,
    };
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| wrong(key, node, &format!("a number from {min:?} to {max:?}")))
}

pub(crate) fn duration(key: &Key, node: &Node) -> Result<Duration, Problem> {
    let Kind::Duration { min, max } = key.kind else { unreachable!("`{}` is read as its kind", key.name) };
    let (low, high) = (Duration::from_millis(min), Duration::from_millis(max));
    let duration = match &node.value {
        Tree::Integer(millis) => u64::try_from(*millis).ok().map(Duration::from_millis),
        Tree::Text(text) => time(text, node.loose),
        _ => None,
    };
    match duration {
        Some(duration) if (low..=high).contains(&duration) => Ok(duration),
        Some(_) => Err(wrong(key, node, &format!("a duration from {} to {}", spell(low), spell(high)))),
        None => Err(wrong(key, node, "a duration").help(format!(
            "as `\"45s\"`, `\"100ms\"`, `\"5m\"`, or milliseconds; from {} to {}",
            spell(low),
            spell(high)
        ))),
    }
}

/// A list of durations; a text is split at commas.
pub(crate) fn durations(key: &Key, node: &Node) -> Result<Vec<Duration>, Problem> {
    let Kind::Durations { min, max } = key.kind else { unreachable!("`{}` is read as its kind", key.name) };
    let one = Key { kind: Kind::Duration { min, max }, ..*key };
    match &node.value {
        Tree::List(items) => items.iter().map(|item| duration(&one, item)).collect(),
        Tree::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
        Tree::Text(text) => {
            let part = |part: &str| Node { value: Tree::Text(part.to_owned()), ..node.clone() };
            text.split(',').map(|text| duration(&one, &part(text))).collect()
        }
        _ => Err(wrong(key, node, "a list of durations")),
    }
}

/// `45s`; where a text stands for any type, also milliseconds. Fractions of a millisecond are refused.
fn time(text: &str, loose: bool) -> Option<Duration> {
    let text = text.trim();
    if loose && let Ok(millis) = text.parse::<u64>() {
        return Some(Duration::from_millis(millis));
    }
    humantime::parse_duration(text).ok().filter(|duration| duration.subsec_nanos() % 1_000_000 == 0)
}

/// A duration as it would be written.
pub(crate) fn spell(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

pub(crate) fn size(key: &Key, node: &Node) -> Result<u64, Problem> {
    let Kind::Size { min, max } = key.kind else { unreachable!("`{}` is read as its kind", key.name) };
    let size = match &node.value {
        Tree::Integer(bytes) => u64::try_from(*bytes).ok(),
        Tree::Text(text) => {
            let number = node.loose || !is_bare(text);
            number.then(|| text.trim().parse::<bytesize::ByteSize>().ok()).flatten().map(|size| size.as_u64())
        }
        _ => None,
    };
    let range = || format!("from {} to {}", spell_size(min), spell_size(max));
    match size {
        Some(size) if (min..=max).contains(&size) => Ok(size),
        Some(_) => Err(wrong(key, node, &format!("a size {}", range()))),
        None => Err(wrong(key, node, "a size").help(format!("as `\"8MiB\"`, `\"500kB\"`, or bytes; {}", range()))),
    }
}

/// A size as it would be written.
pub(crate) fn spell_size(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(
        || if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") },
        |(unit, name)| format!("{} {name}", bytes / unit),
    )
}

pub(crate) fn text(key: &Key, node: &Node) -> Result<String, Problem> {
    match &node.value {
        Tree::Text(text) if text.trim().is_empty() => {
            Err(Problem::new(&node.origin, format!("`{}` is empty", key.name)))
        }
        Tree::Text(text) if text.contains('\0') => {
            Err(Problem::new(&node.origin, format!("`{}` contains a NUL character", key.name)))
        }
        Tree::Text(text) => Ok(text.clone()),
        _ => Err(wrong(key, node, "a string")),
    }
}

/// A list of texts, each with its place; texts are split at commas.
pub(crate) fn texts(key: &Key, node: &Node) -> Result<Vec<(String, Node)>, Problem> {
    let split = |item: &Node| -> Result<Vec<(String, Node)>, Problem> {
        let Tree::Text(text) = &item.value else { return Err(wrong(key, item, "a list of strings")) };
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        text.split(',')
            .map(|part| match part.trim() {
                "" => Err(Problem::new(&item.origin, format!("`{}` contains an empty name", key.name))),
                part => Ok((part.to_owned(), item.clone())),
            })
            .collect()
    };
    match &node.value {
        Tree::List(items) => {
            let mut result = Vec::new();
            for item in items {
                let parts = split(item)?;
                if parts.is_empty() {
                    return Err(Problem::new(&item.origin, format!("`{}` contains an empty name", key.name)));
                }
                result.extend(parts);
            }
            Ok(result)
        }
        Tree::Text(_) => split(node),
        _ => Err(wrong(key, node, "a string or a list of strings")),
    }
}

pub(crate) fn choice(key: &Key, node: &Node) -> Result<&'static str, Problem> {
    let Kind::Choice(choices) = key.kind else { unreachable!("`{}` is read as its kind", key.name) };
    one_of(key, node, choices)
}

/// Exact spelling wins; then case, `-` and `_` are forgiven, because Spring, Kafka and librdkafka differ in them.
fn one_of(key: &Key, node: &Node, choices: &'static [&'static str]) -> Result<&'static str, Problem> {
    let Tree::Text(text) = &node.value else {
        return Err(wrong(key, node, &format!("one of {}", listed_all(choices))));
    };
    let spelled = |name: &str| name.trim().to_ascii_lowercase().replace('-', "_");
    if let Some(choice) = choices.iter().find(|choice| spelled(choice) == spelled(text)) {
        return Ok(choice);
    }
    let problem = wrong(key, node, &format!("one of {}", listed_all(choices)));
    Err(match nearest(text, choices.iter().copied()) {
        Some(choice) if !node.secret => problem.help(format!("did you mean `{choice}`?")),
        _ => problem,
    })
}

fn listed_all(choices: &[&str]) -> String {
    listed(choices.iter().copied())
}

pub(crate) fn offset_reset(key: &Key, node: &Node) -> Result<AutoOffsetReset, Problem> {
    const FORMS: &str = "one of `earliest`, `latest`, `error`, `by_duration:1h`";
    let Tree::Text(text) = &node.value else { return Err(wrong(key, node, FORMS)) };
    match text.trim() {
        "earliest" => Ok(AutoOffsetReset::Earliest),
        "latest" => Ok(AutoOffsetReset::Latest),
        "error" => Ok(AutoOffsetReset::Error),
        "none" => Err(wrong(key, node, FORMS).help("Java's `none` is `error` here")),
        other => {
            let Some(ago) = other.strip_prefix("by_duration:") else {
                let near = nearest(other, ["earliest", "latest", "error", "by_duration:1h"]);
                let hint = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
                return Err(wrong(key, node, FORMS).help(hint));
            };
            time(ago, true).filter(|ago| !ago.is_zero()).map(AutoOffsetReset::ByDuration).ok_or_else(|| {
                let problem = wrong(key, node, "a duration after `by_duration:`");
                let is_iso = ago.trim_start().starts_with('P');
                problem.help(if is_iso {
                    "as `by_duration:1h`; ISO 8601 is not understood"
                } else {
                    "as `by_duration:1h`"
                })
            })
        }
    }
}

/// Ranges of partitions by topic; `None` stands for every topic of the listener. Each with its place.
pub(crate) type PartitionsByTopic = Vec<(Option<String>, Node, PartitionSelection)>;

pub(crate) fn partitions(key: &Key, node: &Node) -> Result<PartitionsByTopic, Problem> {
    const FORMS: &str = "ranges such as `\"0-5,7\"` or `\"*\"`, or a table of them by topic";
    let selection = |node: &Node| {
        let Tree::Text(text) = &node.value else { return Err(wrong(key, node, FORMS)) };
        PartitionSelection::parse(text)
            .map_err(|fault| Problem::new(&node.origin, format!("`{}` in `{}` {fault}", shown(text), key.name)))
    };
    let pairs: Vec<(String, &Node)> = match &node.value {
        Tree::Text(_) => return Ok(vec![(None, node.clone(), selection(node)?)]),
        Tree::Table(topics) => topics.iter().map(|(topic, entry)| (topic.clone(), &entry.node)).collect(),
        Tree::List(pairs) => pairs
            .iter()
            .map(|pair| match &pair.value {
                Tree::List(items) => match &items[..] {
                    [Node { value: Tree::Text(topic), .. }, partitions] => Ok((topic.clone(), partitions)),
                    _ => Err(wrong(key, pair, "pairs of a topic and its partitions")),
                },
                _ => Err(wrong(key, pair, "pairs of a topic and its partitions")),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong(key, node, FORMS)),
    };
    if pairs.is_empty() {
        return Err(Problem::new(&node.origin, format!("`{}` is empty", key.name)).help(FORMS));
    }
    pairs.into_iter().map(|(topic, node)| Ok((Some(topic), node.clone(), selection(node)?))).collect()
}

pub(crate) fn initial_offset(key: &Key, node: &Node) -> Result<InitialOffset, Problem> {
    let text = match &node.value {
        Tree::Text(text) => text.clone(),
        Tree::Integer(offset) => offset.to_string(),
        _ => return Err(wrong(key, node, "a place to begin at, as `beginning` or an offset")),
    };
    InitialOffset::parse(&text)
        .map_err(|fault| Problem::new(&node.origin, format!("`{}` in `{}` {fault}", shown(&text), key.name)))
}

/// Assignors in order of preference, in librdkafka's spelling.
pub(crate) fn assignors(key: &Key, node: &Node) -> Result<Vec<&'static str>, Problem> {
    let mut result = Vec::new();
    for (name, item) in texts(key, node)? {
        let short = name.rsplit('.').next().unwrap_or(&name);
        let assignor = match short {
            "CooperativeStickyAssignor" => "cooperative-sticky",
            "RangeAssignor" => "range",
            "RoundRobinAssignor" => "roundrobin",
            "StickyAssignor" | "sticky" => {
                return Err(Problem::new(
                    &item.origin,
                    format!("`{}` does not know Java's eager sticky assignor", key.name),
                )
                .help(
                    "librdkafka has no eager `sticky`; `cooperative-sticky` deals out alike and stops only what moves",
                ));
            }
            _ => {
                let single = Node { value: Tree::Text(name.clone()), ..item.clone() };
                one_of(key, &single, ASSIGNORS)?
            }
        };
        if !result.contains(&assignor) {
            result.push(assignor);
        }
    }
    if result.is_empty() {
        return Err(Problem::new(&node.origin, format!("`{}` is empty", key.name)).help(listed_all(ASSIGNORS)));
    }
    if result.len() > 1 && result.contains(&"cooperative-sticky") {
        return Err(Problem::new(&node.origin, format!("`{}` mixes cooperative and eager assignors", key.name))
            .help("librdkafka cannot switch between them by a list: take `cooperative-sticky` alone, or `range` and `roundrobin`"));
    }
    Ok(result)
}

/// One action of `on_failure`.
pub(crate) fn action(key: &Key, node: &Node) -> Result<OnFailure, Problem> {
    Ok(match one_of(key, node, ACTIONS)? {
        "dead_letter" => OnFailure::DeadLetter,
        "skip" => OnFailure::Skip,
        "stop" => OnFailure::Stop,
        _ => OnFailure::Hold,
    })
}

/// A value of librdkafka's.
pub(crate) fn property(name: &str, node: &Node) -> Result<String, Problem> {
    match &node.value {
        Tree::Text(text) if text.contains('\0') => {
            Err(Problem::new(&node.origin, format!("property `{}` contains a NUL character", shown(name))))
        }
        Tree::Text(text) => Ok(text.clone()),
        Tree::Integer(number) => Ok(number.to_string()),
        Tree::Float(number) => Ok(number.to_string()),
        Tree::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(Problem::new(
            &node.origin,
            format!("property `{}` takes a string, a number or a boolean, not {}", shown(name), node.kind()),
        )),
    }
}
