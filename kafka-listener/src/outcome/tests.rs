use std::fmt;
use std::io;

use super::*;
use crate::failure::{Classification, ErrorClass};

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl Error for Refused {}

impl Classify for Refused {
    fn classify(&self) -> Classification {
        Classification::terminal().named("refused")
    }
}

type Boxed = Result<(), Box<dyn Error + Send + Sync>>;
type Alias = Result<(), Refused>;

/// Settles a value as generated code does: the dispatch needs the concrete type, so this cannot be a function.
macro_rules! settle {
    ($outcome:ty: $value:expr) => {
        (&Probe::<$outcome>::NEW).__kafka_listener_settle(outcome::<$outcome>(), $value)
    };
}

#[track_caller]
fn check(settled: Result<(), ListenerError>, class: &ErrorClass, retryable: bool, text: &str) {
    let error = settled.unwrap_err();
    assert_eq!((error.class(), error.is_retryable(), &*error.source().to_string()), (class, retryable, text));
}

#[test]
fn what_went_well_is_done() {
    assert!(settle!((): ()).is_ok());
    assert!(settle!(Result<(), Refused>: Ok(())).is_ok());
    assert!(settle!(Result<(), ListenerError>: Ok(())).is_ok());
    assert!(settle!(anyhow::Result<()>: Ok(())).is_ok());
}

#[test]
fn any_error_is_retryable() {
    check(settle!(io::Result<()>: Err(io::Error::other("away"))), &ErrorClass::Retryable, true, "away");
    check(settle!(anyhow::Result<()>: Err(anyhow::anyhow!("away"))), &ErrorClass::Retryable, true, "away");
    check(settle!(Result<(), String>: Err("away".to_owned())), &ErrorClass::Retryable, true, "away");
    check(settle!(Boxed: Err(Refused.into())), &ErrorClass::Retryable, true, "refused");
}

#[test]
fn a_listener_error_is_what_it_says() {
    let terminal = Err(ListenerError::terminal("no such product"));
    check(settle!(Result<(), ListenerError>: terminal), &ErrorClass::Terminal, false, "no such product");
}

#[test]
fn an_error_that_classifies_itself_is_asked() {
    let refused = ErrorClass::Named("refused".into());
    check(settle!(Result<(), Refused>: Err(Refused)), &refused, false, "refused");
    check(settle!(Alias: Err(Refused)), &refused, false, "refused");
}

#[test]
fn what_names_an_error_may_give_is_known_from_its_type() {
    enum Derived {}
    impl Classify for Derived {
        fn classify(&self) -> Classification {
            match *self {}
        }

        fn names() -> Option<&'static [&'static str]> {
            Some(&["busy"])
        }
    }
    impl From<Derived> for Box<dyn Error + Send + Sync> {
        fn from(derived: Derived) -> Self {
            match derived {}
        }
    }
    macro_rules! names {
        ($outcome:ty) => {
            (&Probe::<$outcome>::NEW).__kafka_listener_names(outcome::<$outcome>())
        };
    }
    assert_eq!(names!(Result<(), Derived>), Some(&["busy"][..]));
    assert_eq!(names!(Alias), None, "it classifies without saying how");
    assert_eq!(names!(Result<(), ListenerError>), None, "it may be made of anything");
    assert_eq!(names!(Boxed), Some(&[][..]));
    assert_eq!(names!(()), Some(&[][..]));
}
