//! The attribute's arguments as written: names known and given once, values not looked at.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Lit, Path, Token, Type};

use crate::errors::Errors;

/// What an argument's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Texts,
    Count,
    Switch,
    Path,
    /// A name of the library's in quotes, or a type.
    Codec,
    /// Arguments of its own in braces.
    Table(&'static [Argument]),
    /// A string, or a list of pairs of strings.
    Partitions,
}

/// One argument that the attribute knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// A legal value, for messages.
    pub(crate) example: &'static str,
}

/// Every argument, in the order of the documentation.
pub(crate) const ARGUMENTS: &[Argument] = &[
    Argument { name: "id", kind: Kind::Text, example: r#""request_payment""# },
    Argument { name: "topic", kind: Kind::Text, example: r#""orders""# },
    Argument { name: "topics", kind: Kind::Texts, example: r#"["orders", "returns"]"# },
    Argument { name: "topic_pattern", kind: Kind::Text, example: r#""^orders-.*""# },
    Argument { name: "partitions", kind: Kind::Partitions, example: r#"[("orders", "0-5,7")]"# },
    Argument { name: "initial_offset", kind: Kind::Text, example: r#""beginning""# },
    Argument { name: "until", kind: Kind::Text, example: r#""end""# },
    Argument { name: "until_timeout", kind: Kind::Text, example: r#""5m""# },
    Argument { name: "start_after", kind: Kind::Texts, example: r#"["load_prices"]"# },
    Argument { name: "commit", kind: Kind::Switch, example: "true" },
    Argument { name: "group_id", kind: Kind::Text, example: r#""order-service""# },
    Argument { name: "concurrency", kind: Kind::Count, example: "3" },
    Argument { name: "consumers", kind: Kind::Count, example: "1" },
    Argument { name: "container_factory", kind: Kind::Text, example: r#""message-event""# },
    Argument { name: "ack_mode", kind: Kind::Text, example: r#""batch""# },
    Argument { name: "async_acks", kind: Kind::Switch, example: "true" },
    Argument { name: "codec", kind: Kind::Codec, example: r#""json""# },
    Argument { name: "send_to", kind: Kind::Text, example: r#""replies""# },
    Argument { name: "retry_topics", kind: Kind::Table(RETRY_TOPICS), example: r#"{ delays = ["10s", "1m"] }"# },
    Argument { name: "filter", kind: Kind::Path, example: "is_european" },
    Argument { name: "auto_startup", kind: Kind::Switch, example: "false" },
    Argument { name: "profiles", kind: Kind::Texts, example: r#"["prod"]"# },
    Argument { name: "client_id", kind: Kind::Text, example: r#""shop""# },
    Argument { name: "properties", kind: Kind::Texts, example: r#"["socket.keepalive.enable=true"]"# },
    Argument { name: "blocking", kind: Kind::Switch, example: "true" },
    Argument { name: "crate", kind: Kind::Path, example: "my_crate::kafka_listener" },
];

/// Those of `retry_topics`.
const RETRY_TOPICS: &[Argument] = &[
    Argument { name: "delays", kind: Kind::Texts, example: r#"["10s", "1m"]"# },
    Argument { name: "topic", kind: Kind::Text, example: r#""{topic}-retry""# },
    Argument { name: "suffix", kind: Kind::Text, example: r#""delay""# },
];

/// An argument with the tokens it was written with.
#[derive(Debug)]
pub(crate) struct RawArgument {
    pub(crate) key: Ident,
    pub(crate) argument: &'static Argument,
    pub(crate) value: RawValue,
}

#[derive(Debug)]
pub(crate) enum RawValue {
    Expr(Expr),
    Table(RawArgs),
    Path(Path),
    Type(Type),
}

/// The attribute's arguments, each name at most once.
#[derive(Debug)]
pub(crate) struct RawArgs {
    pub(crate) arguments: Vec<RawArgument>,
}

impl RawArgs {
    /// Takes what it can; after a fault it goes on behind the next comma.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        Self::parse_known(ARGUMENTS, tokens, errors)
    }

    fn parse_known(known: &'static [Argument], tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut arguments: Vec<RawArgument> = Vec::new();
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                match parse_argument(known, input, errors) {
                    Ok(new) if arguments.iter().any(|old| old.key == new.key) => {
                        errors.on(&new.key, format_args!("`{}` is given twice", new.key));
                    }
                    Ok(new) => arguments.push(new),
                    Err(fault) => {
                        errors.push(fault);
                        skip_to_comma(input)?;
                    }
                }
                if !input.is_empty() && !input.peek(Token![,]) {
                    errors.push(input.error("expected `,` between two arguments"));
                } else if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        if let Err(fault) = parser.parse2(tokens) {
            errors.push(fault);
        }
        Self { arguments }
    }
}

fn parse_argument(known: &'static [Argument], input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<RawArgument> {
    if !input.peek(Ident::peek_any) {
        return Err(input.error("expected `name = value`, such as `topic = \"orders\"`"));
    }
    let key = Ident::parse_any(input)?;
    let argument = find(known, &key)?;
    if !input.peek(Token![=]) {
        let message = format!("`{key}` needs a value: `{key} = {}`", argument.example);
        return Err(syn::Error::new(key.span(), message));
    }
    let equals: Token![=] = input.parse()?;
    if input.is_empty() || input.peek(Token![,]) {
        let message = format!("`{key}` needs a value: `{key} = {}`", argument.example);
        return Err(syn::Error::new_spanned(equals, message));
    }
    let value = match argument.kind {
        Kind::Path => RawValue::Path(input.call(Path::parse_mod_style).map_err(|fault| {
            syn::Error::new(fault.span(), format!("`{key}` is a path without quotes: `{key} = {}`", argument.example))
        })?),
        Kind::Table(known) => {
            let group: Group = input.parse().map_err(|fault: syn::Error| {
                syn::Error::new(fault.span(), format!("`{key}` is a table: `{key} = {}`", argument.example))
            })?;
            if group.delimiter() != Delimiter::Brace {
                let message = format!("`{key}` is a table: `{key} = {}`", argument.example);
                return Err(syn::Error::new(group.span(), message));
            }
            RawValue::Table(RawArgs::parse_known(known, group.stream(), errors))
        }
        Kind::Codec if !input.peek(Lit) => RawValue::Type(input.parse().map_err(|fault| {
            let usage =
                "`codec` is `\"json\"`, `\"string\"`, `\"bytes\"`, or a type without quotes that implements `Decode`";
            syn::Error::new(fault.span(), usage)
        })?),
        _ => RawValue::Expr(input.parse()?),
    };
    Ok(RawArgument { key, argument, value })
}

fn find(known: &'static [Argument], key: &Ident) -> syn::Result<&'static Argument> {
    let written = key.to_string();
    if let Some(argument) = known.iter().find(|argument| argument.name == written) {
        return Ok(argument);
    }
    // Spring's `groupId` and a forgotten plural are the usual slips.
    let plain = |name: &str| name.replace('_', "").to_lowercase().trim_end_matches('s').to_owned();
    let message = if let Some(meant) = known.iter().find(|argument| plain(argument.name) == plain(&written)) {
        format!("unknown argument `{written}`: did you mean `{}`?", meant.name)
    } else {
        let legal: Vec<_> = known.iter().map(|argument| format!("`{}`", argument.name)).collect();
        format!("unknown argument `{written}`: expected one of {}", legal.join(", "))
    };
    Err(syn::Error::new(key.span(), message))
}

fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<proc_macro2::TokenTree>()?;
    }
    Ok(())
}

impl RawArgument {
    /// `name = value`, as it ought to be.
    pub(crate) fn usage(&self) -> String {
        format!("{} = {}", self.argument.name, self.argument.example)
    }

    pub(crate) fn span(&self) -> Span {
        self.key.span()
    }
}
