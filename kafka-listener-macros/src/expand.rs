//! From the model to code: the item untouched, a type of the function's name that leads to the definition, and one
//! anonymous constant with everything else.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Path;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::checks;
use crate::model::{Id, Listener, ListenerSignature, Run, Setting, Value};
use crate::replies;

/// `complete`: there was no fault; else nothing is registered, and what is right is still checked.
pub(crate) fn expand(item: TokenStream, listener: &Listener<'_>, complete: bool) -> TokenStream {
    // An associated function cannot have a type beside it; its receiver is reported already.
    if listener.function.signature.receiver().is_some() {
        return item;
    }
    let conditions = &listener.function.conditions;
    let visibility = &listener.function.visibility;
    let function = &listener.function.signature.ident;
    let krate = &listener.arguments.krate;
    let import = quote_spanned! {krate.span()=> use #krate::__private as __kafka_listener; };
    let (constants, attributes) = attributes(&listener.arguments.settings);
    let id = id_constant(&listener.id);
    let signature = listener.signature.as_ref().map(|signature| {
        let checks = checks::of_signature(signature, listener.arguments.codec.as_ref());
        let acks = checks::of_acks(&listener.arguments.settings, signature);
        let filter = listener.arguments.filter.as_ref();
        let handler = handler(function, signature, filter);
        quote! { #checks #acks #handler }
    });
    let definition = match &listener.signature {
        Some(signature) if complete => {
            definition(function, signature, listener.arguments.filter.is_some(), &attributes)
        }
        _ => fallback(function),
    };
    let traits = traits(function);
    let lints = fallback_lints(complete);
    let own_lints = own_lints(listener);
    quote! {
        #own_lints
        #item

        #(#conditions)*
        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #[non_exhaustive]
        #visibility enum #function {}

        #(#conditions)*
        #[doc(hidden)]
        #lints
        const _: () = {
            #import
            #id
            #constants
            #signature
            #definition
            #traits
        };
    }
}

/// What lints ask of a public type. Written out, as a derive would match on a namesake of the user's and fail again.
fn traits(function: &Ident) -> TokenStream {
    let name = function.unraw().to_string();
    quote! {
        #[automatically_derived]
        impl ::core::marker::Copy for #function {}

        #[automatically_derived]
        impl ::core::clone::Clone for #function {
            fn clone(&self) -> Self {
                *self
            }
        }

        #[automatically_derived]
        impl ::core::fmt::Debug for #function {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(#name)
            }
        }
    }
}

