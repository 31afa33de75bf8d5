//! What a handler's failure is: an error, its class, and whether trying again may help.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// The kinds of failure that `on_failure` can treat each in its own way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The payload or the key does not decode.
    Decode,
    /// The payload is larger than `limits.max_payload`; it was not decoded.
    TooLarge,
    /// The payload decoded and was found invalid.
    Validation,
    /// `handler_timeout` passed.
    Timeout,
    /// User code panicked.
    Panic,
    /// The error said that trying again is of no use.
    Terminal,
    /// Any other error.
    Retryable,
    /// A name given by [`Classify`].
    Named(Cow<'static, str>),
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decode => "decode",
            Self::TooLarge => "too_large",
            Self::Validation => "validation",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Terminal => "terminal",
            Self::Retryable => "retryable",
            Self::Named(name) => name,
        })
    }
}

/// A failed delivery. Any error becomes a retryable one by `?` or `into()`; [`ListenerError::terminal`] is chosen on
/// purpose. It does not implement [`Error`] itself, as that would forbid the conversion.
#[derive(Debug)]
pub struct ListenerError {
    source: Box<dyn Error + Send + Sync>,
    class: ErrorClass,
    retryable: bool,
}

impl ListenerError {
    /// An error that trying again may cure.
    pub fn retryable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into(), class: ErrorClass::Retryable, retryable: true }
    }

    /// An error that trying again cannot cure: the record goes to `on_failure` at once.
    pub fn terminal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into(), class: ErrorClass::Terminal, retryable: false }
    }

    pub(crate) fn of_class(
        source: impl Into<Box<dyn Error + Send + Sync>>,
        class: ErrorClass,
        retryable: bool,
    ) -> Self {
        Self { source: source.into(), class, retryable }
    }

    /// The class that `on_failure` is looked up by.
    pub fn class(&self) -> &ErrorClass {
        &self.class
    }

    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The error itself.
    pub fn source(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.source
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for ListenerError {
    fn from(error: E) -> Self {
        Self::retryable(error)
    }
}
