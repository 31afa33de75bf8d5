use proc_macro2::TokenStream;
use quote::quote;

use super::expand_listener;

/// The code generated for a listener, formatted.
fn expansion(args: TokenStream, item: TokenStream) -> String {
    let expanded = expand_listener(args, item);
    let file = syn::parse2(expanded).expect("what is generated parses");
    prettyplease::unparse(&file)
}

/// What the attribute says of `item`, one fault a line.
fn faults(args: TokenStream, item: TokenStream) -> Vec<String> {
    expansion(args, item)
        .split("compile_error! {")
        .skip(1)
        .map(|fault| fault.split_once('}').map_or(fault, |(text, _)| text).trim().trim_matches('"').to_owned())
        .collect()
}

/// Compares the expansion with `snapshots/*NAME.snap`.
fn check(name: &str, args: TokenStream, item: TokenStream) {
    let expansion = expansion(args, item);
    insta::assert_snapshot!(name, expansion);
}

#[test]
fn everything_is_described() {
    let args = quote! {
        id = "reserve", topics = ["orders", RETURNS], group_id = GROUP, concurrency = 3, auto_startup = false,
        ack_mode = "record", properties = ["socket.keepalive.enable=true"],
    };
    let item = quote! {
        /// Reserves.
        #[cfg(feature = "stock")]
        pub(crate) async fn reserve_stock(
            order: Order,
            meta: RecordMetadata,
            State(stock): State<Stock>,
        ) -> Result<(), StockError> {
            stock.reserve(order, meta).await
        }
    };
    check("everything", args, item);
    check("nothing", quote!(), quote! { async fn handle(order: Order) {} });
}

#[test]
fn arguments_in_a_table_are_settings_with_its_name() {
    let args =
        quote!(topic = "orders", retry_topics = { delays = ["1s", LONG], topic = "{topic}-again", suffix = SUFFIX });
    check("table", args, quote! { async fn handle(order: Order) {} });
    let faults = faults(
        quote!(retry_topics = { delays = [], delays = ["1s"], topics = "x", topic = "or ders", suffix = 3 }, topic = "{topic}"),
        quote! { async fn handle(order: Order) {} },
    );
    assert_eq!(faults.len(), 6, "{faults:#?}");
}

#[test]
fn blocking_code_runs_on_the_blocking_pool() {
    check("plain_function", quote!(topic = "orders"), quote! { fn handle(order: Order) -> Outcome { work() } });
    let args = quote!(topic = "orders", blocking = true);
    check("blocking_future", args, quote! { async fn handle(order: Order) {} });
}

#[test]
fn a_renamed_library_is_not_called_by_its_name() {
    let args = quote!(topic = "orders", blocking = true, crate = crate::vendor::messaging);
    let expansion = expansion(args, quote! { async fn handle(order: Order) -> Outcome {} });
    assert!(!expansion.contains("::kafka_listener"), "{expansion}");
    assert!(expansion.contains("use crate::vendor::messaging::__private"), "{expansion}");
}

#[test]
fn a_fault_on_one_side_leaves_the_checks_of_the_other() {
    let args = quote!(topik = "orders", group_id = GROUP);
    check("faulty_attribute", args, quote! { async fn handle(order: Order) {} });
    check("faulty_signature", quote!(topic = TOPIC), quote! { pub async fn handle() {} });
}

