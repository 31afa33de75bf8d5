//! Topics that are not there when a listener starts: `missing_topics`.

use kafka_listener::{ContainerState, Error};
use support::{broker, unique};

use super::desk::{Desk, Journal, LISTENER, SOON, registry};

#[tokio::test(flavor = "multi_thread")]
async fn wait_takes_a_topic_that_is_created_later() {
    let (topic, group) = (unique("orders"), unique("group"));
    let journal = Journal::default();
    let listeners = registry(broker(), &topic, &group, &Desk::new("only", &journal))
        .config_str("[kafka.properties]\n\"topic.metadata.refresh.interval.ms\" = 500")
        .start()
        .await
        .unwrap();
    let container = listeners.container(LISTENER).unwrap();
    assert_eq!(container.state(), ContainerState::Starting);
    assert!(!listeners.health().ready.ok && listeners.health().live.ok);

    broker().create_topic(&topic, 2).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();

    journal.wait_for_ended(20).await;
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    journal.assert_each_once(&broker().end_offsets(&topic).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_ends_run_with_the_names_of_the_topics_that_are_missing() {
    let (there, missing, group) = (unique("orders"), unique("missing"), unique("group"));
    let also_missing = unique("also-missing");
    broker().create_topic(&there, 1).await.unwrap();
    broker().produce_orders(&there, 5).await.unwrap();
    let journal = Journal::default();
    let builder = registry(broker(), &there, &group, &Desk::new("only", &journal))
        .set("listener.missing_topics", "fail")
        .set("listeners.desk.topics", vec![missing.clone(), there.clone(), also_missing.clone()]);

    let ended = tokio::time::timeout(SOON, builder.run()).await.unwrap();

    let Err(Error::Failed { listener, reason }) = ended else { panic!("{ended:?}") };
    assert_eq!(listener, "desk");
    assert!(reason.contains(&missing) && reason.contains(&also_missing) && !reason.contains(&there), "{reason}");
    assert_eq!(journal.entries(), []);
}
