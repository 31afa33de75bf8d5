//! `#[derive(Classify)]`: the attributes of an enum's variants, and the match they become.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Data, DataEnum, DeriveInput, Fields, LitStr, Path, Token};

use crate::errors::Errors;

/// Names that are words of the attribute or of the configuration and no classes to be given.
const RESERVED: &[&str] = &["terminal", "retryable", "default"];
/// Classes whose errors are never tried again.
const TERMINAL: &[&str] = &["decode", "too_large", "validation"];
const EXPECTED: &str = "`terminal`, `retryable` or `name = \"out-of-stock\"`";

/// The implementation, or the faults with an implementation that keeps uses of the trait from failing too.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(fault) => return fault.to_compile_error(),
    };
    let mut errors = Errors::default();
    let outer = Marks::parse(&input.attrs, true, &mut errors);
    let variants = match &input.data {
        Data::Enum(data) => variants(data, &outer, &mut errors),
        Data::Struct(data) => {
            errors.at(
                data.struct_token.span,
                "`Classify` is derived for enums; for a struct implement it: `Classification::terminal()` is all it takes",
            );
            Vec::new()
        }
        Data::Union(data) => {
            errors.at(data.union_token.span, "`Classify` is derived for enums");
            Vec::new()
        }
    };
    let implementation = implement(&input, &outer, if errors.is_empty() { &variants } else { &[] });
    errors.append_to(implementation)
}

/// What the attributes on one item say.
#[derive(Clone, Default)]
struct Marks {
    /// `true` for `terminal`, `false` for `retryable`, with the word.
    terminal: Option<(bool, Span)>,
    name: Option<LitStr>,
    krate: Option<Path>,
}

impl Marks {
    /// `outer`: of the enum itself, where its name for the library may be given too.
    fn parse(attributes: &[Attribute], outer: bool, errors: &mut Errors) -> Self {
        let mut marks = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("classify")) {
            let parsed = attribute.meta.require_list().and_then(|list| {
                let each = |input: ParseStream<'_>| {
                    while !input.is_empty() {
                        marks.take(input, outer)?;
                        if !input.is_empty() {
                            input.parse::<Token![,]>()?;
                        }
                    }
                    Ok(())
                };
                if list.tokens.is_empty() {
                    return Err(syn::Error::new_spanned(
                        attribute,
                        format!("`classify` says nothing: expected {EXPECTED}"),
                    ));
                }
                each.parse2(list.tokens.clone())
            });
            if let Err(fault) = parsed {
                errors.push(fault);
            }
        }
        marks.judge(errors);
        marks
    }

    fn take(&mut self, input: ParseStream<'_>, outer: bool) -> syn::Result<()> {
        use syn::ext::IdentExt as _;

        let word = Ident::parse_any(input)?;
        match word.to_string().as_str() {
            kind @ ("terminal" | "retryable") => {
                let terminal = kind == "terminal";
                match self.terminal {
                    Some((before, _)) if before == terminal => {
                        Err(syn::Error::new(word.span(), format!("`{word}` is given twice")))
                    }
                    Some(_) => Err(syn::Error::new(word.span(), "`terminal` and `retryable` exclude each other")),
                    None => {
                        self.terminal = Some((terminal, word.span()));
                        Ok(())
                    }
                }
            }
            "name" if outer => {
                Err(syn::Error::new(word.span(), "each variant has a name of its own: `name` stands on a variant"))
            }
            "name" => {
                input.parse::<Token![=]>()?;
                let name: LitStr = input
                    .parse()
                    .map_err(|fault| syn::Error::new(fault.span(), "`name` is a string: `name = \"out-of-stock\"`"))?;
                if self.name.is_some() {
                    return Err(syn::Error::new(word.span(), "`name` is given twice"));
                }
                self.name = Some(name);
                Ok(())
            }
            "crate" if outer => {
                input.parse::<Token![=]>()?;
                self.krate = Some(input.call(Path::parse_mod_style)?);
                Ok(())
            }
            _ => Err(syn::Error::new(word.span(), format!("unknown argument `{word}`: expected {EXPECTED}"))),
        }
    }

    fn judge(&self, errors: &mut Errors) {
        let Some(literal) = &self.name else { return };
        let name = literal.value();
        let legal = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        if name.is_empty() {
            errors.on(literal, "`name` is empty");
        } else if let Some(wrong) = name.chars().find(|character| !legal(*character)) {
            errors.on(
                literal,
                format_args!(
                    "`{name}` has the character `{wrong}`: a name is made of ASCII letters, digits, `_` and `-`"
                ),
            );
        } else if RESERVED.contains(&name.as_str()) {
            errors.on(
                literal,
                format_args!(
                    "`{name}` is no name: {}",
                    if name == "default" {
                        "in `on_failure` it stands for every class that is not named".to_owned()
                    } else {
                        format!("write `#[classify({name})]`")
                    }
                ),
            );
        } else if TERMINAL.contains(&name.as_str())
            && let Some((false, word)) = self.terminal
        {
            errors.at(word, format_args!("errors of the class `{name}` are never tried again"));
        }
    }
}

/// One arm of the match.
struct Variant<'i> {
    ident: &'i Ident,
    terminal: bool,
    name: Option<LitStr>,
}

fn variants<'i>(data: &'i DataEnum, outer: &Marks, errors: &mut Errors) -> Vec<Variant<'i>> {
    data.variants
        .iter()
        .map(|variant| {
            refuse_on_fields(&variant.fields, errors);
            let marks = Marks::parse(&variant.attrs, false, errors);
            let terminal = marks.terminal.or(outer.terminal).is_some_and(|(terminal, _)| terminal);
            Variant { ident: &variant.ident, terminal, name: marks.name }
        })
        .collect()
}

fn refuse_on_fields(fields: &Fields, errors: &mut Errors) {
    let attributes = fields.iter().flat_map(|field| &field.attrs);
    for attribute in attributes.filter(|attribute| attribute.path().is_ident("classify")) {
        errors.on(attribute, "`classify` stands on a variant, not on its fields");
    }
}

fn implement(input: &DeriveInput, outer: &Marks, variants: &[Variant<'_>]) -> TokenStream {
    let krate = outer.krate.clone().unwrap_or_else(|| syn::parse_quote!(::kafka_listener));
    let private = quote_spanned! {Span::call_site()=> #krate::__private };
    let ident = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let arms = variants.iter().map(|variant| {
        let Variant { ident, terminal, name } = variant;
        let kind = Ident::new(if *terminal { "terminal" } else { "retryable" }, Span::call_site());
        let named = name.as_ref().map(|name| quote! { .named(#name) });
        quote! { Self::#ident { .. } => #private::Classification::#kind() #named, }
    });
    let body = if variants.is_empty() {
        // Of an enum without variants there is no value; of a faulty one there is no program.
        quote! { ::core::unreachable!() }
    } else {
        quote! { match self { #(#arms)* } }
    };
    let names = variants.iter().filter_map(|variant| variant.name.as_ref());
    quote! {
        #[automatically_derived]
        impl #impl_generics #private::Classify for #ident #type_generics #where_clause {
            fn classify(&self) -> #private::Classification {
                #body
            }

            fn names() -> ::core::option::Option<&'static [&'static ::core::primitive::str]> {
                ::core::option::Option::Some(&[#(#names),*])
            }
        }
    }
}
