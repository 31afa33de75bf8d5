//! One task per assigned partition.

/// A listener's handler behind a pointer, called once per hand-over.
pub type ErasedHandler = Box<dyn std::any::Any + Send + Sync>;
