//! What is wrong with a payload or a key, in words that repeat nothing of its content.

use std::any::type_name;
use std::error::Error;
use std::fmt;

use super::looks::Looks;

/// A payload or a key that is not what the listener expects: error class `decode`, never tried again.
///
/// The text names the expected type; what is wrong with the bytes is the [`source`](Error::source). Of the payload's
/// content it repeats no more than the decoder's own message does.
#[derive(Debug)]
pub struct DecodeError {
    expected: &'static str,
    fault: Fault,
}

#[derive(Debug)]
#[cfg_attr(not(feature = "json"), expect(dead_code, reason = "some faults are found by the JSON codec only"))]
enum Fault {
    Tombstone,
    Empty,
    NullKey,
    Malformed(Malformed, Option<Looks>),
    MalformedKey(Malformed),
}

impl DecodeError {
    /// For decoders of your own: a payload that does not decode as `T`, and why.
    pub fn new<T: ?Sized>(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { expected: type_name::<T>(), fault: Fault::Malformed(Malformed(cause.into()), None) }
    }

    /// The same of bytes that may be recognised as something else.
    pub(crate) fn of_bytes<T: ?Sized>(cause: impl Into<Box<dyn Error + Send + Sync>>, bytes: &[u8]) -> Self {
        let fault = Fault::Malformed(Malformed(cause.into()), Looks::of(bytes));
        Self { expected: type_name::<T>(), fault }
    }

    pub(crate) fn tombstone<T: ?Sized>() -> Self {
        Self { expected: type_name::<T>(), fault: Fault::Tombstone }
    }

    #[cfg(feature = "json")]
    pub(crate) fn empty(expected: &'static str) -> Self {
        Self { expected, fault: Fault::Empty }
    }

    /// For key types of your own: a key that does not decode as `K`, and why.
    pub fn key<K: ?Sized>(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { expected: type_name::<K>(), fault: Fault::MalformedKey(Malformed(cause.into())) }
    }

    /// For key types of your own: the key is null where `K` needs one.
    pub fn null_key<K: ?Sized>() -> Self {
        Self { expected: type_name::<K>(), fault: Fault::NullKey }
    }

    /// Whether `error` is a decode error or was caused by one.
    ///
    /// `anyhow` hides the type of the outermost error when it is boxed but passes its source through; this is why every
    /// fault has a source of a type of ours.
    pub(crate) fn is_behind(error: &(dyn Error + 'static)) -> bool {
        let mut link = Some(error);
        while let Some(error) = link {
            if error.is::<Self>() || error.is::<Malformed>() || error.is::<Absent>() {
                return true;
            }
            link = error.source();
        }
        false
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = ShortTypeName(self.expected);
        match &self.fault {
            Fault::Tombstone => write!(f, "tombstone where `{expected}` is expected; take `Option<{expected}>`"),
            Fault::Empty => write!(f, "empty payload where `{expected}` is expected"),
            Fault::Malformed(_, None) => write!(f, "payload does not decode as `{expected}`"),
            Fault::Malformed(_, Some(looks)) => {
                write!(f, "payload does not decode as `{expected}`, it looks like {looks}")
            }
            Fault::NullKey => write!(f, "null key where `{expected}` is expected; take `Key<Option<{expected}>>`"),
            Fault::MalformedKey(_) => write!(f, "key does not decode as `{expected}`"),
        }
    }
}

impl Error for DecodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match &self.fault {
            Fault::Tombstone | Fault::NullKey => &Absent::Null,
            Fault::Empty => &Absent::Empty,
            Fault::Malformed(cause, _) | Fault::MalformedKey(cause) => cause,
        })
    }
}

/// Stands for the decoder's error: same text, same source, but a type by which [`DecodeError::is_behind`] knows it.
#[derive(Debug)]
struct Malformed(Box<dyn Error + Send + Sync>);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Malformed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[derive(Debug, thiserror::Error)]
enum Absent {
    #[error("the bytes are null")]
    Null,
    #[error("there are no bytes")]
    Empty,
}

/// A type's name without the paths: `Option<Order>` for `core::option::Option<shop::Order>`.
pub(super) struct ShortTypeName(pub(super) &'static str);

impl fmt::Display for ShortTypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while !rest.is_empty() {
            let path_ends = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            let (path, after) = rest.split_at(path_ends);
            f.write_str(path.rsplit("::").next().unwrap_or(path))?;
            let punctuation_ends = after.find(|c: char| c.is_alphanumeric() || c == '_').unwrap_or(after.len());
            let (punctuation, after) = after.split_at(punctuation_ends);
            f.write_str(punctuation)?;
            rest = after;
        }
        Ok(())
    }
}
