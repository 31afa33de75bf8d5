//! `Key<K>`: the record's key as text, bytes or a type of the user's.
//!
//! Apart from [`FromRecord`], so that `Option` can mean a null key for every key type at once.

use super::FromRecord;
use crate::decode::DecodeError;
use crate::record::RecordContext;

/// The record's key: `Key<String>`, `Key<Vec<u8>>`, `Option` of either where keys may be null, or a type of your own
/// that implements [`FromKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<K>(pub K);

/// What [`Key`] can hold.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a record's key",
    label = "a key is `String`, `Vec<u8>`, or `Option` of either",
    note = "a type of your own becomes a key by implementing `kafka_listener::extract::FromKey`"
)]
pub trait FromKey: Sized {
    /// Reads the key's bytes; `None` is Kafka's null key.
    ///
    /// # Errors
    ///
    /// The key is not what `Self` expects: [`DecodeError::key`], or [`DecodeError::null_key`].
    fn from_key(key: Option<&[u8]>) -> Result<Self, DecodeError>;
}

impl<K: FromKey> FromRecord for Key<K> {
    type Rejection = DecodeError;

    const READS_HEADERS: bool = false;

    fn from_record(record: RecordContext<'_>) -> Result<Self, DecodeError> {
        K::from_key(record.key()).map(Key)
    }
}

#[diagnostic::do_not_recommend]
impl FromKey for String {
    fn from_key(key: Option<&[u8]>) -> Result<Self, DecodeError> {
        let key = key.ok_or_else(DecodeError::null_key::<Self>)?;
        str::from_utf8(key).map(str::to_owned).map_err(DecodeError::key::<Self>)
    }
}

#[diagnostic::do_not_recommend]
impl FromKey for Vec<u8> {
    fn from_key(key: Option<&[u8]>) -> Result<Self, DecodeError> {
        key.map(<[u8]>::to_vec).ok_or_else(DecodeError::null_key::<Self>)
    }
}

#[diagnostic::do_not_recommend]
impl<K: FromKey> FromKey for Option<K> {
    fn from_key(key: Option<&[u8]>) -> Result<Self, DecodeError> {
        key.map(|key| K::from_key(Some(key))).transpose()
    }
}
