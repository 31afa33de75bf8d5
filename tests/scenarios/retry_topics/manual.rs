//! Retry topics where records are acknowledged by hand: one that is put off is done in its topic, and in a retry topic it is
//! done when its acknowledgement comes.

use kafka_listener::Acknowledgment;
use tokio::sync::mpsc;

use super::*;

/// Where the last delivery of each record leaves its acknowledgement.
type Out = mpsc::Sender<(usize, Acknowledgment)>;

/// The first delivery fails, the second drops its acknowledgement, the third asks to be delivered once more, the fourth lets
/// it out. A record that never fails is acknowledged at once.
#[kafka_listener(id = "by-hand", retry_topics = { delays = ["300ms", "700ms"] })]
async fn by_hand(
    order: Order,
    meta: RecordMetadata,
    attempt: Attempt,
    ack: Acknowledgment,
    State(ledger): State<Ledger>,
    State(out): State<Out>,
) -> Result<(), ListenerError> {
    let earlier = ledger.of(order.number).len();
    ledger.0.lock().unwrap().push(Delivery {
        group: meta.group_id().to_owned(),
        number: order.number,
        topic: meta.topic().to_owned(),
        attempt,
        millis: now_millis(),
        due: None,
        failed: earlier < 2 && order.fails > 0,
    });
    match earlier {
        _ if order.fails == 0 => drop(ack.acknowledge()),
        0 => return Err(ListenerError::retryable("for now")),
        1 => drop(ack),
        2 => drop(ack.nack(Duration::from_millis(20))),
        _ => out.try_send((order.number, ack)).unwrap(),
    }
    Ok(())
}

async fn is_done_when_it_is_acknowledged(mode: &str) {
    let case = Case::new(1).await;
    let (out, mut acknowledgments) = mpsc::channel(1);
    let builder = case.ground.registry().register(listener!(by_hand)).state(case.ledger.clone()).state::<Out>(out);
    let builder = builder.set("listener.ack_mode", mode).set("listener.session_timeout", "6s");
    let listeners = builder.set("listener.on_failure", "dead_letter").start().await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    broker().produce_all([case.record(0, 1), case.record(1, 0), case.record(2, 0)]).await.unwrap();
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    let (number, ack) = tokio::time::timeout(SOON, acknowledgments.recv()).await.unwrap().unwrap();
    status(&listeners, "its acknowledgement is out", |status| is_in(status, Phase::AckOutstanding)).await;
    let way: Vec<_> = case.ledger.of(number).into_iter().map(|one| one.topic).collect();
    let expected = [&case.ground.topic, &case.first, &case.second, &case.second].map(Clone::clone);
    assert_eq!(way, expected, "{mode}");
    assert_eq!((case.ledger.of(1).len(), case.ledger.of(2).len()), (1, 1));

    let committed = || async { broker().committed(&case.retry_group(), &case.second).await.unwrap() };
    broker().wait_for_commits_to_end(&case.retry_group(), &case.first, SOON).await.unwrap();
    assert!(committed().await.values().all(|offset| *offset == 0), "{:?}", committed().await);
    drop(ack.acknowledge());
    broker().wait_for_commits_to_end(&case.retry_group(), &case.second, SOON).await.unwrap();
    status(&listeners, "counted", |status| status.put_off == 2 && status.dead_lettered == 0).await;
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(broker().read_topic(&case.dead).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_in_a_retry_topic_is_done_when_it_is_acknowledged() {
    is_done_when_it_is_acknowledged("manual").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_in_a_retry_topic_is_done_when_it_is_acknowledged_at_once() {
    is_done_when_it_is_acknowledged("manual_immediate").await;
}
