//! What befalls single records, told on the command line.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// What happens to the records that a pattern names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pattern: String,
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The first so many attempts fail.
    Fail(u32),
    /// The first so many attempts panic.
    Panic(u32),
    /// Every attempt waits for the latch.
    Latch,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pattern, action) = text.rsplit_once('=').ok_or_else(|| format!("`{text}` is not VALUE=ACTION"))?;
        let (word, times) = action.split_once(':').unwrap_or((action, ""));
        let times = match times {
            "" => Ok(u32::MAX),
            times => times.parse().map_err(|_| format!("`{times}` is no number of times")),
        };
        let action = match word {
            "fail" => Action::Fail(times?),
            "panic" => Action::Panic(times?),
            "latch" => Action::Latch,
            other => return Err(format!("`{other}` is not `fail`, `panic` or `latch`")),
        };
        Ok(Self { pattern: pattern.to_owned(), action })
    }
}

/// The rules of one member, which count their own attempts.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    attempts: Mutex<HashMap<String, u32>>,
}

impl Rules {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { rules, attempts: Mutex::default() }
    }

    /// What happens to this attempt at a record, if anything.
    pub(crate) fn next(&self, value: &str) -> Option<Action> {
        let named = |rule: &&Rule| match rule.pattern.strip_suffix('*') {
            Some(prefix) => value.starts_with(prefix),
            None => value == rule.pattern,
        };
        let action = self.rules.iter().find(named)?.action;
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(value.to_owned()).or_default();
        *attempt += 1;
        match action {
            Action::Fail(times) | Action::Panic(times) => (*attempt <= times).then_some(action),
            Action::Latch => Some(action),
        }
    }
}