#[test]
fn the_item_stays_as_it_is_whatever_is_wrong() {
    let attribute = || quote!(topic = 7, unknown = "x", , =);
    for item in [
        quote! { async fn handle() {} },
        quote! { pub const unsafe extern "C" fn handle<T>(self, x: &T, ...) -> impl Sized where T: Copy { x.. } },
        quote! { #[doc = "text"] async fn handle(order: Vec<u8>) { let typing = order. } },
        quote! { async fn handle(order: Order); },
        quote! { struct Handler { field: u8 } },
        quote! { mod handlers { async fn handle(order: Order) {} } },
        quote! { impl Handler {} },
    ] {
        let expanded = expand_listener(attribute(), item.clone()).to_string();
        assert!(expanded.contains(&item.to_string()), "{item} is not in {expanded}");
        assert!(expanded.contains("compile_error"), "{expanded}");
    }
}

#[test]
fn every_qualifier_is_refused_by_itself() {
    let item = quote! {
        const async unsafe extern "C" fn handle<T>(order: &T, name: impl Copy, ...) -> ! where T: Copy {}
    };
    assert_eq!(
        faults(quote!(), item),
        [
            "a listener cannot be `const`",
            "a listener cannot be `unsafe`: nobody is there to keep its contract",
            "a listener cannot be `extern`",
            "a listener cannot be generic: the type of its payload is known when it is registered",
            "a listener has no `where` clause: it is not generic",
            "a listener cannot be variadic",
            "a listener owns its values: take `T` instead of a reference",
            "a listener names the types it takes: `impl Trait` could be any",
            "a listener returns: `()` or `Result<(), E>`",
        ]
    );
}

#[test]
fn after_a_fault_the_next_argument_is_read() {
    let attribute = quote! {
        "orders", topic, id = , 7 = "x", ack_mode = "manuel", concurrency = 0, profiles = "dev", blocking = maybe, crate = "x",
        groupId = "g", container_factory = "${X", topics = [] topics = ["b"]
    };
    let faults = faults(attribute, quote! { async fn handle(order: Order) {} });
    let starts = [
        "expected `name = value`",
        "`topic` needs a value",
        "`id` needs a value",
        "expected `name = value`",
        "`crate` is a path without quotes",
        "unknown argument `groupId`: did you mean `group_id`?",
        "expected `,` between two arguments",
        "`topics` is given twice",
        "`manuel` is not an ack mode",
        "`concurrency` is between 1 and 2147483647",
        "`profiles` is a list",
        "`blocking` is `true` or `false`",
        "`${X` has a `${` that is never closed",
        "`topics` is empty",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault:?} does not start with {start:?}");
    }
}

/// Every argument of the attribute is documented, and nothing else.
#[test]
fn the_documentation_lists_the_arguments() {
    let documentation = include_str!("../../kafka-listener/src/docs/kafka_listener.md");
    let arguments = documentation.split("# Arguments").nth(1).and_then(|rest| rest.split("\n# ").next());
    let listed: Vec<_> = arguments
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
        .collect();
    let known: Vec<_> = crate::args::ARGUMENTS.iter().map(|argument| argument.name).collect();
    assert_eq!(listed, known);
}

/// Pieces of attributes and functions, right ones and others.
const PIECES: &[&str] = &[
    "topic",
    "topics",
    "group_id",
    "id",
    "crate",
    "blocking",
    "concurrency",
    "properties",
    "=",
    ",",
    ":",
    "::",
    "\"orders\"",
    "\"${X\"",
    "\"\"",
    "b\"x\"",
    "0",
    "-1",
    "1.5",
    "true",
    "'c'",
    "'a",
    "[\"a\"]",
    "[]",
    "[1, \"a\"]",
    "&[\"a\"]",
    "CONST",
    "f(x)",
    "async",
    "fn",
    "handle",
    "größe",
    "r#type",
    "(order: Order)",
    "()",
    "(&self)",
    "(_: &[u8])",
    "(a: Vec<u8>, b: impl Copy)",
    "(x: Option<Batch<T>>, ...)",
    "self",
    "->",
    "!",
    "Result<(), E>",
    "impl Sized",
    "where T: Copy",
    "<T>",
    "<'a>",
    "{}",
    "{ x.. }",
    ";",
    "pub(crate)",
    "const",
    "unsafe",
    "extern \"C\"",
    "#[cfg(x)]",
    "struct S;",
    "mod m",
    "|x|",
    "?",
    "$",
];

proptest::proptest! {
    /// Whatever is typed: the attribute does not panic, and what it stands on stays.
    #[test]
    fn no_input_is_lost_or_fatal(
        attribute in proptest::collection::vec(proptest::sample::select(PIECES), 0..8),
        item in proptest::collection::vec(proptest::sample::select(PIECES), 0..10),
        is_function in proptest::bool::ANY,
    ) {
        let function = if is_function { "async fn handle(order: Order)" } else { "" };
        let attribute: TokenStream = attribute.join(" ").parse().expect("the pieces are tokens");
        let item: TokenStream = format!("{function} {}", item.join(" ")).parse().expect("the pieces are tokens");
        let expanded = expand_listener(attribute, item.clone()).to_string();
        proptest::prop_assert!(expanded.contains(&item.to_string()));
    }
}

#[test]
fn classify_becomes_a_match() {
    let expanded = super::classify::derive(quote! {
        #[classify(terminal, crate = crate::vendor::messaging)]
        enum StockError<E> where E: Send {
            UnknownProduct,
            #[classify(retryable, name = "out-of-stock")]
            OutOfStock { missing: u32 },
            #[classify(name = "declined")]
            Declined(E),
        }
    });
    let file = syn::parse2(expanded).expect("what is generated parses");
    insta::assert_snapshot!("classify", prettyplease::unparse(&file));
}
