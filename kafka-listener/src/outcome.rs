//! What a listener may return, and how it becomes what the engine acts on.
//!
//! Batches and replies will be further outcomes: generated code only says "settle this value".

use std::error::Error;
use std::marker::PhantomData;

use crate::failure::{Classify, ListenerError};

/// What a listener may return: nothing, or a `Result` whose error the engine can judge.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a listener returns",
    label = "a listener returns `()` or `Result<(), E>`",
    note = "`E` is `ListenerError` or any error: `E: Into<Box<dyn std::error::Error + Send + Sync>>`, as `anyhow::Error` is",
    note = "an error that implements `kafka_listener::Classify` says itself whether trying again may help"
)]
pub trait Outcome: Sized {
    /// Judges the value.
    fn settle(self) -> Result<(), ListenerError>;
}

impl Outcome for () {
    fn settle(self) -> Result<(), ListenerError> {
        Ok(())
    }
}

impl<E: Into<ListenerError>> Outcome for Result<(), E> {
    fn settle(self) -> Result<(), ListenerError> {
        self.map_err(Into::into)
    }
}

/// The check that `R` is an outcome, made once in a constant so that it fails once and on the return type.
#[derive(Debug)]
pub struct OutcomeOf<R> {
    settle: fn(R) -> Result<(), ListenerError>,
}

/// Checks that `R` is an outcome.
pub const fn outcome<R: Outcome>() -> OutcomeOf<R> {
    OutcomeOf { settle: R::settle }
}

/// Finds out whether the error in `R` implements [`Classify`]: method lookup tries [`ViaClassify`] first, because it
/// takes a reference less than [`ViaOutcome`].
#[derive(Debug)]
pub struct Probe<R>(PhantomData<fn(R)>);

impl<R> Probe<R> {
    /// The probe for `R`.
    pub const NEW: Self = Self(PhantomData);
}

/// Settles outcomes whose error classifies itself.
#[doc(hidden)]
pub trait ViaClassify<R> {
    fn __kafka_listener_settle(&self, outcome_of: OutcomeOf<R>, outcome: R) -> Result<(), ListenerError>;
}

impl<E: Classify + Into<Box<dyn Error + Send + Sync>>> ViaClassify<Result<(), E>> for Probe<Result<(), E>> {
    #[inline]
    fn __kafka_listener_settle(
        &self,
        _: OutcomeOf<Result<(), E>>,
        outcome: Result<(), E>,
    ) -> Result<(), ListenerError> {
        outcome.map_err(|error| error.classify().apply(error.into()))
    }
}

/// Settles every other outcome.
#[doc(hidden)]
pub trait ViaOutcome<R> {
    fn __kafka_listener_settle(&self, outcome_of: OutcomeOf<R>, outcome: R) -> Result<(), ListenerError>;
}

impl<R> ViaOutcome<R> for &Probe<R> {
    #[inline]
    fn __kafka_listener_settle(&self, outcome_of: OutcomeOf<R>, outcome: R) -> Result<(), ListenerError> {
        (outcome_of.settle)(outcome)
    }
}
