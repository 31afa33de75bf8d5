//! `State<S>`: services of the application, injected by type.
//!
//! What a listener takes is declared, so that a state that nobody gave fails the start and never a record.

use std::any::type_name;

use super::FromRecord;
use crate::record::RecordContext;
use crate::state::Requirements;

/// A service given to the builder by `.state(…)`, found by its type and cloned for every record.
///
/// `S` is cheap to clone: a handle, or an `Arc`. A listener whose state nobody gave fails the start.
///
/// ```
/// use kafka_listener::extract::State;
///
/// # #[derive(Clone)] struct Payments;
/// # impl Payments { async fn request(&self, _: &str) -> anyhow::Result<()> { Ok(()) } }
/// # #[derive(serde::Deserialize)] struct Order { order_id: String }
/// # #[cfg(feature = "macros")]
/// #[kafka_listener::kafka_listener(topic = "orders", group_id = "order-service")]
/// async fn request_payment(order: Order, State(payments): State<Payments>) -> anyhow::Result<()> {
///     payments.request(&order.order_id).await
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct State<S>(pub S);

impl<S: Clone + Send + Sync + 'static> FromRecord for State<S> {
    type Rejection = StateNotGiven;

    const READS_HEADERS: bool = false;

    fn requirements(requirements: &mut Requirements) {
        requirements.state::<S>();
    }

    #[inline]
    fn from_record(record: RecordContext<'_>) -> Result<Self, StateNotGiven> {
        match record.states().get::<S>() {
            Some(state) => Ok(Self(state.clone())),
            None => Err(StateNotGiven { type_name: type_name::<S>() }),
        }
    }
}

/// An extractor read a state that it had not declared in [`FromRecord::requirements`], and nobody gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state of type `{type_name}` was given to the builder")]
pub struct StateNotGiven {
    type_name: &'static str,
}
