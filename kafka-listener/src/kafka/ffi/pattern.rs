//! Whether librdkafka takes a regular expression as one, without a client.

use super::configuration::Configuration;

/// A property whose values are patterns, compiled by the compiler that subscriptions use.
const PATTERNS: &str = "topic.blacklist";

/// What is wrong with a pattern of topics, in librdkafka's words; `None`: nothing.
pub(crate) fn pattern_fault(pattern: &str) -> Option<String> {
    // The property is a list with commas between its patterns, and knows no way to write one within.
    let said = match without_commas(pattern) {
        Ok(pattern) => Configuration::new().set_plainly(PATTERNS, &pattern)?,
        Err(fault) => return Some(fault.to_owned()),
    };
    // `Failed to parse pattern "…": reason`
    Some(said.rsplit_once("\": ").map_or(said.as_str(), |(_, reason)| reason).to_owned())
}

/// A pattern that is right or wrong as this one is. Outside of bounds a comma is a character like others; `{2,5}` is as
/// right as `{5}`.
fn without_commas(pattern: &str) -> Result<String, &'static str> {
    let mut result = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find(',') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        rest = after;
        result.push_str(before);
        let least = before.rfind('{').and_then(|brace| number(&before[brace + 1..]));
        let most = after.find('}').map(|brace| &after[..brace]);
        match (least, most) {
            // `{2,}`: what is in front of the comma is the bound.
            (Some(_), Some("")) => {}
            (Some(least), Some(most)) if number(most).is_some() => {
                if number(most) < Some(least) {
                    return Err("the bound `{n,m}` has an m below its n");
                }
                result.truncate(result.rfind('{').map_or(result.len(), |brace| brace + 1));
            }
            _ => result.push('_'),
        }
    }
    result.push_str(rest);
    Ok(result)
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}
