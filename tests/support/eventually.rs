//! Waiting for a condition instead of for luck.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::bail;

/// How long a test waits for what has to come and mostly comes in well under a second: the machine may be slow, and busy
/// with something else. Where a promise has a deadline, that one is waited for instead.
pub const SOON: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// What a condition says when it is looked at: yes or no, or no with a reason.
pub trait Outcome {
    /// `Err` has the reason that the failure will name.
    ///
    /// # Errors
    ///
    /// When the condition does not hold yet.
    fn outcome(self) -> Result<(), String>;
}

impl Outcome for bool {
    fn outcome(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("it does not".to_owned()) }
    }
}

impl<T: Outcome> Outcome for anyhow::Result<T> {
    fn outcome(self) -> Result<(), String> {
        // The alternate form has the whole chain.
        self.map_err(|err| format!("{err:#}"))?.outcome()
    }
}

impl Outcome for () {
    fn outcome(self) -> Result<(), String> {
        Ok(())
    }
}

/// Waits until `condition` says yes; after `deadline` fails with `what` and the condition's last reason.
///
/// ```ignore
/// eventually(secs(10), "all orders are handled", || async { handled() == 20_000 }).await?;
/// ```
///
/// # Errors
///
/// When the condition does not hold within the deadline.
pub async fn eventually<F, O>(deadline: Duration, what: &str, mut condition: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = O>,
    O: Outcome,
{
    let give_up = Instant::now() + deadline;
    loop {
        let reason = match condition().await.outcome() {
            Ok(()) => return Ok(()),
            Err(reason) => reason,
        };
        if Instant::now() > give_up {
            bail!("within {deadline:?} it has not come about that {what}: {reason}");
        }
        tokio::time::sleep(STEP).await;
    }
}
