//! Every rule for the attribute's values, one message each.
//!
//! Literals are judged here; constants become checks for the compiler.

use std::collections::HashSet;

use proc_macro2::Span;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Expr, ExprLit, Lit, LitBool, Path, Type};

use crate::args::{Kind, RawArgs, RawArgument, RawValue};
use crate::errors::Errors;
use crate::signature::Function;
use crate::text;

/// The arguments that are right; each one that is not was reported and is left out.
#[derive(Debug)]
pub(crate) struct Arguments {
    id: Option<Expr>,
    pub(crate) blocking: Option<LitBool>,
    pub(crate) krate: Path,
    /// The function that passes records over, where one is named.
    pub(crate) filter: Option<Path>,
    /// The type that decodes, where one is named.
    pub(crate) codec: Option<Type>,
    /// What says where replies go, also where it is wrong.
    pub(crate) send_to: Option<Span>,
    /// One layer of the configuration.
    pub(crate) settings: Vec<Setting>,
}

#[derive(Debug)]
pub(crate) struct Setting {
    /// The key's name in the configuration, with the tables around it.
    pub(crate) key: String,
    pub(crate) value: Value,
}

/// A literal that was judged, or a constant expression that the compiler judges.
#[derive(Debug)]
pub(crate) enum Value {
    Text(Expr),
    Texts(Expr),
    Count(Expr),
    Switch(Expr),
    /// A list of pairs of strings.
    Pairs(Expr),
}

impl Value {
    pub(crate) fn expr(&self) -> &Expr {
        match self {
            Self::Text(expr) | Self::Texts(expr) | Self::Count(expr) | Self::Switch(expr) | Self::Pairs(expr) => expr,
        }
    }
}

impl Arguments {
    pub(crate) fn validate(raw: RawArgs, errors: &mut Errors) -> Self {
        let mut arguments = Self {
            id: None,
            blocking: None,
            krate: syn::parse_quote!(::kafka_listener),
            filter: None,
            codec: None,
            send_to: None,
            settings: Vec::new(),
        };
        exclude_each_other(&raw, errors);
        for argument in raw.arguments {
            if let RawValue::Table(inner) = argument.value {
                arguments.settings.extend(settings_of_table(argument.argument.name, inner, errors));
                continue;
            }
            if argument.argument.name == "send_to" {
                arguments.send_to = Some(argument.span());
            }
            let found = errors.len();
            let judged = judge(&argument, errors);
            if found < errors.len() {
                continue;
            }
            match (argument.argument.name, judged, argument.value) {
                ("id", Some(Value::Text(id)), _) => arguments.id = Some(id),
                ("blocking", Some(Value::Switch(Expr::Lit(ExprLit { lit: Lit::Bool(blocking), .. }))), _) => {
                    arguments.blocking = Some(blocking);
                }
                ("filter", _, RawValue::Path(path)) => arguments.filter = Some(path),
                (_, _, RawValue::Path(path)) => arguments.krate = path,
                (_, _, RawValue::Type(codec)) => arguments.codec = Some(codec),
                (_, Some(value), _) => {
                    arguments.settings.push(Setting { key: argument.key.unraw().to_string(), value });
                }
                (_, None, _) => {}
            }
        }
        arguments
    }
}

/// What is right of a table's arguments.
fn settings_of_table(table: &str, inner: RawArgs, errors: &mut Errors) -> Vec<Setting> {
    let mut settings = Vec::new();
    for argument in inner.arguments {
        let found = errors.len();
        if let Some(value) = judge(&argument, errors)
            && found == errors.len()
        {
            settings.push(Setting { key: format!("{table}.{}", argument.key.unraw()), value });
        }
    }
    settings
}

