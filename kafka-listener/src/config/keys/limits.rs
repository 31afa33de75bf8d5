//! The keys of `limits`.

use super::{KEY, Key, Kind};

/// `limits`.
pub(crate) static LIMITS: &[Key] = &[
    Key {
        name: "in_flight_records",
        kind: Kind::Integer { min: 1, max: 10_000_000 },
        default: Some("4096"),
        default_from: "several hand-overs of `max_poll_records`",
        doc: "Records handed over and not finished.",
        ..KEY
    },
    Key {
        name: "in_flight_bytes",
        kind: Kind::Size { min: 1, max: 1 << 40 },
        default: Some("4MiB"),
        default_from: "as many records of 1 KiB",
        doc: "The same in bytes; one record always passes.",
        ..KEY
    },
    Key {
        name: "max_payload",
        kind: Kind::Size { min: 1, max: 1 << 40 },
        default: Some("64MiB"),
        default_from: "far above the 1 MiB that brokers take by default",
        doc: "A larger payload is not decoded: class `too_large` of `on_failure`.",
        ..KEY
    },
];
