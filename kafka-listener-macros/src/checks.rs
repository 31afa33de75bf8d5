//! Checks that only the compiler can make, each one constant on the user's own token.
//!
//! A constant mentions what it judges once: mentioned again, the compiler would report the same fault again.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{GenericArgument, PathArguments, Type};

use crate::model::{ListenerSignature, Setting, Value};

pub(crate) const PAYLOAD: &str = "__KAFKA_LISTENER_PAYLOAD";
pub(crate) const OUTCOME: &str = "__KAFKA_LISTENER_OUTCOME";

pub(crate) fn constant(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}

pub(crate) fn extractor(index: usize) -> Ident {
    format_ident!("__KAFKA_LISTENER_EXTRACTOR_{}", index)
}

/// The constants of the parameters and the return type.
pub(crate) fn of_signature(signature: &ListenerSignature<'_>, codec: Option<&Type>) -> TokenStream {
    let ListenerSignature { payload, extractors, output, .. } = signature;
    let name = constant(PAYLOAD);
    let made = codec.map_or_else(
        || quote_spanned! {payload.span()=> __kafka_listener::payload::<#payload>() },
        |codec| by_codec(codec, payload),
    );
    let payload = quote_spanned! {payload.span()=>
        const #name: __kafka_listener::PayloadOf<#payload> = #made;
    };
    let extractors = extractors.iter().enumerate().map(|(index, extractor_type)| {
        let name = extractor(index);
        quote_spanned! {extractor_type.span()=>
            const #name: __kafka_listener::ExtractorOf<#extractor_type> =
                __kafka_listener::extractor::<#extractor_type>();
        }
    });
    let name = constant(OUTCOME);
    let outcome = if signature.replies.is_some() {
        TokenStream::new()
    } else if let Some(output) = output {
        quote_spanned! {output.span()=>
            const #name: __kafka_listener::OutcomeOf<#output> = __kafka_listener::outcome::<#output>();
        }
    } else {
        quote! { const #name: __kafka_listener::OutcomeOf<()> = __kafka_listener::outcome::<()>(); }
    };
    quote! { #payload #(#extractors)* #outcome }
}

/// A codec of the user's decodes what stands in `Option` and `ConsumerRecord`, which are known by their names.
fn by_codec(codec: &Type, payload: &Type) -> TokenStream {
    let (function, decoded) = match argument_of("ConsumerRecord", payload) {
        Some(inner) => match argument_of("Option", inner) {
            Some(inner) => ("optional_record_by", inner),
            None => ("record_by", inner),
        },
        None => match argument_of("Option", payload) {
            Some(inner) => ("optional_payload_by", inner),
            None => ("payload_by", payload),
        },
    };
    let function = Ident::new(function, codec.span());
    quote_spanned! {codec.span()=> __kafka_listener::#function::<#codec, #decoded>() }
}

/// The one type in the angle brackets of a type of that name.
fn argument_of<'t>(name: &str, of: &'t Type) -> Option<&'t Type> {
    let Type::Path(path) = of else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(argument)) if arguments.args.len() == 1 => Some(argument),
        _ => None,
    }
}

/// Arguments that must fit the parameters, judged on their values.
pub(crate) fn of_acks(settings: &[Setting], signature: &ListenerSignature<'_>) -> TokenStream {
    let mut checks = TokenStream::new();
    for setting in settings {
        let check = match setting.key.as_str() {
            "ack_mode" => "check_ack_mode",
            "async_acks" => "check_async_acks",
            _ => continue,
        };
        let span = setting.value.expr().span();
        let (check, name) = (Ident::new(check, span), constant_of(setting));
        let extractors = (0..signature.extractors.len()).map(extractor);
        checks.extend(quote_spanned! {span=>
            const _: () = __kafka_listener::#check(#name, &[#(#extractors.takes_acknowledgment()),*]);
        });
    }
    checks
}

fn constant_of(setting: &Setting) -> Ident {
    constant(&format!("__KAFKA_LISTENER_{}", setting.key.replace('.', "__").to_uppercase()))
}

/// The constant of an argument's value, and the name of it.
pub(crate) fn of_setting(setting: &Setting) -> (Ident, TokenStream) {
    let name = constant_of(setting);
    let tokens = match &setting.value {
        Value::Text(text) => text_constant(&name, text, "check_text"),
        Value::Texts(texts) => {
            let check = (!matches!(texts, syn::Expr::Array(_))).then(|| {
                quote_spanned! {texts.span()=> const _: () = __kafka_listener::check_texts(#name); }
            });
            let borrow = matches!(texts, syn::Expr::Array(_)).then(|| quote_spanned!(texts.span()=> &));
            quote_spanned! {texts.span()=>
                const #name: &[&::core::primitive::str] = #borrow #texts;
                #check
            }
        }
        Value::Pairs(pairs) => quote_spanned! {pairs.span()=>
            const #name: &[(&::core::primitive::str, &::core::primitive::str)] = &#pairs;
            const _: () = __kafka_listener::check_pairs(#name);
        },
        Value::Count(count) => quote_spanned! {count.span()=>
            const #name: ::core::primitive::usize = #count;
            const _: () = __kafka_listener::check_count(#name);
        },
        Value::Switch(switch) => quote_spanned! {switch.span()=>
            const #name: ::core::primitive::bool = #switch;
        },
    };
    (name, tokens)
}

/// A string constant; what is not a literal is judged by `check` when the constant is evaluated.
pub(crate) fn text_constant(name: &Ident, text: &syn::Expr, check: &str) -> TokenStream {
    let check = Ident::new(check, text.span());
    let check = (!matches!(text, syn::Expr::Lit(_))).then(|| {
        quote_spanned! {text.span()=> const _: () = __kafka_listener::#check(#name); }
    });
    quote_spanned! {text.span()=>
        const #name: &::core::primitive::str = #text;
        #check
    }
}
