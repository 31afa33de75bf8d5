//! A listener whose attribute and signature were found valid.

mod arguments;
mod signature;

pub(crate) use arguments::{Arguments, Id, Setting, Value};
pub(crate) use signature::{ListenerSignature, Run};

use crate::signature::Function;

/// Everything that is expanded. The parts in `Option` are `None` when they have faults, which are reported.
#[derive(Debug)]
pub(crate) struct Listener<'f> {
    pub(crate) function: &'f Function,
    pub(crate) arguments: &'f Arguments,
    pub(crate) signature: Option<ListenerSignature<'f>>,
    pub(crate) id: Id<'f>,
}