/// Of two arguments that say the same the later one is at fault.
fn exclude_each_other(raw: &RawArgs, errors: &mut Errors) {
    let place = |name: &str| raw.arguments.iter().position(|argument| argument.argument.name == name);
    let by_topic = place("partitions").filter(|place| {
        matches!(&raw.arguments[*place].value, RawValue::Expr(expr) if matches!(without_groups(expr), Expr::Array(_)))
    });
    let pairs = [
        ("topic", place("topic"), "topics", place("topics")),
        ("topic", place("topic"), "topic_pattern", place("topic_pattern")),
        ("topics", place("topics"), "topic_pattern", place("topic_pattern")),
        ("partitions", place("partitions"), "topic_pattern", place("topic_pattern")),
        ("topic", place("topic"), "partitions", by_topic),
        ("topics", place("topics"), "partitions", by_topic),
    ];
    for (one, first, other, second) in pairs {
        let (Some(first), Some(second)) = (first, second) else { continue };
        let hint = if other == "partitions" { ", or write `partitions = \"0-5,7\"`" } else { "" };
        let later = raw.arguments[first.max(second)].span();
        errors.at(later, format!("`{one}` and `{other}` exclude each other: keep one of the two{hint}"));
    }
}

/// Checks one value. It is to be used only if no fault was added.
fn judge(argument: &RawArgument, errors: &mut Errors) -> Option<Value> {
    let RawValue::Expr(expr) = &argument.value else { return None };
    let expr = without_groups(expr);
    let name = argument.argument.name;
    match argument.argument.kind {
        Kind::Path | Kind::Table(_) => None,
        Kind::Text | Kind::Codec => {
            judge_text(argument, expr, errors);
            Some(Value::Text(expr.clone()))
        }
        Kind::Texts => {
            let list = match expr {
                Expr::Reference(reference) => without_groups(&reference.expr),
                other => other,
            };
            match list {
                Expr::Array(array) => {
                    judge_list(argument, array, errors);
                    Some(Value::Texts(list.clone()))
                }
                Expr::Lit(_) => {
                    let one = if name == "topics" { ", or `topic = \"orders\"`" } else { "" };
                    errors.on(expr, format_args!("`{name}` is a list: `{}`{one}", argument.usage()));
                    None
                }
                _ => Some(Value::Texts(expr.clone())),
            }
        }
        Kind::Partitions => Some(if let Expr::Array(pairs) = expr {
            judge_pairs(argument, pairs, errors);
            Value::Pairs(expr.clone())
        } else {
            judge_text(argument, expr, errors);
            Value::Text(expr.clone())
        }),
        Kind::Count => {
            if let Expr::Lit(ExprLit { lit, .. }) = expr {
                let in_range = |count: i64| (1..=i64::from(i32::MAX)).contains(&count);
                match lit {
                    Lit::Int(count) if count.base10_parse().is_ok_and(in_range) => {}
                    Lit::Int(_) => errors.on(expr, format_args!("`{name}` is between 1 and {}", i32::MAX)),
                    _ => errors.on(expr, format_args!("`{name}` is a number: `{}`", argument.usage())),
                }
            } else if let Expr::Unary(_) = expr {
                errors.on(expr, format_args!("`{name}` is between 1 and {}", i32::MAX));
            }
            Some(Value::Count(expr.clone()))
        }
        Kind::Switch => {
            match expr {
                Expr::Lit(ExprLit { lit: Lit::Bool(_), .. }) => {}
                // The function is wrapped accordingly while it is compiled: no constant is known by then.
                _ if name == "blocking" => errors.on(expr, "`blocking` is `true` or `false`, written out"),
                Expr::Lit(_) => errors.on(expr, format_args!("`{name}` is `true` or `false`, without quotes")),
                _ => {}
            }
            Some(Value::Switch(expr.clone()))
        }
    }
}

fn judge_list(argument: &RawArgument, array: &syn::ExprArray, errors: &mut Errors) {
    if array.elems.is_empty() {
        errors.on(array, format_args!("`{}` is empty: `{}`", argument.argument.name, argument.usage()));
    }
    let mut seen = HashSet::new();
    for element in &array.elems {
        if let Some(text) = judge_text(argument, without_groups(element), errors)
            && !seen.insert(text)
        {
            errors.on(element, format_args!("{} is listed twice", element.to_token_stream()));
        }
    }
}

