//! `#[kafka_listener]` with its documentation, the derive, and `listener!`.

#[cfg(feature = "macros")]
#[doc = include_str!("docs/kafka_listener.md")]
pub use kafka_listener_macros::kafka_listener;

// Documented on the trait of the same name, which rustdoc shows beside it.
#[cfg(feature = "macros")]
#[doc(no_inline)]
pub use kafka_listener_macros::Classify;

/// The definition of the listener at that path, for
/// [`ListenerRegistryBuilder::register`](crate::ListenerRegistryBuilder::register).
///
/// A crate that is only named in `Cargo.toml` and never in the source is not linked in, and its listeners are not
/// discovered. Naming one of them here links it in.
///
/// ```
/// # #[cfg(feature = "macros")] {
/// mod handlers {
///     use kafka_listener::{extract::RawPayload, kafka_listener};
///
///     #[kafka_listener(topic = "orders", group_id = "order-service")]
///     pub async fn request_payment(order: RawPayload) {
///         drop(order);
///     }
/// }
///
/// let definition = kafka_listener::listener!(handlers::request_payment);
/// assert_eq!(definition.id, "request_payment");
/// # }
/// ```
#[macro_export]
macro_rules! listener {
    ($function:path) => {
        <$function>::__kafka_listener_definition()
    };
}

#[cfg(test)]
#[cfg(all(feature = "macros", feature = "json"))]
mod tests;
