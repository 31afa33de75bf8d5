//! Every rule for the function that can be judged without knowing types, one message each.
//!
//! Knows some types by name, to refuse payloads that would compile and not do what was meant.

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{FnArg, GenericArgument, PathArguments, PathSegment, ReturnType, Safety, Signature, Type, TypePath};

use super::Arguments;
use crate::errors::Errors;
use crate::signature::Function;

/// A signature that a listener may have, as far as types need not be known.
#[derive(Debug)]
pub(crate) struct ListenerSignature<'f> {
    pub(crate) payload: &'f Type,
    pub(crate) extractors: Vec<&'f Type>,
    /// `None`: nothing is written.
    pub(crate) output: Option<&'f Type>,
    pub(crate) run: Run,
    /// What says that the return value is sent: the argument, or the type itself.
    pub(crate) replies: Option<Span>,
}

/// Where the function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// In the partition's worker.
    Async,
    /// On the blocking pool.
    Blocking,
    /// On the blocking pool, which waits for its future.
    BlockingFuture,
}

impl<'f> ListenerSignature<'f> {
    pub(crate) fn validate(function: &'f Function, arguments: &Arguments, errors: &mut Errors) -> Option<Self> {
        let found = errors.len();
        let signature = &function.signature;
        refuse_qualifiers(signature, errors);
        let types: Vec<&Type> = signature.inputs.iter().filter_map(parameter_type).collect();
        if let Some(payload) = types.first() {
            judge_payload(payload, errors);
        } else if signature.receiver().is_none() {
            errors.at(signature.paren_token.span.join(), usage(&signature.ident));
        }
        for extractor in types.iter().skip(1) {
            judge_owned(extractor, errors);
        }
        if let Some(second) = types.iter().skip(1).filter(|extractor| is_acknowledgment(extractor)).nth(1) {
            errors.on(second, "a record has one `Acknowledgment`, and it is taken twice");
        }
        let output = match &signature.output {
            ReturnType::Default => None,
            ReturnType::Type(_, output) => Some(&**output),
        };
        if let Some(output) = output {
            judge_output(output, errors);
        }
        let replies = judge_replies(output, arguments, errors);
        let run = judge_run(signature, arguments, errors);
        match types.split_first() {
            Some((payload, extractors)) if found == errors.len() => {
                Some(Self { payload, extractors: extractors.to_vec(), output, run, replies })
            }
            _ => None,
        }
    }
}

fn refuse_qualifiers(signature: &Signature, errors: &mut Errors) {
    if let Some(constness) = &signature.constness {
        errors.on(constness, "a listener cannot be `const`");
    }
    match &signature.safety {
        Safety::Unsafe(safety) => {
            errors.on(safety, "a listener cannot be `unsafe`: nobody is there to keep its contract");
        }
        Safety::Safe(safety) => errors.on(safety, "a listener cannot be a foreign function"),
        Safety::Default => {}
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "a listener cannot be `extern`");
    }
    if !signature.generics.params.is_empty() {
        let fault = "a listener cannot be generic: the type of its payload is known when it is registered";
        errors.on(&signature.generics, fault);
    }
    if let Some(clause) = &signature.generics.where_clause {
        errors.on(clause, "a listener has no `where` clause: it is not generic");
    }
    if let Some(receiver) = signature.receiver() {
        errors.on(receiver, "a listener is a free function: inject what it needs with `State<S>` instead of `self`");
    }
    if let Some(variadic) = &signature.variadic {
        errors.on(variadic, "a listener cannot be variadic");
    }
}

fn parameter_type(parameter: &FnArg) -> Option<&Type> {
    match parameter {
        FnArg::Receiver(_) => None,
        FnArg::Typed(parameter) => Some(without_groups(&parameter.ty)),
    }
}

fn judge_run(signature: &Signature, arguments: &Arguments, errors: &mut Errors) -> Run {
    match (&signature.asyncness, &arguments.blocking) {
        (Some(_), Some(blocking)) if blocking.value => Run::BlockingFuture,
        (Some(_), _) => Run::Async,
        (None, Some(blocking)) if !blocking.value => {
            let fault = "a plain `fn` always runs on the blocking pool: leave `blocking` out, or write `async fn`";
            errors.on(blocking, fault);
            Run::Blocking
        }
        (None, _) => Run::Blocking,
    }
}

/// Refuses payloads that would decode, but hardly to what was meant.
fn judge_payload(payload: &Type, errors: &mut Errors) {
    let bytes = "the payload's bytes are `RawPayload`: no copy, and null is not empty";
    match without_groups(payload) {
        Type::Reference(reference) => match without_groups(&reference.elem) {
            Type::Slice(slice) if is_u8(&slice.elem) => errors.on(payload, bytes),
            Type::Path(path) if path.path.is_ident("str") => {
                errors.on(payload, "a listener owns its payload: take `String` for a JSON string, or `RawPayload`");
            }
            _ => judge_owned(payload, errors),
        },
        Type::Array(array) if is_u8(&array.elem) => errors.on(payload, bytes),
        Type::Path(path) => judge_payload_path(payload, path, bytes, errors),
        _ => judge_owned(payload, errors),
    }
}