/// Topics with their partitions.
fn judge_pairs(argument: &RawArgument, pairs: &syn::ExprArray, errors: &mut Errors) {
    if pairs.elems.is_empty() {
        errors.on(pairs, format_args!("`{}` is empty: `{}`", argument.argument.name, argument.usage()));
    }
    let mut seen = HashSet::new();
    for pair in &pairs.elems {
        let pair = without_groups(pair);
        let elements = match pair {
            Expr::Tuple(tuple) if tuple.elems.len() == 2 => &tuple.elems,
            _ => {
                errors.on(pair, format_args!("expected a topic and its partitions: `(\"orders\", \"0-5,7\")`"));
                continue;
            }
        };
        let (topic, partitions) = (without_groups(&elements[0]), without_groups(&elements[1]));
        if let Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) = topic {
            let name = literal.value();
            let open = text::is_resolved_at_start(&name);
            let fault = text::fault(&name).or_else(|| (!open).then(|| text::topic_fault(&name)).flatten());
            if let Some(fault) = fault {
                let subject = if name.trim().is_empty() { "the topic".to_owned() } else { format!("`{name}`") };
                errors.on(literal, format_args!("{subject} {fault}"));
            } else if !seen.insert(name) {
                errors.on(literal, format_args!("{} is listed twice", literal.to_token_stream()));
            }
        } else if let Expr::Lit(_) = topic {
            errors.on(topic, format_args!("a topic is a string: `{}`", argument.usage()));
        }
        judge_text(argument, partitions, errors);
    }
}

/// Checks one string; gives the text of a literal.
fn judge_text(argument: &RawArgument, expr: &Expr, errors: &mut Errors) -> Option<String> {
    let name = argument.argument.name;
    let Expr::Lit(ExprLit { lit, .. }) = expr else {
        if let Expr::Array(_) | Expr::Reference(_) | Expr::Tuple(_) | Expr::Unary(_) | Expr::Closure(_) = expr {
            let list = if name == "topic" { "; for several there is `topics`" } else { "" };
            errors.on(expr, format_args!("`{name}` is a string: `{}`{list}", argument.usage()));
        }
        return None;
    };
    let Lit::Str(literal) = lit else {
        let list = match argument.argument.kind {
            Kind::Texts => "list of strings",
            Kind::Partitions => "string or a list of pairs",
            _ => "string",
        };
        errors.on(expr, format_args!("`{name}` is a {list}: `{}`", argument.usage()));
        return None;
    };
    let value = literal.value();
    let content =
        |rule: fn(&str) -> Option<String>| (!text::is_resolved_at_start(&value)).then(|| rule(&value)).flatten();
    let fault = text::fault(&value).or_else(|| match name {
        // The name of another topic is put in at start.
        "topic" if argument.argument.example.contains("{topic}") && !text::is_resolved_at_start(&value) => {
            text::topic_fault(&value.replace("{topic}", ""))
        }
        "id" => text::id_fault(&value),
        "topic" | "topics" => content(text::topic_fault),
        "topic_pattern" => content(text::pattern_fault),
        "partitions" => content(text::partitions_fault),
        "until" => content(text::until_fault),
        "send_to" => content(text::send_to_fault),
        "ack_mode" => content(text::ack_mode_fault),
        "codec" => content(text::codec_fault),
        "properties" => text::property_fault(&value),
        _ => None,
    });
    if let Some(fault) = fault {
        let subject = if value.trim().is_empty() { name.to_owned() } else { value.clone() };
        errors.on(literal, format_args!("`{subject}` {fault}"));
    }
    Some(value)
}

/// Looks through the invisible parentheses around what a `macro_rules!` passed on.
fn without_groups(mut expr: &Expr) -> &Expr {
    while let Expr::Group(group) = expr {
        expr = &group.expr;
    }
    expr
}

/// What the listener is known by.
#[derive(Debug)]
pub(crate) enum Id<'f> {
    Given(&'f Expr),
    Function(String),
}

impl<'f> Id<'f> {
    pub(crate) fn validate(function: &Function, arguments: &'f Arguments, errors: &mut Errors) -> Self {
        if let Some(id) = &arguments.id {
            return Self::Given(id);
        }
        let ident = &function.signature.ident;
        let name = ident.unraw().to_string();
        if let Some(fault) = text::id_fault(&name) {
            errors.on(
                ident,
                format_args!("the function's name is the listener's id, and `{name}` {fault}; give `id = \"…\"`"),
            );
        }
        Self::Function(name)
    }
}
