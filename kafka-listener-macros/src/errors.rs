//! Collects faults, so that one compilation shows all of them.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// Every fault found so far, in the order of the source.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    faults: Vec<syn::Error>,
}

impl Errors {
    pub(crate) fn push(&mut self, fault: syn::Error) {
        self.faults.push(fault);
    }

    /// Reports `message` on all of `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Reports `message` on one token.
    pub(crate) fn at(&mut self, span: Span, message: impl Display) {
        self.push(syn::Error::new(span, message));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.faults.len()
    }

    /// The code, followed by the faults as `compile_error!`s.
    pub(crate) fn append_to(self, mut code: TokenStream) -> TokenStream {
        code.extend(self.faults.iter().map(syn::Error::to_compile_error));
        code
    }
}
