//! Every kind of mistake and what is said about it.

use super::{report, sources};

#[test]
fn everything_wrong_is_one_report() {
    let toml = "
[kafka]
security_protocol = \"sasl_plaintext\"
sasl = { mechanism = \"PLAIN\", username = \"shop\", pasword = \"hunter2\" }

[listener]
concurency = 3
session_timeout = \"45 parsecs\"
[listeners.reserve_stok]
";
    insta::assert_snapshot!(report(&sources(toml)));
}