fn judge_payload_path(payload: &Type, path: &TypePath, bytes: &str, errors: &mut Errors) {
    let Some(segment) = path.path.segments.last() else { return };
    let inner = only_argument(segment);
    let shown = inner.map(|inner| inner.to_token_stream().to_string().replace(' ', "")).unwrap_or_default();
    match (segment.ident.to_string().as_str(), inner) {
        ("Bytes" | "BytesMut", None) => errors.on(payload, bytes),
        ("Vec" | "Box" | "Arc" | "Rc", Some(inner)) if is_u8(inner) || is_bytes(inner) => errors.on(payload, bytes),
        ("Vec", Some(_)) => errors.on(
            payload,
            format_args!(
                "a listener takes one record at a time: take `{shown}`; batches are not available yet, and a record \
                 that holds a JSON array goes into a type of your own around the `Vec`"
            ),
        ),
        ("Batch", Some(_)) => {
            errors.on(payload, format_args!("batches are not available yet: take `{shown}`, one record at a time"));
        }
        ("Option" | "ConsumerRecord", Some(inner)) => judge_payload(inner, errors),
        ("State" | "Key", Some(_)) | ("Acknowledgment", None) => {
            errors.on(payload, format_args!("the payload comes first, and `{}` is an extractor", segment.ident));
        }
        _ => judge_owned(payload, errors),
    }
}

fn is_acknowledgment(of: &Type) -> bool {
    matches!(of, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Acknowledgment"))
}

fn is_bytes(of: &Type) -> bool {
    matches!(of, Type::Slice(slice) if is_u8(&slice.elem))
}

fn is_u8(of: &Type) -> bool {
    matches!(without_groups(of), Type::Path(path) if path.path.is_ident("u8"))
}

fn only_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    let mut types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(argument) => Some(argument),
        _ => None,
    });
    match (types.next(), types.next()) {
        (only, None) => only,
        _ => None,
    }
}

/// Refuses borrowed and unnamed types anywhere in a parameter's type.
fn judge_owned(parameter: &Type, errors: &mut Errors) {
    struct Judge<'e>(&'e mut Errors);
    impl<'t> Visit<'t> for Judge<'_> {
        fn visit_type_reference(&mut self, reference: &'t syn::TypeReference) {
            if reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static") {
                return;
            }
            let owned = match without_groups(&reference.elem) {
                Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
                Type::Slice(slice) => format!("Vec<{}>", slice.elem.to_token_stream()),
                owned => owned.to_token_stream().to_string(),
            };
            self.0.on(reference, format_args!("a listener owns its values: take `{owned}` instead of a reference"));
        }

        fn visit_lifetime(&mut self, lifetime: &'t syn::Lifetime) {
            if lifetime.ident == "_" {
                let fault = "a listener owns its values: for what borrows from the payload, take `RawPayload` and its \
                             `json()`";
                self.0.on(lifetime, fault);
            }
        }

        fn visit_type_impl_trait(&mut self, unnamed: &'t syn::TypeImplTrait) {
            self.0.on(unnamed, "a listener names the types it takes: `impl Trait` could be any");
        }

        // What a function takes and returns is not what the parameter holds.
        fn visit_parenthesized_generic_arguments(&mut self, _: &'t syn::ParenthesizedGenericArguments) {}

        fn visit_type_fn_ptr(&mut self, _: &'t syn::TypeFnPtr) {}
    }
    Judge(errors).visit_type(parameter);
}

/// What is sent has to be returned. Values are told apart by their types, later.
fn judge_replies(output: Option<&Type>, arguments: &Arguments, errors: &mut Errors) -> Option<Span> {
    let is_nothing =
        output.is_none_or(|output| matches!(without_groups(output), Type::Tuple(tuple) if tuple.elems.is_empty()));
    match arguments.send_to {
        Some(send_to) if is_nothing => {
            errors.at(
                send_to,
                "`send_to` sends what the listener returns, and it returns nothing: `-> T` where `T: Serialize`, \
                 `Option<T>`, `Reply` or `Vec<Reply>`, alone or in `Result<_, E>`",
            );
            None
        }
        Some(send_to) => Some(send_to),
        None => output.filter(|output| is_reply(output)).map(Spanned::span),
    }
}

/// Whether a type is, or may hold, what is sent wherever it is returned.
fn is_reply(of: &Type) -> bool {
    let Type::Path(path) = without_groups(of) else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    match (&last.arguments, last.ident.to_string().as_str()) {
        (PathArguments::None, "Reply") => true,
        (PathArguments::AngleBracketed(arguments), "Result" | "Option" | "Vec") => {
            matches!(arguments.args.first(), Some(GenericArgument::Type(first)) if is_reply(first))
        }
        _ => false,
    }
}

fn judge_output(output: &Type, errors: &mut Errors) {
    match without_groups(output) {
        Type::ImplTrait(unnamed) => {
            errors.on(unnamed, "a listener names what it returns: `()` or `Result<(), E>`; a future is an `async fn`");
        }
        Type::Never(never) => errors.on(never, "a listener returns: `()` or `Result<(), E>`"),
        _ => {}
    }
}

/// Looks through parentheses, and through the invisible ones around what a `macro_rules!` passed on.
fn without_groups(mut of: &Type) -> &Type {
    loop {
        of = match of {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            other => return other,
        };
    }
}

fn usage(function: &Ident) -> String {
    format!(
        "listener `{function}` takes no payload; a listener is

    async fn {function}(
        payload: T,     // `T: DeserializeOwned`, `Option<T>`, `ConsumerRecord<T>` or `RawPayload`
        extractor: X,   // any number: `State<S>`, `Key<K>`, `Headers`, `RecordMetadata`, `Acknowledgment`, or your own `FromRecord`
    ) -> Result<(), E>  // or nothing"
    )
}
