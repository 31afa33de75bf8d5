//! How the members of a run are set up, and what they then have to keep.

use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use support::checker::Promise;

/// The session timeout of the members, in milliseconds: the broker's usual minimum.
pub(crate) const SESSION: u64 = 6_000;

#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) partitions: i32,
    /// Records per second.
    pub(crate) rate: u32,
    /// Whether the topic is created before the members start.
    pub(crate) topic_is_there: bool,
    /// What members are started with.
    pub(crate) arguments: Vec<String>,
    pub(crate) promise: Promise,
    /// Handlers outlive a revoke: one that comes in the middle of a stop cuts records off, and the member says so.
    pub(crate) is_cut_off: bool,
}

impl Setting {
    /// The library's defaults, but for a session that is worth waiting for the end of.
    pub(crate) fn new(partitions: i32, rate: u32) -> anyhow::Result<Self> {
        Self::of_broker(partitions, rate).set("listener.session_timeout", &format!("{SESSION}ms"))
    }

    /// The library's defaults; in a group of the `consumer` protocol the broker has the session.
    pub(crate) fn of_broker(partitions: i32, rate: u32) -> Self {
        Self {
            partitions,
            rate,
            topic_is_there: true,
            arguments: Vec::new(),
            promise: Promise::default(),
            is_cut_off: false,
        }
    }

    /// With these arguments of the member.
    #[must_use]
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// With a setting of the library, which may change what is promised.
    pub(crate) fn set(mut self, path: &str, value: &str) -> anyhow::Result<Self> {
        let duration = || {
            let millis = value.strip_suffix("ms").with_context(|| format!("`{path}={value}`: in `ms`, please"))?;
            anyhow::Ok(Duration::from_millis(millis.parse()?))
        };
        match path {
            "listener.session_timeout" => self.promise.session_timeout = duration()?,
            "listener.revoke_timeout" => self.promise.revoke_timeout = duration()?,
            "listener.commit_interval" => self.promise.commit_interval = duration()?,
            "listener.max_commit_delay" => self.promise.max_commit_delay = duration()?,
            "listener.shutdown_timeout" => self.promise.shutdown_timeout = duration()?,
            _ => {}
        }
        Ok(self.with(&["--set", &format!("{path}={value}")]))
    }
}

/// As the command line spells it.
pub(crate) fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
