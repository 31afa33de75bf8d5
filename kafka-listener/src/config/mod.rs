//! From TOML, environment, builder and attributes to [`ListenerSettings`].

mod settings;

pub use settings::AckMode;
#[expect(unused_imports, reason = "the layers that fill them come next")]
pub(crate) use settings::*;
