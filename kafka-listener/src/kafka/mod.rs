//! Everything that touches librdkafka: nothing outside of this folder names it.

#[cfg(feature = "embedded")]
pub(crate) mod mock;
