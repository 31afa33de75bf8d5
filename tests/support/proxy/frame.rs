//! Kafka's framing: a length, then a header of which only the API, the number and the client's name are read.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// More than any test sends; a length beyond it is a peer that does not speak Kafka.
const LARGEST: usize = 256 << 20;

/// One request or answer with its length in front, as it came.
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

/// What a request says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestHeader {
    pub(super) api: i16,
    pub(super) correlation: i32,
    pub(super) client_id: String,
}

impl Frame {
    /// The next one; `None` at the end of the stream.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut length = [0; 4];
        match from.read_exact(&mut length).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let body = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if body > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not Kafka's protocol"));
        }
        let mut frame = vec![0; 4 + body];
        frame[..4].copy_from_slice(&length);
        from.read_exact(&mut frame[4..]).await?;
        Ok(Some(Self(frame)))
    }

    #[cfg(test)]
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number that ties an answer to its request.
    pub(super) fn correlation_of_answer(&self) -> Option<i32> {
        int(&self.0, 4)
    }

    /// The header of a request; `None` where it is cut short.
    pub(super) fn header_of_request(&self) -> Option<RequestHeader> {
        let api = short(&self.0, 4)?;
        let correlation = int(&self.0, 8)?;
        let length = short(&self.0, 12)?;
        // A null name has the length -1.
        let length = usize::try_from(length).unwrap_or(0);
        let client_id = self.0.get(14..14 + length)?;
        Some(RequestHeader { api, correlation, client_id: String::from_utf8_lossy(client_id).into_owned() })
    }
}

fn short(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
