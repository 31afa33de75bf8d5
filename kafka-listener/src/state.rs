//! Injected services: a map by type, filled in the builder, read by `State<S>`.

/// The values given to `ListenerRegistry::builder().state(…)`, by type.
#[derive(Clone, Debug, Default)]
pub(crate) struct States;

/// What a listener's extractors need; filled at start so that everything missing is found at once.
#[derive(Debug, Default)]
pub struct Requirements;
