//! Looks for topics that a listener publishes to, from its start on, and says it loudly while one is missing: better then
//! than at the first record that needs it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Forwarder, lock};

/// How long one question may wait for a broker.
const ASK: Duration = Duration::from_secs(2);
/// How often a topic that is missing, or a cluster that does not answer, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A topic that has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: String,
    /// The topic whose partitions it ought to have, each record going to the one of the same number.
    pub(crate) like: Option<String>,
}

/// Ends when every topic is there, or with the listener.
pub(crate) async fn watch(forwarder: Weak<Forwarder>, listener: Arc<str>, mut wanted: Vec<Wanted>) {
    while !wanted.is_empty() {
        let Some(forwarder) = forwarder.upgrade() else { return };
        let mut open = Vec::new();
        for topic in wanted {
            if !is_there(&forwarder, &listener, &topic).await {
                open.push(topic);
            }
        }
        drop(forwarder);
        wanted = open;
        if !wanted.is_empty() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

async fn is_there(forwarder: &Forwarder, listener: &str, Wanted { topic, like }: &Wanted) -> bool {
    let kind = forwarder.kind;
    let was_missing = lock(&forwarder.missing).contains(topic);
    let partitions = match forwarder.ask(topic, ASK).await {
        Ok(Some(partitions)) => partitions,
        Ok(None) => {
            if lock(&forwarder.missing).insert(topic.clone()) {
                tracing::error!(%listener, topic, "the {kind} is missing: until somebody creates it, a record that needs \
                    it holds its partition; it is not created by itself");
            }
            return false;
        }
        Err(error) => {
            tracing::debug!(%listener, topic, %error, "whether the {kind} is there is not known yet");
            return false;
        }
    };
    if was_missing {
        tracing::info!(%listener, topic, partitions, "the {kind} is there now");
    }
    if let Some(source) = like
        && let Ok(Some(of_source)) = forwarder.ask(source, ASK).await
        && of_source > partitions
    {
        tracing::warn!(%listener, topic, partitions, source, source_partitions = of_source,
            "the {kind} has fewer partitions: records of those that it lacks go where their key says");
    }
    true
}
