//! Three services, each a group of its own on the same topic. They know nothing of each other.

pub(crate) mod inventory;
pub(crate) mod notification;
pub(crate) mod order;
