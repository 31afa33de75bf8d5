use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::thread::ThreadId;

use serde::Deserialize;

use self::captured::HANDLER;
use crate::extract::sample::Sample;
use crate::extract::{FromRecord, Key, State};
use crate::state::{States, missing_states};
use crate::{
    Classification, Classify, ConsumerRecord, ErrorClass, ListenerDefinition, ListenerError, RecordContext,
    RecordMetadata, kafka_listener,
};

/// Stands in for the library: handlers can be called one record at a time, and nothing is registered, as tests share
/// one process.
mod captured {
    use super::*;
    use crate::definition::Handler;

    pub(super) trait Call {
        fn call<'r>(
            &'r self,
            record: RecordContext<'r>,
        ) -> Pin<Box<dyn Future<Output = Result<(), ListenerError>> + Send + 'r>>;
    }

    impl<H: Handler> Call for H {
        fn call<'r>(
            &'r self,
            record: RecordContext<'r>,
        ) -> Pin<Box<dyn Future<Output = Result<(), ListenerError>> + Send + 'r>> {
            Box::pin(Handler::call(self, record))
        }
    }

    thread_local! {
        /// What was erased last on this thread.
        pub(super) static HANDLER: RefCell<Option<Rc<dyn Call>>> = const { RefCell::new(None) };
    }

    struct Nothing;

    impl Handler for Nothing {
        async fn call(&self, _: RecordContext<'_>) -> Result<(), ListenerError> {
            Ok(())
        }
    }

    pub(super) mod __private {
        use super::*;
        pub(crate) use crate::private::*;

        pub(crate) fn erase<H: Handler + 'static>(handler: H) -> crate::worker::ErasedHandler {
            HANDLER.set(Some(Rc::new(handler)));
            crate::private::erase(Nothing)
        }

        pub(crate) mod inventory {
            macro_rules! submit {
                ($definition:expr) => {};
            }
            pub(crate) use submit;
        }
    }
}

/// Hands the record to the listener, as a worker does.
fn call(definition: ListenerDefinition, sample: &Sample) -> Result<(), ListenerError> {
    drop((definition.handler)());
    let handler = HANDLER.take().expect("the definition erases its handler");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    sample.read(|record| runtime.block_on(handler.call(record)))
}

#[track_caller]
fn check_failure(outcome: Result<(), ListenerError>, class: &ErrorClass, retryable: bool, text: &str) {
    let error = outcome.unwrap_err();
    assert_eq!((error.class(), error.is_retryable(), &*error.source().to_string()), (class, retryable, text));
}

/// Where the listeners of these tests write down that they were called.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: impl fmt::Display) {
        self.0.lock().unwrap().push(line.to_string());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[derive(Deserialize)]
struct Order {
    quantity: u32,
}

#[derive(Debug)]
struct SoldOut;

impl fmt::Display for SoldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sold out")
    }
}

impl std::error::Error for SoldOut {}

impl Classify for SoldOut {
    fn classify(&self) -> Classification {
        Classification::terminal().named("sold_out")
    }
}

#[kafka_listener(crate = self::captured)]
async fn reserve_stock(
    order: Order,
    Key(user): Key<String>,
    meta: RecordMetadata,
    State(log): State<Log>,
) -> Result<(), SoldOut> {
    log.add(format_args!("{user} {} {meta}", order.quantity));
    if order.quantity > 9 { Err(SoldOut) } else { Ok(()) }
}

#[test]
fn payload_and_extractors_reach_the_function_in_their_order() {
    let log = Log::default();
    let sample = Sample::of_payload(br#"{"quantity":2}"#).key(b"user456").state(log.clone());
    call(listener!(reserve_stock), &sample).unwrap();
    assert_eq!(log.lines(), ["user456 2 orders-2@41"]);
}

#[test]
fn the_functions_own_error_is_asked_what_it_is() {
    let sample = Sample::of_payload(br#"{"quantity":10}"#).key(b"user456").state(Log::default());
    let outcome = call(listener!(reserve_stock), &sample);
    check_failure(outcome, &ErrorClass::Named("sold_out".into()), false, "sold out");
}

#[test]
fn a_record_that_does_not_decode_never_reaches_the_function() {
    let log = Log::default();
    for (sample, text) in [
        (Sample::new().key(b"user456"), "tombstone where `Order` is expected; take `Option<Order>`"),
        (Sample::of_payload(b"{}").key(b"user456"), "payload does not decode as `Order`"),
        (Sample::of_payload(b"{}"), "payload does not decode as `Order`"),
        (Sample::of_payload(br#"{"quantity":2}"#).key(b"\xff"), "key does not decode as `String`"),
    ] {
        let outcome = call(listener!(reserve_stock), &sample.state(log.clone()));
        check_failure(outcome, &ErrorClass::Decode, false, text);
    }
    assert!(log.lines().is_empty());
}

struct Rejecting;

impl FromRecord for Rejecting {
    type Rejection = &'static str;

    fn from_record(_: RecordContext<'_>) -> Result<Self, Self::Rejection> {
        Err("the tenant is unknown")
    }
}

#[kafka_listener(crate = self::captured)]
async fn never_called(_: Option<Order>, _: Rejecting) {
    unreachable!("the extractor rejects every record");
}

#[test]
fn a_rejection_is_terminal() {
    let outcome = call(listener!(never_called), &Sample::new());
    check_failure(outcome, &ErrorClass::Terminal, false, "the tenant is unknown");
}

#[test]
fn what_the_extractors_need_is_known_before_any_record() {
    let missing = missing_states(&[listener!(reserve_stock), listener!(never_called)], &States::default());
    let missing: Vec<_> = missing.iter().map(|missing| (missing.listener, missing.type_name)).collect();
    assert_eq!(missing, [("reserve_stock", std::any::type_name::<Log>())]);
}

#[kafka_listener(crate = self::captured)]
fn plain(thread: ConsumerRecord<Option<Order>>, State(log): State<Log>) -> Result<(), ListenerError> {
    log.add(format_args!("{:?}", std::thread::current().id()));
    match thread.payload() {
        Some(_) => Ok(()),
        None => Err(ListenerError::terminal("no order")),
    }
}

#[kafka_listener(blocking = true, crate = self::captured)]
async fn blocking(_: Option<Order>, State(log): State<Log>) {
    // Held across an await: on its own thread, the future need not be `Send`.
    let thread = Rc::new(std::thread::current().id());
    tokio::task::yield_now().await;
    log.add(format_args!("{thread:?}"));
}

#[test]
fn blocking_code_runs_on_another_thread() {
    let here: ThreadId = std::thread::current().id();
    for definition in [listener!(plain), listener!(blocking)] {
        let log = Log::default();
        let sample = Sample::of_payload(br#"{"quantity":2}"#).state(log.clone());
        call(definition, &sample).unwrap();
        let lines = log.lines();
        assert_eq!(lines.len(), 1, "{}", definition.id);
        assert_ne!(lines[0], format!("{here:?}"), "{}", definition.id);
    }
}

#[test]
fn what_a_plain_function_returns_is_judged_as_well() {
    let outcome = call(listener!(plain), &Sample::new().state(Log::default()));
    check_failure(outcome, &ErrorClass::Terminal, false, "no order");
}

#[tokio::test]
async fn the_function_is_callable_as_before() {
    let log = Log::default();
    let meta = Sample::new().read(RecordMetadata::of);
    reserve_stock(Order { quantity: 1 }, Key("user456".to_owned()), meta, State(log.clone())).await.unwrap();
    assert_eq!(log.lines(), ["user456 1 orders-2@41"]);
}
