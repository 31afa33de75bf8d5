//! `TypeIdJson`: JSON whose type a Spring producer names in the header `__TypeId__`.

use std::any::type_name;
use std::error::Error;
use std::fmt;

use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, VariantAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::Decode;
use crate::record::RecordContext;

const HEADER: &[u8] = b"__TypeId__";

/// The closed table from type ids to the variants of an enum.
pub trait TypeIds {
    /// Each type id, as the producer's `__TypeId__` spells it, with the variant that it stands for, as serde names it.
    const TYPE_IDS: &'static [(&'static str, &'static str)];
}

/// A codec for enums: the header `__TypeId__` chooses the variant by the table of [`TypeIds`], and the payload is the JSON
/// of its content. No class is ever looked for: an id that is not in the table is a decode error.
///
/// ```
/// use kafka_listener::codec::{TypeIdJson, TypeIds};
///
/// #[derive(serde::Deserialize)]
/// enum OrderEvent {
///     Placed { order_id: String },
///     Cancelled { order_id: String, reason: String },
/// }
///
/// impl TypeIds for OrderEvent {
///     const TYPE_IDS: &'static [(&'static str, &'static str)] =
///         &[("com.shop.OrderPlaced", "Placed"), ("com.shop.OrderCancelled", "Cancelled")];
/// }
///
/// # #[cfg(feature = "macros")]
/// #[kafka_listener::kafka_listener(topic = "orders", group_id = "audit", codec = TypeIdJson)]
/// async fn audit(event: OrderEvent) {
///     // …
/// #   match event { OrderEvent::Placed { order_id } | OrderEvent::Cancelled { order_id, .. } => drop(order_id) }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum TypeIdJson {}

impl<T: DeserializeOwned + TypeIds> Decode<T> for TypeIdJson {
    type Error = Box<dyn Error + Send + Sync>;

    const READS_HEADERS: bool = true;

    fn decode(payload: &[u8], record: RecordContext<'_>) -> Result<T, Self::Error> {
        let header = record.headers().filter(|(name, _)| *name == HEADER).last().and_then(|(_, value)| value);
        let Some(id) = header else { return Err(UnknownTypeId { found: None, expected: type_name::<T>() }.into()) };
        let Some((_, variant)) = T::TYPE_IDS.iter().find(|(known, _)| known.as_bytes() == id) else {
            let found = Some(String::from_utf8_lossy(id).chars().take(200).collect());
            return Err(UnknownTypeId { found, expected: type_name::<T>() }.into());
        };
        let mut json = serde_json::Deserializer::from_slice(payload);
        let value = T::deserialize(Tagged { variant, content: &mut json })?;
        json.end()?;
        Ok(value)
    }
}

/// A record whose `__TypeId__` is missing, or not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownTypeId {
    found: Option<String>,
    expected: &'static str,
}

impl fmt::Display for UnknownTypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "no variant of `{}` has the type id `{found}`", self.expected),
            None => write!(f, "the record has no header `__TypeId__` to choose a variant of `{}` by", self.expected),
        }
    }
}

impl Error for UnknownTypeId {}

/// An enum whose variant is known and whose content is JSON.
struct Tagged<'v, D> {
    variant: &'v str,
    content: D,
}

impl<'de, R: serde_json::de::Read<'de>> Deserializer<'de> for Tagged<'_, &mut serde_json::Deserializer<R>> {
    type Error = serde_json::Error;

    /// Whatever is no enum is the content alone.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.content.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de, R: serde_json::de::Read<'de>> EnumAccess<'de> for Tagged<'_, &mut serde_json::Deserializer<R>> {
    type Error = serde_json::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Self::Error> {
        let name: StrDeserializer<'_, ValueError> = StrDeserializer::new(self.variant);
        let variant = seed.deserialize(name).map_err(serde::de::Error::custom)?;
        Ok((variant, self))
    }
}

impl<'de, R: serde_json::de::Read<'de>> VariantAccess<'de> for Tagged<'_, &mut serde_json::Deserializer<R>> {
    type Error = serde_json::Error;

    fn unit_variant(self) -> Result<(), Self::Error> {
        IgnoredAny::deserialize(self.content).map(drop)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Self::Error> {
        seed.deserialize(self.content)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Self::Error> {
        self.content.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.content.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::sample::Sample;

    #[derive(Debug, PartialEq, Deserialize)]
    enum Event {
        Placed {
            order_id: String,
        },
        Weighed(f64),
        #[serde(rename = "moved")]
        Moved(i32, i32),
        Closed,
    }

    impl TypeIds for Event {
        const TYPE_IDS: &'static [(&'static str, &'static str)] = &[
            ("com.shop.Placed", "Placed"),
            ("com.shop.Weighed", "Weighed"),
            ("com.shop.Moved", "moved"),
            ("com.shop.Closed", "Closed"),
            ("com.shop.Lost", "Lost"),
        ];
    }

    fn decode(id: Option<&str>, payload: &[u8]) -> Result<Event, String> {
        let sample = Sample::of_payload(payload);
        let sample = match id {
            Some(id) => sample.header(HEADER, Some(id.as_bytes())),
            None => sample,
        };
        sample.read(|record| TypeIdJson::decode(payload, record)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_header_chooses_the_variant_and_the_payload_is_its_content() {
        let of = |id, payload| decode(Some(id), payload);
        let placed = Event::Placed { order_id: "o-1".to_owned() };
        assert_eq!(of("com.shop.Placed", br#"{"order_id":"o-1","more":1}"#), Ok(placed));
        assert_eq!(of("com.shop.Weighed", b"2.5"), Ok(Event::Weighed(2.5)));
        assert_eq!(of("com.shop.Moved", b"[1,-2]"), Ok(Event::Moved(1, -2)));
        assert_eq!(of("com.shop.Closed", br#"{"at":7}"#), Ok(Event::Closed));
    }

    #[test]
    fn what_is_not_in_the_table_is_an_error_that_names_it() {
        let expected = type_name::<Event>();
        let unknown = format!("no variant of `{expected}` has the type id `java.lang.Runtime`");
        assert_eq!(decode(Some("java.lang.Runtime"), b"{}"), Err(unknown));
        let missing = format!("the record has no header `__TypeId__` to choose a variant of `{expected}` by");
        assert_eq!(decode(None, b"{}"), Err(missing));
        assert!(decode(Some("com.shop.Lost"), b"{}").unwrap_err().contains("unknown variant `Lost`"));
        assert!(decode(Some("com.shop.Weighed"), b"2.5 x").unwrap_err().contains("trailing characters"));
    }
}
