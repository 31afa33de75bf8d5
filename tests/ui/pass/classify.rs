//! What the derive accepts: generics, all kinds of variants, a default for the enum, no variant at all, a renamed library,
//! and a prelude that is not what it seems.

#![deny(warnings)]
#![forbid(unsafe_code)]

extern crate kafka_listener as messaging;

use messaging::Classify;

#[derive(Debug, Classify)]
#[classify(terminal, crate = messaging)]
pub enum StockError<E: std::fmt::Debug>
where
    E: Send,
{
    UnknownProduct,
    #[classify(retryable, name = "out-of-stock")]
    OutOfStock { missing: u32 },
    #[classify(retryable)]
    Unreachable(E),
    #[classify(name = "validation")]
    Invalid(String, u32),
}

#[derive(Classify)]
#[classify(crate = messaging)]
pub enum Never {}

fn main() {
    type Error = StockError<std::io::Error>;
    assert_eq!(Error::names(), Some(&["out-of-stock", "validation"][..]));
    assert_eq!(Never::names(), Some(&[][..]));
    let classify = |error: Error| format!("{:?}", error.classify());
    assert!(classify(Error::UnknownProduct).contains("retryable: false"));
    assert!(classify(Error::OutOfStock { missing: 3 }).contains("out-of-stock"));
}
