//! The properties of a client, on their way to librdkafka.

use std::ffi::{CString, c_char};

use super::{KafkaError, owned, sys};

/// An owned `rd_kafka_conf_t`, until a client takes it over.
#[derive(Debug)]
pub(super) struct Configuration(*mut sys::Conf);

impl Configuration {
    pub(super) fn new() -> Self {
        // SAFETY: the call has no preconditions.
        Self(unsafe { sys::rd_kafka_conf_new() })
    }

    /// Sets one property. The error names it and never shows the value, which may be a secret.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), KafkaError> {
        let refused = |text: String| Err(KafkaError { code: 0, text });
        if name.contains('\0') || value.contains('\0') {
            return refused(format!("property `{}` holds a NUL character", name.escape_default()));
        }
        let Some(said) = self.set_plainly(name, value) else { return Ok(()) };
        let reason = reason(&said, value).map(|reason| format!(": {reason}")).unwrap_or_default();
        refused(format!("librdkafka refuses property `{name}`{reason}"))
    }

    /// The same for a value that is no secret. What librdkafka says against it, if anything; it may quote the value.
    pub(super) fn set_plainly(&mut self, name: &str, value: &str) -> Option<String> {
        let (Ok(native_name), Ok(native_value)) = (CString::new(name), CString::new(value)) else {
            return Some("it holds a NUL character".to_owned());
        };
        let mut text = [0 as c_char; 512];
        // SAFETY: the configuration is live, all pointers live through the call, and `text` has the length given.
        unsafe {
            let outcome = sys::rd_kafka_conf_set(
                self.0,
                native_name.as_ptr(),
                native_value.as_ptr(),
                text.as_mut_ptr(),
                text.len(),
            );
            (outcome != sys::CONF_OK).then(|| owned(text.as_ptr()))
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::Conf {
        self.0
    }

    /// Says that a client owns the configuration now.
    pub(super) fn taken(mut self) {
        self.0 = std::ptr::null_mut();
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the configuration is live, owned, and destroyed once.
            unsafe { sys::rd_kafka_conf_destroy(self.0) }
        }
    }
}

/// What librdkafka says of a property, where that is sure not to repeat the value. It quotes values whole, trimmed, cut
/// off, one of a list, or as the number that it read at their beginning, and then says "value".
fn reason<'t>(said: &'t str, value: &str) -> Option<&'t str> {
    if said.starts_with("Expected bool") {
        return Some(said);
    }
    if said.starts_with("Configuration property")
        && let Some(range) = said.find("outside allowed range")
    {
        return Some(said[range..].trim_end());
    }
    let mut parts = value.split([',', ';']).map(str::trim).filter(|part| !part.is_empty());
    let quotes = said.contains("value") || parts.any(|part| said.contains(part));
    (!said.is_empty() && !quotes).then_some(said)
}
