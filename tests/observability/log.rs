//! All that the library logs, kept for the tests to read: one subscriber for the process, as a service has one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The target of the spans around handlers.
const HANDLER: &str = "kafka_listener::handler";

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());
static SPANS: Mutex<Vec<Line>> = Mutex::new(Vec::new());
static HANDLER_SPANS_ARE_HEARD: AtomicBool = AtomicBool::new(false);

/// One line, or one span: its message is the field `message`.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) name: &'static str,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Line {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn message(&self) -> &str {
        self.field("message")
    }
}

/// Keeps everything from now on, at every level. Spans around handlers are heard only while a test asks for them.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ours = dynamic_filter_fn(|metadata, _| {
            let is_handler = metadata.target() == HANDLER;
            metadata.target().starts_with("kafka_listener")
                && (!is_handler || HANDLER_SPANS_ARE_HEARD.load(Ordering::SeqCst))
        });
        // A filter of one layer alone would leave the spans switched on, though unheard.
        let subscriber = tracing_subscriber::registry().with(Keep).with(ours);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// Whether somebody listens to the spans around handlers.
pub(crate) fn hear_handler_spans(heard: bool) {
    HANDLER_SPANS_ARE_HEARD.store(heard, Ordering::SeqCst);
}

/// What was logged of a listener, the oldest first.
pub(crate) fn lines_of(listener: &str) -> Vec<Line> {
    lock(&LINES).iter().filter(|line| line.field("listener") == listener).cloned().collect()
}

/// The lines of a listener that hold these words.
pub(crate) fn lines_saying(listener: &str, words: &str) -> Vec<Line> {
    lines_of(listener).into_iter().filter(|line| line.message().contains(words)).collect()
}

/// Every line of every listener and of librdkafka.
pub(crate) fn all_lines() -> Vec<Line> {
    lock(&LINES).clone()
}

/// The spans around handlers that were heard.
pub(crate) fn handler_spans() -> Vec<Line> {
    lock(&SPANS).clone()
}

fn lock(lines: &Mutex<Vec<Line>>) -> MutexGuard<'_, Vec<Line>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        lock(&LINES).push(Line { level: *metadata.level(), name: metadata.name(), fields: fields.0 });
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let metadata = attributes.metadata();
        if metadata.target() == HANDLER {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            lock(&SPANS).push(Line { level: *metadata.level(), name: metadata.name(), fields: fields.0 });
        }
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
