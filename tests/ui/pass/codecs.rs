//! Codecs by name and by type, around every kind of payload.

#![deny(warnings)]

use kafka_listener::codec::Decode;
use kafka_listener::extract::RawPayload;
use kafka_listener::{ConsumerRecord, RecordContext, kafka_listener};

pub struct Csv<const SEPARATOR: char>;

pub struct Row(pub Vec<String>);

impl<const SEPARATOR: char> Decode<Row> for Csv<SEPARATOR> {
    type Error = std::str::Utf8Error;

    fn decode(payload: &[u8], _: RecordContext<'_>) -> Result<Row, Self::Error> {
        Ok(Row(str::from_utf8(payload)?.split(SEPARATOR).map(str::to_owned).collect()))
    }
}

#[kafka_listener(topic = "rows", codec = Csv<','>)]
async fn plain(row: Row) {
    drop(row);
}

#[kafka_listener(topic = "rows", codec = self::Csv<';'>)]
async fn optional(row: Option<Row>) {
    drop(row);
}

#[kafka_listener(topic = "rows", codec = Csv<','>)]
async fn record(row: ConsumerRecord<Row>) {
    drop(row);
}

#[kafka_listener(topic = "rows", codec = Csv<','>)]
fn optional_record(row: ConsumerRecord<std::option::Option<Row>>) {
    drop(row);
}

#[kafka_listener(topic = "names", codec = "string")]
async fn text(name: String) {
    drop(name);
}

#[kafka_listener(topic = "names", codec = "${CODEC:-bytes}")]
async fn raw(name: RawPayload) {
    drop(name);
}

fn main() {}
