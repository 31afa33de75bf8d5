//! Injected services: a map by type, filled in the builder, read by `State<S>`.
//!
//! What a listener lacks is found at start, all of it at once; a record never meets a missing state.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::definition::ListenerDefinition;

/// The values given to `ListenerRegistry::builder().state(…)`, by type.
#[derive(Clone, Default)]
pub(crate) struct States {
    by_type: HashMap<TypeId, Entry, BuildHasherDefault<TypeIdHasher>>,
}

#[derive(Clone)]
struct Entry {
    type_name: &'static str,
    value: Arc<dyn Any + Send + Sync>,
}

impl States {
    /// Adds the value of type `S`.
    ///
    /// # Errors
    ///
    /// There is one already: listeners could not say which of the two they mean.
    pub(crate) fn insert<S: Clone + Send + Sync + 'static>(&mut self, state: S) -> Result<(), DuplicateState> {
        let type_name = type_name::<S>();
        match self.by_type.insert(TypeId::of::<S>(), Entry { type_name, value: Arc::new(state) }) {
            None => Ok(()),
            Some(_) => Err(DuplicateState { type_name }),
        }
    }

    pub(crate) fn get<S: 'static>(&self) -> Option<&S> {
        self.by_type.get(&TypeId::of::<S>())?.value.downcast_ref()
    }
}

impl fmt::Debug for States {
    /// Names the types; values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_type.values().map(|entry| entry.type_name)).finish()
    }
}

/// A [`TypeId`] is a hash already; this passes it through.
#[derive(Default)]
struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// `.state(…)` was called twice with one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state of type `{type_name}` is given twice; wrap one of the two in a type of its own")]
pub(crate) struct DuplicateState {
    pub(crate) type_name: &'static str,
}

/// What a listener's extractors need; filled at start so that everything missing is found at once.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own")]
pub struct Requirements {
    states: Vec<(TypeId, &'static str)>,
    /// Whether anything looks at headers: they cost two allocations per record in librdkafka, even where a record has
    /// none, so they are taken out only then.
    pub(crate) reads_headers: bool,
    /// Whether anything sends records: the producer is then made at start.
    pub(crate) needs_producer: bool,
    /// Whether the listener names a type that decodes.
    pub(crate) has_own_codec: bool,
    /// Whether what the listener returns is sent.
    pub(crate) replies: bool,
    /// Whether a parameter takes the record's acknowledgement.
    pub(crate) takes_acknowledgment: bool,
}

impl Requirements {
    /// Says that the extractor reads the state of type `S`.
    pub fn state<S: 'static>(&mut self) {
        self.states.push((TypeId::of::<S>(), type_name::<S>()));
    }
}

/// What the parameters of a listener need.
pub(crate) fn requirements_of(definition: &ListenerDefinition) -> Requirements {
    let mut requirements = Requirements::default();
    (definition.requirements)(&mut requirements);
    requirements
}

/// A state that a listener takes and nobody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "listener `{listener}` ({file}:{line}) takes `State<{type_name}>`, which nobody gave; add `.state(…)` to the builder"
)]
pub(crate) struct MissingState {
    pub(crate) listener: &'static str,
    pub(crate) type_name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// Everything that `definitions` take and `states` lacks, in the order of the definitions, each type once per listener.
pub(crate) fn missing_states<'d>(
    definitions: impl IntoIterator<Item = &'d ListenerDefinition>,
    states: &States,
) -> Vec<MissingState> {
    let mut missing = Vec::new();
    for definition in definitions {
        let mut seen = Vec::new();
        for (id, type_name) in requirements_of(definition).states {
            if states.by_type.contains_key(&id) || seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let ListenerDefinition { id: listener, file, line, .. } = *definition;
            missing.push(MissingState { listener, type_name, file, line });
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(id: &'static str, line: u32, requirements: fn(&mut Requirements)) -> ListenerDefinition {
        ListenerDefinition {
            id,
            function: id,
            module: "shop",
            file: "src/main.rs",
            line,
            attributes: &[],
            payload_type: || "Order",
            error_names: || None,
            requirements,
            handler: || unreachable!("no record is handled here"),
        }
    }

    #[test]
    fn a_state_is_found_by_its_type() {
        let mut states = States::default();
        states.insert(7_u64).unwrap();
        states.insert("seven").unwrap();
        assert_eq!((states.get::<u64>(), states.get::<&str>(), states.get::<u32>()), (Some(&7), Some(&"seven"), None));
    }

    #[test]
    fn the_same_type_twice_is_refused() {
        let mut states = States::default();
        states.insert(7_u64).unwrap();
        assert_eq!(
            states.insert(8_u64).unwrap_err().to_string(),
            "a state of type `u64` is given twice; wrap one of the two in a type of its own"
        );
    }

    #[test]
    fn values_stay_out_of_debug() {
        let mut states = States::default();
        states.insert(String::from("hunter2")).unwrap();
        assert_eq!(format!("{states:?}"), r#"{"alloc::string::String"}"#);
    }

    #[test]
    fn every_missing_state_of_every_listener_is_named_once() {
        let mut states = States::default();
        states.insert(7_u64).unwrap();
        let definitions = [
            definition("pay", 3, |requirements| {
                requirements.state::<u64>();
                requirements.state::<u32>();
                requirements.state::<u32>();
                requirements.state::<u16>();
            }),
            definition("ship", 9, Requirements::state::<u32>),
            definition("mail", 12, Requirements::state::<u64>),
        ];
        let missing: Vec<_> = missing_states(&definitions, &states).iter().map(ToString::to_string).collect();
        assert_eq!(
            missing,
            [
                "listener `pay` (src/main.rs:3) takes `State<u32>`, which nobody gave; add `.state(…)` to the builder",
                "listener `pay` (src/main.rs:3) takes `State<u16>`, which nobody gave; add `.state(…)` to the builder",
                "listener `ship` (src/main.rs:9) takes `State<u32>`, which nobody gave; add `.state(…)` to the builder",
            ]
        );
    }
}