/// Lints that the contract of a listener breaks, needed or not: it is async, and it owns what it takes.
///
/// An `allow` of a lint that the user's crate forbids is an error. So none is given that is not needed, neither here nor
/// for generated code, which avoids lints by what it is made of; whole groups are never allowed.
fn own_lints(listener: &Listener<'_>) -> Option<TokenStream> {
    let function = listener.function;
    if function.signature.asyncness.is_none() {
        Some(quote!(#[allow(clippy::needless_pass_by_value)]))
    } else if !function.awaits {
        Some(quote!(#[allow(clippy::unused_async)]))
    } else {
        None
    }
}

/// Half an expansion leaves things unused, which is not what the user is to read about.
fn fallback_lints(complete: bool) -> Option<TokenStream> {
    (!complete).then(|| quote!(#[allow(dead_code, unused_imports)]))
}

fn id_constant(id: &Id<'_>) -> TokenStream {
    let name = checks::constant("__KAFKA_LISTENER_ID");
    match id {
        Id::Given(text) => checks::text_constant(&name, text, "check_id"),
        Id::Function(function) => quote! { const #name: &::core::primitive::str = #function; },
    }
}

/// The constants of all settings, and the list that the definition holds.
fn attributes(settings: &[Setting]) -> (TokenStream, TokenStream) {
    let mut constants = TokenStream::new();
    let mut entries = TokenStream::new();
    for setting in settings {
        let (name, constant) = checks::of_setting(setting);
        constants.extend(constant);
        let key = &setting.key;
        let span = setting.value.expr().span();
        let value = match setting.value {
            Value::Text(_) => quote!(Str(#name)),
            Value::Texts(_) => quote!(List(#name)),
            Value::Pairs(_) => quote!(Pairs(#name)),
            Value::Count(_) => quote_spanned!(span=> Int(__kafka_listener::count(#name))),
            Value::Switch(_) => quote!(Bool(#name)),
        };
        // On the user's token these two give its place, not the attribute's.
        let (line, column) = (quote_spanned!(span=> ::core::line!()), quote_spanned!(span=> ::core::column!()));
        entries.extend(quote! {
            __kafka_listener::Attribute {
                key: #key,
                value: __kafka_listener::AttributeValue::#value,
                line: #line,
                column: #column,
            },
        });
    }
    (constants, quote! { &[#entries] })
}

/// The type that decodes, extracts, calls and settles.
fn handler(function: &Ident, signature: &ListenerSignature<'_>, filter: Option<&Path>) -> TokenStream {
    let hygienic = |name: &str| Ident::new(name, Span::mixed_site());
    let (payload, record, outcome) = (hygienic("payload"), hygienic("record"), hygienic("outcome"));
    let payload_of = checks::constant(checks::PAYLOAD);
    let outcome_of = checks::constant(checks::OUTCOME);
    let parameters: Vec<_> = (0..signature.extractors.len())
        .map(|index| format_ident!("parameter_{}", index, span = Span::mixed_site()))
        .collect();
    let extractors = (0..signature.extractors.len()).map(checks::extractor);
    // Bounds are judged on the function's name. A future that is not `Send` is found twice, in the call and in the block
    // around it; on one token it shows once. To lints, the token is generated.
    let here = function.span().resolved_at(Span::call_site());
    let call = quote_spanned! {here=> #function(#payload #(, #parameters)*) };
    let call = match signature.run {
        Run::Async => quote_spanned! {here=> __kafka_listener::listener_future_must_be_send(#call) },
        Run::Blocking => quote_spanned! {here=> __kafka_listener::run_blocking(#record, move || #call) },
        Run::BlockingFuture => {
            quote_spanned! {here=> __kafka_listener::run_blocking_future(#record, move || #call) }
        }
    };
    let output = signature.output.map_or_else(|| quote!(()), ToTokens::to_token_stream);
    let reply = replies::function(function, signature);
    let replies = reply.as_ref().map(|_| quote! { const REPLIES: bool = true; });
    let request = reply.as_ref().map(|_| quote! { __kafka_listener::check_request(#record)?; });
    let settle = if reply.is_some() {
        quote! { __kafka_listener_reply(#record, #outcome) }
    } else {
        quote! { (&__kafka_listener::Probe::<#output>::NEW).__kafka_listener_settle(#outcome_of, #outcome) }
    };
    let passed_over = quote! { return ::core::result::Result::Ok(()); };
    let before = filter.map(|_| {
        quote! {
            if !__kafka_listener::FilterBy::passes_before(&__kafka_listener_filter(), #record) { #passed_over }
        }
    });
    let after = filter.map(|_| {
        quote! {
            if !__kafka_listener::FilterBy::passes_after(&__kafka_listener_filter(), &#payload, #record) { #passed_over }
        }
    });
    let payload_type = signature.payload;
    let filter_function = filter.map(|filter| {
        let check = quote_spanned! {filter.span()=> __kafka_listener::filter::<#payload_type, _, _>(#filter) };
        quote! {
            fn __kafka_listener_filter() -> impl __kafka_listener::FilterBy<#payload_type> {
                #check
            }
        }
    });
    let filters = filter.map(|_| quote! { const FILTERS: bool = true; });
    let body = quote_spanned! {here=>
        async move {
            use __kafka_listener::settling::*;
            #before
            let #payload = #payload_of.decode(#record)?;
            #after
            (&#payload_of.validity()).__kafka_listener_validate(&#payload)?;
            #request
            #(let #parameters = #extractors.extract(#record)?;)*
            let #outcome = #call.await;
            #settle
        }
    };
    quote! {
        struct __KafkaListenerHandler;

        #filter_function
        #reply

        impl __kafka_listener::Handler for __KafkaListenerHandler {
            #filters
            #replies

            fn call<'r>(
                &'r self,
                #record: __kafka_listener::RecordContext<'r>,
            ) -> impl ::core::future::Future<
                Output = ::core::result::Result<(), __kafka_listener::ListenerError>,
            > + ::core::marker::Send + 'r {
                #body
            }
        }
    }
}

/// The description, the way to it by path, and its registration.
fn definition(
    function: &Ident,
    signature: &ListenerSignature<'_>,
    is_filtered: bool,
    attributes: &TokenStream,
) -> TokenStream {
    let filter_requirements = is_filtered.then(|| {
        quote! { __kafka_listener::FilterBy::requirements(&__kafka_listener_filter(), requirements); }
    });
    let name = function.unraw().to_string();
    let payload_of = checks::constant(checks::PAYLOAD);
    let outcome_of = checks::constant(checks::OUTCOME);
    let output = signature.output.map_or_else(|| quote!(()), ToTokens::to_token_stream);
    let extractors = (0..signature.extractors.len()).map(checks::extractor);
    let error_names = if signature.replies.is_some() {
        replies::error_names(signature)
    } else {
        quote! {
            {
                use __kafka_listener::settling::*;
                (&__kafka_listener::Probe::<#output>::NEW).__kafka_listener_names(#outcome_of)
            }
        }
    };
    let reply_requirements = signature.replies.map(|_| quote! { __kafka_listener::reply_requirements(requirements); });
    quote! {
        const __KAFKA_LISTENER_DEFINITION: __kafka_listener::ListenerDefinition =
            __kafka_listener::ListenerDefinition {
                id: __KAFKA_LISTENER_ID,
                function: #name,
                module: ::core::module_path!(),
                file: ::core::file!(),
                line: ::core::line!(),
                attributes: #attributes,
                payload_type: || #payload_of.type_name(),
                error_names: || #error_names,
                requirements: |requirements| {
                    #payload_of.requirements(requirements);
                    #filter_requirements
                    #reply_requirements
                    #(#extractors.requirements(requirements);)*
                },
                handler: || __kafka_listener::erase(__KafkaListenerHandler),
            };

        impl #function {
            #[doc(hidden)]
            pub const fn __kafka_listener_definition() -> __kafka_listener::ListenerDefinition {
                __KAFKA_LISTENER_DEFINITION
            }
        }

        __kafka_listener::inventory::submit! { #function::__kafka_listener_definition() }
    }
}

/// Lets `listener!(function)` compile although there is no definition: the fault is reported where it is.
fn fallback(function: &Ident) -> TokenStream {
    quote! {
        impl #function {
            #[doc(hidden)]
            pub const fn __kafka_listener_definition() -> ! {
                ::core::panic!("the listener does not compile")
            }
        }
    }
}
