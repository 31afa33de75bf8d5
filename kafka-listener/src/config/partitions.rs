//! Partitions and places in their logs, as texts: `0-5,7@end-100`, `timestamp:2026-01-31T12:00:00Z`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// More than a cluster has; keeps a slip of the keyboard from filling the memory.
const MOST_PARTITIONS: usize = 100_000;

/// Partitions of one topic, with the places that they begin at where those are their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PartitionSelection {
    /// All that there are, and all that come later.
    All(Option<InitialOffset>),
    Named(BTreeMap<i32, Option<InitialOffset>>),
}

/// Where a partition is begun to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InitialOffset {
    /// So many records after a place, or before it where the number is negative.
    From(Place, i64),
    At(i64),
    /// The first record of this time or later, in milliseconds since 1970.
    Timestamp(i64),
    /// The first record of the time that long ago.
    Ago(Duration),
}

/// A place in a log that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Beginning,
    End,
    Committed,
}

impl Place {
    const ALL: [(&'static str, Self); 3] =
        [("beginning", Self::Beginning), ("end", Self::End), ("committed", Self::Committed)];
}

impl PartitionSelection {
    /// Reads `*` or `0-5,7`, each part with its own beginning behind an `@` where it has one.
    ///
    /// # Errors
    ///
    /// What is wrong, as the rest of a sentence that begins with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut named = BTreeMap::new();
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        for part in &parts {
            let (range, start) = match part.split_once('@') {
                Some((range, start)) => (range.trim(), Some(InitialOffset::parse(start)?)),
                None => (*part, None),
            };
            if range == "*" {
                if parts.len() > 1 {
                    return Err("names `*`, which is all of them, and others".to_owned());
                }
                return Ok(Self::All(start));
            }
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(format!("has `{range}` where a number, a range or `*` is expected: `0-5,7`"));
            };
            if first > last {
                return Err(format!("has the range `{range}`, which counts down"));
            }
            for partition in first..=last {
                if named.len() == MOST_PARTITIONS {
                    return Err(format!("names more than {MOST_PARTITIONS} partitions"));
                }
                if named.insert(partition, start).is_some() {
                    return Err(format!("names partition {partition} twice"));
                }
            }
        }
        Ok(Self::Named(named))
    }

    /// The places that parts of it begin at by themselves.
    pub(crate) fn starts(&self) -> impl Iterator<Item = InitialOffset> + '_ {
        let (all, named) = match self {
            Self::All(start) => (*start, None),
            Self::Named(named) => (None, Some(named)),
        };
        all.into_iter().chain(named.into_iter().flat_map(BTreeMap::values).copied().flatten())
    }
}

fn number(text: &str) -> Option<i32> {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl InitialOffset {
    /// Reads one of the forms.
    ///
    /// # Errors
    ///
    /// What is wrong, as the rest of a sentence that begins with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const FORMS: &str = "`beginning`, `end`, `committed`, an offset, `timestamp:…` or `by_duration:…`";
        let text = text.trim();
        if let Ok(offset) = text.parse::<i64>() {
            let before_end = || format!("is below 0: `end{offset}` is that many records before the end");
            return if offset < 0 { Err(before_end()) } else { Ok(Self::At(offset)) };
        }
        if let Some(time) = text.strip_prefix("timestamp:") {
            let millis = time.trim().parse().ok().filter(|millis| *millis >= 0).or_else(|| rfc3339(time.trim()));
            return millis.map(Self::Timestamp).ok_or_else(|| {
                "names no time: `timestamp:2026-01-31T12:00:00Z`, or milliseconds since 1970".to_owned()
            });
        }
        if let Some(ago) = text.strip_prefix("by_duration:") {
            let duration = humantime::parse_duration(ago.trim()).ok().filter(|duration| !duration.is_zero());
            return duration.map(Self::Ago).ok_or_else(|| "names no duration: `by_duration:1h`".to_owned());
        }
        for (name, place) in Place::ALL {
            let Some(rest) = text.strip_prefix(name) else { continue };
            let by = match rest.trim() {
                "" => 0,
                rest => match rest.strip_prefix(['+', '-']).filter(|by| by.starts_with(|c: char| c.is_ascii_digit())) {
                    Some(by) => match by.parse::<i64>() {
                        Ok(by) if rest.starts_with('-') => -by,
                        Ok(by) => by,
                        Err(_) => break,
                    },
                    None => break,
                },
            };
            return match place {
                Place::Beginning if by < 0 => Err("lies before the beginning".to_owned()),
                Place::End if by > 0 => Err("lies behind the end".to_owned()),
                place => Ok(Self::From(place, by)),
            };
        }
        Err(format!("is no place to begin at: {FORMS}"))
    }

    pub(crate) fn needs_committed(self) -> bool {
        matches!(self, Self::From(Place::Committed, _))
    }
}

