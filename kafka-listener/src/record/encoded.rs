//! What tests of headers share: all headers of a record, encoded as the engine keeps them, and read back.

use super::{HeaderIter, encode_header};

/// Names and values in their order.
pub(crate) type OwnedHeaders = Vec<(Vec<u8>, Option<Vec<u8>>)>;

pub(crate) fn encoded(headers: &[(&[u8], Option<&[u8]>)]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        encode_header(&mut encoded, name, *value);
    }
    encoded
}

pub(crate) fn decoded(headers: &[u8]) -> OwnedHeaders {
    owned(HeaderIter::new(headers))
}

pub(crate) fn owned<'h>(headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> OwnedHeaders {
    headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect()
}
