//! What a handler's failure is: an error, its class, and whether trying again may help.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::decode::DecodeError;

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

impl ErrorClass {
    /// The class of that name; a name that is none of ours is [`ErrorClass::Named`].
    pub(crate) fn from_name(name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        match &*name {
            "decode" => Self::Decode,
            "too_large" => Self::TooLarge,
            "validation" => Self::Validation,
            "timeout" => Self::Timeout,
            "panic" => Self::Panic,
            "terminal" => Self::Terminal,
            "retryable" => Self::Retryable,
            _ => Self::Named(name),
        }
    }
}

impl ErrorClass {
    /// Whether errors of this class are never tried again.
    fn is_terminal(&self) -> bool {
        matches!(self, Self::Decode | Self::TooLarge | Self::Validation | Self::Terminal)
    }
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

    /// An error that says itself what trying again may do, for listeners whose return type does not show it.
    pub fn classified<E: Classify + Into<Box<dyn Error + Send + Sync>>>(error: E) -> Self {
        error.classify().apply(error.into())
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
    /// Retryable, unless the error or one of its causes is a [`DecodeError`]: the same bytes fail the same way again.
    fn from(error: E) -> Self {
        let source = error.into();
        if DecodeError::is_behind(&*source) {
            Self::of_class(source, ErrorClass::Decode, false)
        } else {
            Self::retryable(source)
        }
    }
}

/// An error that knows whether trying again may help. Implement it for the `E` of a listener's `Result<(), E>`; the
/// attribute finds it there without being told.
///
/// Only the listener's own error type is asked. An error inside an `anyhow::Error` or another wrapper is not; such a
/// listener makes its errors with [`ListenerError::classified`].
///
/// # Deriving it
///
/// For an enum, `#[derive(Classify)]` (feature `macros`) takes the answer from attributes: `#[classify(terminal)]`,
/// `#[classify(retryable)]` and `#[classify(name = "…")]`, together or alone. On the enum itself the first two say what
/// holds for variants that say nothing; without either an error is retryable. `#[classify(crate = path)]` names this
/// library where it was renamed.
///
/// ```
/// # #[cfg(feature = "macros")] {
/// use kafka_listener::Classify;
///
/// #[derive(Debug, Classify)]
/// enum StockError {
///     #[classify(terminal)]
///     UnknownProduct,
///     #[classify(name = "out-of-stock")]
///     OutOfStock { missing: u32 },
///     Unreachable(std::io::Error),
/// }
/// # assert_eq!(StockError::names(), Some(&["out-of-stock"][..]));
/// # }
/// ```
///
/// A derived one also tells its [names](Classify::names), so that a class in `on_failure` that no error can have is found
/// at start.
///
/// # Implementing it
///
/// ```
/// use kafka_listener::{Classification, Classify};
///
/// #[derive(Debug)]
/// enum PaymentError {
///     CardRefused,
///     Unreachable(std::io::Error),
/// }
///
/// impl Classify for PaymentError {
///     fn classify(&self) -> Classification {
///         match self {
///             Self::CardRefused => Classification::terminal().named("card_refused"),
///             Self::Unreachable(_) => Classification::retryable(),
///         }
///     }
/// }
/// # impl std::fmt::Display for PaymentError {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("payment") }
/// # }
/// # impl std::error::Error for PaymentError {}
/// ```
pub trait Classify {
    /// Says what trying again would do.
    fn classify(&self) -> Classification;

    /// Every name that [`classify`](Classify::classify) may give, if all are known: then a class in a listener's
    /// `on_failure` that is none of them fails the start. `None` unless implemented.
    fn names() -> Option<&'static [&'static str]>
    where
        Self: Sized,
    {
        None
    }
}

/// What [`Classify`] says of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classification {
    retryable: bool,
    name: Option<Cow<'static, str>>,
}

impl Classification {
    /// Trying again may help.
    pub const fn retryable() -> Self {
        Self { retryable: true, name: None }
    }

    /// Trying again cannot help: the record goes to `on_failure` at once.
    pub const fn terminal() -> Self {
        Self { retryable: false, name: None }
    }

    /// Adds the name that a table in `on_failure` knows the error by; the names of [`ErrorClass`] mean those classes, of
    /// which `decode`, `too_large`, `validation` and `terminal` are never tried again.
    #[must_use]
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(crate) fn apply(self, source: Box<dyn Error + Send + Sync>) -> ListenerError {
        let class = match self.name {
            Some(name) => ErrorClass::from_name(name),
            None if self.retryable => ErrorClass::Retryable,
            None => ErrorClass::Terminal,
        };
        let retryable = self.retryable && !class.is_terminal();
        ListenerError::of_class(source, class, retryable)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io;

    use super::*;

    fn decode_error() -> DecodeError {
        DecodeError::new::<u64>("text where a number is expected")
    }

    #[track_caller]
    fn check(error: impl Into<ListenerError>, class: &ErrorClass, retryable: bool) {
        let error = error.into();
        assert_eq!((error.class(), error.is_retryable()), (class, retryable), "{error:?}");
    }

    #[test]
    fn any_error_is_retryable_by_conversion() {
        check(io::Error::other("away"), &ErrorClass::Retryable, true);
        check(anyhow::anyhow!("away"), &ErrorClass::Retryable, true);
        check("away", &ErrorClass::Retryable, true);
    }

    #[test]
    fn terminal_is_chosen_on_purpose() {
        check(ListenerError::terminal("no such product"), &ErrorClass::Terminal, false);
        check(ListenerError::retryable(decode_error()), &ErrorClass::Retryable, true);
    }

    #[test]
    fn a_decode_error_is_never_retried_however_deep_it_lies() {
        #[derive(Debug)]
        struct Wrapper(DecodeError);
        impl fmt::Display for Wrapper {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("wrapped")
            }
        }
        impl Error for Wrapper {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }

        check(decode_error(), &ErrorClass::Decode, false);
        check(Wrapper(decode_error()), &ErrorClass::Decode, false);
        check(anyhow::Error::new(decode_error()), &ErrorClass::Decode, false);
        check(anyhow::Error::new(decode_error()).context("while reading"), &ErrorClass::Decode, false);
    }

    #[test]
    fn classification_gives_the_class_and_the_name() {
        let apply = |classification: Classification| classification.apply("refused".into());
        check(apply(Classification::retryable()), &ErrorClass::Retryable, true);
        check(apply(Classification::terminal()), &ErrorClass::Terminal, false);
        check(apply(Classification::retryable().named("busy")), &ErrorClass::Named("busy".into()), true);
        check(apply(Classification::terminal().named("validation")), &ErrorClass::Validation, false);
        check(apply(Classification::retryable().named("validation")), &ErrorClass::Validation, false);
        check(apply(Classification::retryable().named("timeout")), &ErrorClass::Timeout, true);
    }

    #[test]
    fn every_class_is_found_by_the_name_it_prints() {
        for class in [
            ErrorClass::Decode,
            ErrorClass::TooLarge,
            ErrorClass::Validation,
            ErrorClass::Timeout,
            ErrorClass::Panic,
            ErrorClass::Terminal,
            ErrorClass::Retryable,
            ErrorClass::Named("card_refused".into()),
        ] {
            assert_eq!(ErrorClass::from_name(class.to_string()), class);
        }
    }
}
