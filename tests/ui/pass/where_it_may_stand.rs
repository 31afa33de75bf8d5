//! Places, names and shapes of functions.
use std::borrow::Cow;
use std::sync::Arc;

use kafka_listener::extract::{FromRecord, State};
use kafka_listener::{ListenerError, RecordContext, kafka_listener, listener};

pub mod handlers {
    use super::*;

    #[kafka_listener(topic = "orders")]
    pub(crate) async fn visible(order: u32) {
        let _ = order;
    }

    #[kafka_listener(topic = "orders")]
    pub(in crate::handlers) async fn visible_here(order: u32) {
        let _ = order;
    }
}

/// A keyword as name, a pattern as payload, attributes on parameters, names that generated code might use.
#[kafka_listener(topic = "orders")]
async fn r#move(#[allow(unused)] (mut payload, _): (u32, u32), record: Own, outcome: Own) -> Result<(), ListenerError> {
    payload += record.0 + outcome.0;
    drop(payload);
    Ok(())
}

struct Own(u32);

impl FromRecord for Own {
    type Rejection = &'static str;

    fn from_record(record: RecordContext<'_>) -> Result<Self, Self::Rejection> {
        u32::try_from(record.offset()).map(Self).map_err(|_| "an offset beyond all bounds")
    }
}

type Rule = Arc<dyn Fn(&str) -> bool + Send + Sync>;
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[kafka_listener]
async fn takes_functions(order: u32, State(a): State<Arc<dyn Fn(&str) + Send + Sync>>, State(b): State<fn(&str)>) {
    a(&order.to_string());
    b("");
}

#[kafka_listener]
#[cfg(not(any()))]
#[inline]
async fn alias(text: Cow<'static, str>, State(name): State<&'static str>, State(rule): State<Rule>) -> Outcome {
    if rule(&text) { Ok(()) } else { Err(format!("{text} {name}").into()) }
}

mod shadowed {
    //! Names of the standard library and of ours mean something else here.
    #![allow(dead_code, non_camel_case_types)]
    struct Result;
    struct Option;
    struct Send;
    struct Handler;
    struct str;
    struct bool;
    trait Future {}
    mod core {}
    mod std {}

    #[kafka_listener::kafka_listener(topic = "orders", auto_startup = true, concurrency = 2)]
    async fn handle(order: u32) {
        let _ = order;
    }
}

fn main() {
    #[kafka_listener(topic = "orders")]
    fn inside_a_function(order: u32) -> anyhow::Result<()> {
        anyhow::ensure!(order > 0);
        Ok(())
    }

    assert_eq!(listener!(r#move).id, "move");
    assert_eq!(listener!(handlers::visible).module, "trybuild::handlers".replace("trybuild", module_path!()));
    assert_eq!(listener!(inside_a_function).function, "inside_a_function");
    assert_eq!(listener!(alias).line, 49);
}