fn rfc3339(text: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

impl fmt::Display for InitialOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(place, by) => {
                let name = Place::ALL.iter().find(|(_, named)| named == place).map_or("", |(name, _)| name);
                if *by == 0 { f.write_str(name) } else { write!(f, "{name}{by:+}") }
            }
            Self::At(offset) => write!(f, "{offset}"),
            Self::Timestamp(millis) => write!(f, "timestamp:{millis}"),
            Self::Ago(duration) => write!(f, "by_duration:{}", humantime::format_duration(*duration)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(i32, Option<&str>)]) {
        let expected = expected.iter().map(|(partition, start)| {
            (*partition, start.map(|start| InitialOffset::parse(start).expect("the test's own place is one")))
        });
        assert_eq!(PartitionSelection::parse(text), Ok(PartitionSelection::Named(expected.collect())), "{text}");
    }

    #[test]
    fn partitions_are_numbers_and_ranges_with_places_of_their_own() {
        check("0", &[(0, None)]);
        check(" 0-2 , 7 ", &[(0, None), (1, None), (2, None), (7, None)]);
        check("3@100,1-2@end-5", &[(1, Some("end-5")), (2, Some("end-5")), (3, Some("100"))]);
        assert_eq!(PartitionSelection::parse("*"), Ok(PartitionSelection::All(None)));
        let from_end = InitialOffset::From(Place::End, 0);
        assert_eq!(PartitionSelection::parse("* @ end"), Ok(PartitionSelection::All(Some(from_end))));
    }

    #[test]
    fn what_is_wrong_with_partitions_is_named() {
        for (text, fault) in [
            ("", "has ``"),
            ("1,", "has ``"),
            ("a", "has `a`"),
            ("1-", "has `1-`"),
            ("-1", "has `-1`"),
            ("1-2-3", "has `1-2-3`"),
            ("+1", "has `+1`"),
            ("5-2", "counts down"),
            ("1-3,2", "partition 2 twice"),
            ("*,1", "all of them"),
            ("0@", "no place"),
            ("0@middle", "no place"),
            ("0-2147483647", "more than 100000"),
            ("9999999999", "has `9999999999`"),
        ] {
            let refused = PartitionSelection::parse(text).expect_err(text);
            assert!(refused.contains(fault), "{text}: {refused}");
        }
    }

    #[test]
    fn places_are_read_in_every_form_and_shown_as_they_are_written() {
        for (text, expected) in [
            ("beginning", InitialOffset::From(Place::Beginning, 0)),
            ("beginning+3", InitialOffset::From(Place::Beginning, 3)),
            ("end", InitialOffset::From(Place::End, 0)),
            ("end-100", InitialOffset::From(Place::End, -100)),
            ("committed", InitialOffset::From(Place::Committed, 0)),
            ("committed-5", InitialOffset::From(Place::Committed, -5)),
            ("committed+5", InitialOffset::From(Place::Committed, 5)),
            ("42", InitialOffset::At(42)),
            ("timestamp:1769860800000", InitialOffset::Timestamp(1_769_860_800_000)),
            ("by_duration:1h", InitialOffset::Ago(Duration::from_secs(3600))),
        ] {
            assert_eq!(InitialOffset::parse(text), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        let date = InitialOffset::parse("timestamp: 2026-01-31T12:00:00Z");
        assert_eq!(date, Ok(InitialOffset::Timestamp(1_769_860_800_000)));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "",
            "start",
            "latest",
            "-5",
            "end+1",
            "beginning-1",
            "end5",
            "end--1",
            "end+-1",
            "committed+",
            "timestamp:",
            "timestamp:noon",
            "timestamp:-1",
            "by_duration:",
            "by_duration:0s",
            "ending",
        ] {
            InitialOffset::parse(text).expect_err(text);
        }
    }
}
