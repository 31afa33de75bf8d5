//! One span around a handler, and none where nobody listens.

use std::sync::{Arc, Mutex};

use kafka_listener::extract::State;
use kafka_listener::{RecordMetadata, kafka_listener, listener};

use crate::common::{Ground, Order, wait_for_status};
use crate::log::{handler_spans, hear_handler_spans};

/// The name of the span that each handler ran in.
#[derive(Clone, Debug, Default)]
struct Ran(Arc<Mutex<Vec<Option<&'static str>>>>);

#[kafka_listener(id = "spanned")]
async fn spanned(_order: Order, _meta: RecordMetadata, State(ran): State<Ran>) {
    // Awaits once, so that the span is seen to be entered again.
    tokio::task::yield_now().await;
    ran.0.lock().unwrap().push(tracing::Span::current().metadata().map(tracing::Metadata::name));
}

#[tokio::test]
async fn a_handler_runs_in_a_span_only_while_somebody_listens_to_it() {
    let ground = Ground::new(1).await;
    let ran = Ran::default();
    let listeners = ground.registry().register(listener!(spanned)).state(ran.clone()).start().await.unwrap();

    ground.order(0, "nobody listens").await;
    wait_for_status(&listeners, "the first is handled", |status| status.handled == 1).await;
    assert_eq!(*ran.0.lock().unwrap(), [None]);

    hear_handler_spans(true);
    ground.order(0, "somebody listens").await;
    wait_for_status(&listeners, "the second is handled", |status| status.handled == 2).await;
    hear_handler_spans(false);
    ground.order(0, "nobody listens any more").await;
    wait_for_status(&listeners, "the third is handled", |status| status.handled == 3).await;
    listeners.shutdown().await.into_result().unwrap();

    assert_eq!(*ran.0.lock().unwrap(), [None, Some("process"), None]);
    let spans = handler_spans();
    let spans: Vec<_> = spans.iter().filter(|span| span.field("listener") == "spanned").collect();
    assert_eq!(spans.len(), 1, "{spans:?}");
    let field = |name: &str| ground.anonymous(spans[0].field(name));
    assert_eq!(field("messaging.system.name"), "kafka");
    assert_eq!(field("messaging.destination.name"), "orders");
    assert_eq!(field("messaging.destination.partition.id"), "0");
    assert_eq!(field("messaging.consumer.group.name"), "group");
    assert_eq!((field("messaging.kafka.offset"), field("attempt")), ("1".to_owned(), "1".to_owned()));
    assert_eq!(spans[0].name, "process");
}
