//! Looks for the dead letter topics of a listener from its start on, and says it loudly while one is missing: better then
//! than at the first record that needs it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{DeadLetters, lock};

/// How long one question may wait for a broker.
const ASK: Duration = Duration::from_secs(2);
/// How often a topic that is missing, or a cluster that does not answer, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Ends when every topic is there, or with the listener.
pub(crate) async fn watch(letters: Weak<DeadLetters>, listener: Arc<str>, mut sources: Vec<String>) {
    while !sources.is_empty() {
        let Some(letters) = letters.upgrade() else { return };
        let mut open = Vec::new();
        for source in sources {
            if !is_there(&letters, &listener, &source).await {
                open.push(source);
            }
        }
        drop(letters);
        sources = open;
        if !sources.is_empty() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

async fn is_there(letters: &DeadLetters, listener: &str, source: &str) -> bool {
    let topic = letters.topic_for(source);
    let was_missing = lock(&letters.missing).contains(&topic);
    let partitions = match letters.ask(&topic, ASK).await {
        Ok(Some(partitions)) => partitions,
        Ok(None) => {
            if lock(&letters.missing).insert(topic.clone()) {
                tracing::error!(%listener, topic, "the dead letter topic is missing: until somebody creates it, a \
                    record that needs it holds its partition; it is not created by itself");
            }
            return false;
        }
        Err(error) => {
            tracing::debug!(%listener, topic, %error, "whether the dead letter topic is there is not known yet");
            return false;
        }
    };
    if was_missing {
        tracing::info!(%listener, topic, partitions, "the dead letter topic is there now");
    }
    if let Ok(Some(of_source)) = letters.ask(source, ASK).await
        && of_source > partitions
    {
        tracing::warn!(%listener, topic, partitions, source, source_partitions = of_source,
            "the dead letter topic has fewer partitions: records of those that it lacks go where their key says");
    }
    true
}
