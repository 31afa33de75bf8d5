//! The attribute of [`kafka-listener`](https://docs.rs/kafka-listener), which re-exports and documents it.
//!
//! Attribute and function are parsed as written (`args`, `signature`), validated into types that exist only when valid
//! (`model`), and expanded into a constant description and checks (`expand`, `checks`). Behaviour lives in the library.
//! `classify` is the derive of the trait of that name.

mod args;
mod checks;
mod classify;
mod errors;
mod expand;
mod model;
mod replies;
mod signature;
mod text;

use proc_macro2::TokenStream;

use errors::Errors;

/// See the documentation of `kafka_listener::kafka_listener`.
#[proc_macro_attribute]
pub fn kafka_listener(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand_listener(args.into(), item.into()).into()
}

/// See the documentation of `kafka_listener::Classify`.
#[proc_macro_derive(Classify, attributes(classify))]
pub fn derive_classify(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    classify::derive(input.into()).into()
}

/// The item as it was written, whatever is wrong with it; then what the listener needs, as far as it is right; then
/// every fault.
fn expand_listener(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = args::RawArgs::parse(args, &mut errors);
    let arguments = model::Arguments::validate(args, &mut errors);
    let function = match signature::Function::parse(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.push(error);
            return errors.append_to(item);
        }
    };
    let signature = model::ListenerSignature::validate(&function, &arguments, &mut errors);
    let id = model::Id::validate(&function, &arguments, &mut errors);
    let listener = model::Listener { function: &function, arguments: &arguments, signature, id };
    let expansion = expand::expand(item, &listener, errors.is_empty());
    errors.append_to(expansion)
}

#[cfg(test)]
mod tests;
