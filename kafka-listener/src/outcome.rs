//! What a listener may return, and how it becomes what the engine acts on.
//!
//! Batches will be further outcomes: generated code only says "settle this value". What is sent is judged in `reply`.

use std::convert::Infallible;
use std::error::Error;
use std::marker::PhantomData;

use crate::failure::{Classify, ListenerError};

/// What a listener may return: nothing, or a `Result` whose error the engine can judge.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a listener returns",
    label = "a listener returns `()` or `Result<(), E>`",
    note = "`E` is `ListenerError` or any error: `E: Into<Box<dyn std::error::Error + Send + Sync>>`, as `anyhow::Error` is",
    note = "what is to be sent needs `send_to = \"topic\"` in the attribute",
    note = "an error that implements `kafka_listener::Classify` says itself whether trying again may help"
)]
pub trait Outcome: Sized {
    /// What it holds when the listener failed.
    type Error;

    /// Brings the value into the form that is judged.
    fn into_result(self) -> Result<(), Self::Error>;
}

#[diagnostic::do_not_recommend]
impl Outcome for () {
    type Error = Infallible;

    fn into_result(self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<E> Outcome for Result<(), E> {
    type Error = E;

    fn into_result(self) -> Self {
        self
    }
}

/// What may stand in the `Err` of an outcome: the same as `Into<ListenerError>`, with better words for what does not.
#[diagnostic::on_unimplemented(
    message = "a listener cannot fail with `{Self}`",
    label = "the `E` of `Result<(), E>` is no error",
    note = "`E` is `ListenerError` or any error: `E: Into<Box<dyn std::error::Error + Send + Sync>>`, as `anyhow::Error` is"
)]
pub trait Failure: Sized {
    /// The names of classes that it may give, if all are known.
    const NAMES: Option<&'static [&'static str]>;

    /// Judges the error.
    fn into_listener_error(self) -> ListenerError;
}

#[diagnostic::do_not_recommend]
impl Failure for ListenerError {
    /// It may have been made of an error that classifies itself.
    const NAMES: Option<&'static [&'static str]> = None;

    fn into_listener_error(self) -> Self {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn Error + Send + Sync>>> Failure for E {
    const NAMES: Option<&'static [&'static str]> = Some(&[]);

    fn into_listener_error(self) -> ListenerError {
        ListenerError::from(self)
    }
}

/// The check that `R` is an outcome, made once in a constant so that it fails once and on the return type.
#[derive(Debug)]
pub struct OutcomeOf<R> {
    settle: fn(R) -> Result<(), ListenerError>,
    names: Option<&'static [&'static str]>,
}

/// Checks that `R` is an outcome. Two bounds, as the compiler takes its words from the one that fails.
pub const fn outcome<R: Outcome<Error: Failure>>() -> OutcomeOf<R> {
    OutcomeOf {
        settle: |outcome| outcome.into_result().map_err(Failure::into_listener_error),
        names: <R::Error as Failure>::NAMES,
    }
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

    /// The names of classes that an error may give, if all are known.
    fn __kafka_listener_names(&self, outcome_of: OutcomeOf<R>) -> Option<&'static [&'static str]>;
}

impl<E: Classify + Into<Box<dyn Error + Send + Sync>>> ViaClassify<Result<(), E>> for Probe<Result<(), E>> {
    #[inline]
    fn __kafka_listener_settle(
        &self,
        _: OutcomeOf<Result<(), E>>,
        outcome: Result<(), E>,
    ) -> Result<(), ListenerError> {
        outcome.map_err(ListenerError::classified)
    }

    fn __kafka_listener_names(&self, _: OutcomeOf<Result<(), E>>) -> Option<&'static [&'static str]> {
        E::names()
    }
}

/// Settles every other outcome.
#[doc(hidden)]
pub trait ViaOutcome<R> {
    fn __kafka_listener_settle(&self, outcome_of: OutcomeOf<R>, outcome: R) -> Result<(), ListenerError>;

    /// The names of classes that an error may give, if all are known.
    fn __kafka_listener_names(&self, outcome_of: OutcomeOf<R>) -> Option<&'static [&'static str]>;
}

impl<R> ViaOutcome<R> for &Probe<R> {
    #[inline]
    fn __kafka_listener_settle(&self, outcome_of: OutcomeOf<R>, outcome: R) -> Result<(), ListenerError> {
        (outcome_of.settle)(outcome)
    }

    fn __kafka_listener_names(&self, outcome_of: OutcomeOf<R>) -> Option<&'static [&'static str]> {
        outcome_of.names
    }
}

#[cfg(test)]
mod tests;
