//! What is generated for a listener whose return value is sent.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;

use crate::checks;
use crate::model::ListenerSignature;

/// The function that makes replies of what the listener returned. What is wrong with that is found here, on its type.
pub(crate) fn function(listener: &Ident, signature: &ListenerSignature<'_>) -> Option<TokenStream> {
    let blamed = signature.replies?;
    let parameters = (0..signature.extractors.len()).map(checks::extractor);
    let output = signature.output.map_or_else(|| quote!(()), ToTokens::to_token_stream);
    let here = signature.output.map_or_else(|| listener.span(), Spanned::span).resolved_at(Span::call_site());
    let acknowledgments = quote_spanned! {blamed=>
        const _: () = __kafka_listener::check_reply(&[#(#parameters.takes_acknowledgment()),*]);
    };
    let function = quote_spanned! {here=>
        fn __kafka_listener_reply(
            record: __kafka_listener::RecordContext<'_>,
            outcome: #output,
        ) -> ::core::result::Result<(), __kafka_listener::ListenerError> {
            use __kafka_listener::replying::*;
            let value = (&&&__kafka_listener::ReplyProbe::<#output>::NEW).__kafka_listener_split(outcome)?;
            (&&&&&__kafka_listener::reply_probe(&value)).__kafka_listener_reply(value, record)
        }
    };
    Some(quote! { #acknowledgments #function })
}

/// The names of classes that the listener's errors may give.
pub(crate) fn error_names(signature: &ListenerSignature<'_>) -> TokenStream {
    let output = signature.output.map_or_else(|| quote!(()), ToTokens::to_token_stream);
    quote! {
        {
            use __kafka_listener::replying::*;
            (&&&__kafka_listener::ReplyProbe::<#output>::NEW).__kafka_listener_names()
        }
    }
}
