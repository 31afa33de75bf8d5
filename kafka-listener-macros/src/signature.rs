//! The function as written. Its body stays tokens, so that the attribute also works on code that is being typed.

use proc_macro2::{TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Signature, Visibility};

/// What the attribute reads of the function it stands on.
#[derive(Debug)]
pub(crate) struct Function {
    /// `#[cfg(…)]`s below the attribute: they hold for everything that is generated, too.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    /// Whether the word `await` is in the body.
    pub(crate) awaits: bool,
}

impl Function {
    pub(crate) fn parse(item: TokenStream) -> syn::Result<Self> {
        let parser = |input: ParseStream<'_>| {
            let attributes = input.call(Attribute::parse_outer)?;
            let visibility = input.parse()?;
            let head = input.span();
            let signature = Signature::parse(input)
                .map_err(|_| syn::Error::new(head, "`#[kafka_listener]` stands on a function: `async fn`, or `fn`"))?;
            if !input.peek(syn::token::Brace) {
                return Err(syn::Error::new_spanned(&signature, "a listener has a body"));
            }
            let awaits = has_await(input.parse()?);
            let conditions = attributes.into_iter().filter(|attribute| attribute.path().is_ident("cfg")).collect();
            Ok(Self { conditions, visibility, signature, awaits })
        };
        parser.parse2(item)
    }
}

fn has_await(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "await",
        TokenTree::Group(group) => has_await(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
