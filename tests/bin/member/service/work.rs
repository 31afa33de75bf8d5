//! What a handler does: writes that it starts, works, and writes how it ends, also when it is dropped or panics.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use support::event::{EventLog, Outcome, Place, What};

use super::MemberArguments;
use super::rules::{Action, Rules};

/// The handler's work, the same for every engine.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    events: Arc<EventLog>,
    rules: Arc<Rules>,
    duration: Duration,
    block: bool,
    latch: Option<PathBuf>,
}

/// A handler that was told to fail.
#[derive(Debug, thiserror::Error)]
#[error("told to fail at `{0}`")]
pub(crate) struct ToldToFail(String);

impl Work {
    pub(crate) fn new(arguments: &MemberArguments, events: Arc<EventLog>) -> Self {
        Self {
            events,
            rules: Arc::new(Rules::new(arguments.rules.clone())),
            duration: Duration::from_millis(arguments.work_ms),
            block: arguments.block,
            latch: arguments.latch.clone(),
        }
    }

    /// Handles one record.
    pub(crate) async fn handle(&self, place: Place, value: String) -> Result<(), ToldToFail> {
        let mut end = End::begin(&self.events, place, &value);
        match self.rules.next(&value) {
            #[expect(clippy::panic, reason = "the member was told to panic at this record")]
            Some(Action::Panic(_)) => panic!("told to panic at `{value}`"),
            Some(Action::Fail(_)) => {
                end.outcome = Outcome::Err;
                return Err(ToldToFail(value));
            }
            Some(Action::Latch) => self.wait_for_latch().await,
            None => {}
        }
        if self.block {
            #[expect(clippy::disallowed_methods, reason = "the member was told to block its thread")]
            std::thread::sleep(self.duration);
        } else if !self.duration.is_zero() {
            tokio::time::sleep(self.duration).await;
        }
        end.outcome = Outcome::Ok;
        Ok(())
    }

    async fn wait_for_latch(&self) {
        while self.latch.as_ref().is_some_and(|latch| !latch.exists()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Writes the end of a handler wherever it ends.
struct End<'a> {
    events: &'a EventLog,
    place: Place,
    outcome: Outcome,
}

impl<'a> End<'a> {
    fn begin(events: &'a EventLog, place: Place, value: &str) -> Self {
        write(events, What::Start { place: place.clone(), value: value.to_owned() });
        Self { events, place, outcome: Outcome::Cancelled }
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let outcome = if std::thread::panicking() { Outcome::Panic } else { self.outcome };
        write(self.events, What::End { place: self.place.clone(), outcome });
    }
}

/// A member that cannot write its events is no witness any more.
pub(crate) fn write(events: &EventLog, what: What) {
    if let Err(err) = events.write(what) {
        tracing::error!("the event log cannot be written: {err:#}");
        std::process::abort();
    }
}
