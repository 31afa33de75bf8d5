//! What the attribute leaves behind: a constant description of one listener, and the trait its generated code fills.
//!
//! Everything here is reached through `__private`: generated code is its only user.

use std::future::Future;

use crate::failure::ListenerError;
use crate::record::RecordContext;
use crate::state::Requirements;

/// One listener as written in the source: what [`listener!`](crate::listener) gives and `register` takes.
///
/// Built in a constant by generated code.
#[derive(Clone, Copy, Debug)]
pub struct ListenerDefinition {
    /// `id = "…"`, or the function's name.
    pub id: &'static str,
    /// The function's name.
    pub function: &'static str,
    /// `module_path!()` of the function.
    pub module: &'static str,
    /// `file!()` of the attribute.
    pub file: &'static str,
    /// `line!()` of the attribute.
    pub line: u32,
    /// The attribute's arguments but `id`, `blocking` and `crate`, as written: one layer of the configuration.
    #[doc(hidden)]
    pub attributes: &'static [Attribute],
    /// Name of the payload's type, for errors.
    #[doc(hidden)]
    pub payload_type: fn() -> &'static str,
    /// The names of classes that the listener's errors may give, if all are known.
    #[doc(hidden)]
    pub error_names: fn() -> Option<&'static [&'static str]>,
    /// Declares what the extractors need; run at start.
    #[doc(hidden)]
    pub requirements: fn(&mut Requirements),
    /// Makes the type-erased handler.
    #[doc(hidden)]
    pub handler: fn() -> crate::worker::ErasedHandler,
}

/// One argument of the attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// The key as it stands in the configuration file.
    pub key: &'static str,
    /// Its value.
    pub value: AttributeValue,
    /// Where it is written: line in the definition's file, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// A value in the attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttributeValue {
    /// A string, placeholders unresolved.
    Str(&'static str),
    /// An integer.
    Int(i64),
    /// `true` or `false`.
    Bool(bool),
    /// A list of strings.
    List(&'static [&'static str]),
    /// A list of pairs of strings.
    Pairs(&'static [(&'static str, &'static str)]),
}

/// One listener function, as generated code wraps it: decode, extract, call, classify.
pub trait Handler: Send + Sync {
    /// Whether it may pass records over.
    const FILTERS: bool = false;

    /// Whether what it returns is sent.
    const REPLIES: bool = false;

    /// Handles one record. Decode errors and rejections of extractors come back as terminal errors.
    fn call<'r>(&'r self, record: RecordContext<'r>) -> impl Future<Output = Result<(), ListenerError>> + Send + 'r;
}

inventory::collect!(ListenerDefinition);
