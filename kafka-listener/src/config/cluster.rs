//! `[kafka]`: how to reach the cluster, and what is refused because it would be insecure or is not built in.

use std::collections::BTreeMap;
use std::path::Path;

use super::keys;
use super::placeholders::Placeholders;
use super::producer;
use super::properties;
use super::reader::{Described, RawProperty, Read, Reader, Scope};
use super::report::{Problem, Report};
use super::settings::ProducerSettings;
use super::value::{Origin, Table};

const TLS: bool = cfg!(any(feature = "tls", feature = "tls-vendored"));
const OIDC: bool = cfg!(feature = "oidc");
const GSSAPI: bool = cfg!(feature = "gssapi");

/// `[kafka]` as the listeners build on it.
pub(crate) struct Cluster {
    /// First part of every client id.
    pub(crate) client_id: String,
    pub(crate) described: Vec<Described>,
    /// `kafka.properties`.
    pub(crate) raw: Vec<RawProperty>,
    pub(crate) producer: ProducerSettings,
    typed: BTreeMap<String, String>,
    security: Security,
}

/// What the checks of raw properties have to know.
struct Security {
    protocol: Read<&'static str>,
    mechanism: Read<Option<&'static str>>,
    allow_insecure: bool,
}

impl Cluster {
    pub(crate) fn read(kafka: Option<&Table>, placeholders: &Placeholders<'_>, report: &mut Report) -> Self {
        let scopes = kafka.map(|table| (Scope::Shared, table)).into_iter().collect();
        let described = Vec::new();
        let mut reader = Reader { scopes, spec: keys::KAFKA, prefix: "kafka.", placeholders, report, described };
        let servers = reader.texts("bootstrap_servers");
        if servers.value.is_empty() {
            reader.report.add(Problem::new(&servers.origin, "`bootstrap_servers` is empty"));
        }
        let servers: Vec<String> = servers.value.into_iter().map(|(server, _)| server).collect();
        let client_id = reader.text("client_id").value;
        let protocol = reader.choice("security_protocol");
        let allow_insecure = reader.boolean("allow_insecure").value;

        let mut typed = BTreeMap::new();
        typed.insert("bootstrap.servers".to_owned(), servers.join(","));
        typed.insert("security.protocol".to_owned(), protocol.value.to_owned());
        let mechanism = reader.inner("sasl", |sasl| read_sasl(sasl, &protocol, &mut typed));
        reader.inner("tls", |tls| read_tls(tls, &protocol, &mut typed));
        let security = Security { protocol, mechanism, allow_insecure };
        security.check_protocol(reader.report);

        let mut raw = reader.properties();
        raw.retain(|property| properties::accept(property, reader.report));
        describe_raw(&raw, "kafka.properties.", &mut reader.described);
        security.check_properties(&raw, reader.report);
        let check = |raw: &[RawProperty], report: &mut Report| security.check_properties(raw, report);
        let producer = producer::read(&mut reader, &client_id, &typed, &raw, check);
        let described = reader.described;

        Self { client_id, described, raw, producer, typed, security }
    }

    /// The properties of the keys of `[kafka]`.
    pub(crate) fn typed(&self) -> &BTreeMap<String, String> {
        &self.typed
    }

    /// Checks a listener's own raw properties.
    pub(crate) fn check_properties(&self, raw: &[RawProperty], report: &mut Report) {
        self.security.check_properties(raw, report);
    }
}

/// Lists raw properties; only values known to be harmless are shown.
pub(crate) fn describe_raw(raw: &[RawProperty], prefix: &str, described: &mut Vec<Described>) {
    described.extend(raw.iter().map(|property| Described {
        key: format!("{prefix}{}", property.name),
        value: if property.secret || !properties::printable(&property.name) {
            super::reader::REDACTED.to_owned()
        } else {
            property.value.clone()
        },
        origin: property.origin.clone(),
    }));
}

fn read_sasl(
    sasl: &mut Reader<'_>,
    protocol: &Read<&'static str>,
    typed: &mut BTreeMap<String, String>,
) -> Read<Option<&'static str>> {
    let mechanism = sasl.optional_choice("mechanism");
    let username = sasl.optional_text("username");
    let password = sasl.optional_text("password");
    let wants_sasl = protocol.value.starts_with("sasl_");
    let set = [
        (mechanism.is_set(), &mechanism.origin),
        (username.is_set(), &username.origin),
        (password.is_set(), &password.origin),
    ];
    if let Some((_, origin)) = set.iter().find(|(is_set, _)| *is_set)
        && !wants_sasl
        && !protocol.broken
    {
        sasl.report.add(
            Problem::new(origin, format!("`kafka.sasl` is set, but `security_protocol` is `{}`", protocol.value))
                .help("set `security_protocol = \"sasl_ssl\"`"),
        );
    }
    if wants_sasl && mechanism.value.is_none() && !mechanism.broken {
        sasl.report.add(
            Problem::new(
                &protocol.origin,
                format!("`security_protocol = \"{}\"` needs `kafka.sasl.mechanism`", protocol.value),
            )
            .help("one of `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`, `GSSAPI`"),
        );
    }
    if let Some(name) = mechanism.value {
        typed.insert("sasl.mechanism".to_owned(), name.to_owned());
        let by_password = matches!(name, "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512");
        for (key, value) in [("username", &username), ("password", &password)] {
            if by_password && value.value.is_none() && !value.broken {
                sasl.report.add(Problem::new(&mechanism.origin, format!("`{name}` needs `kafka.sasl.{key}`")));
            }
        }
    }
    typed.extend(username.value.map(|value| ("sasl.username".to_owned(), value)));
    typed.extend(password.value.map(|value| ("sasl.password".to_owned(), value)));
    mechanism
}

fn read_tls(tls: &mut Reader<'_>, protocol: &Read<&'static str>, typed: &mut BTreeMap<String, String>) {
    let wants_tls = protocol.value.ends_with("ssl");
    for key in ["ca", "certificate", "key", "key_password"] {
        let read = tls.optional_text(key);
        if read.is_set() && !wants_tls && !protocol.broken {
            tls.report.add(
                Problem::new(
                    &read.origin,
                    format!("`kafka.tls` is set, but `security_protocol` is `{}`", protocol.value),
                )
                .help("set `security_protocol` to `ssl` or `sasl_ssl`"),
            );
        }
        if read.is_set() && !TLS {
            tls.report.add(feature_missing(&read.origin, "`kafka.tls`", "tls"));
        }
        let Some(value) = read.value else { continue };
        let name = match key {
            "key_password" => "ssl.key.password".to_owned(),
            key if value.contains("-----BEGIN") => format!("ssl.{key}.pem"),
            key => {
                if let Err(error) = std::fs::metadata(Path::new(&value)) {
                    // The path itself may be a mistyped secret.
                    tls.report
                        .add(Problem::new(&read.origin, format!("cannot read the file of `kafka.tls.{key}`: {error}")));
                }
                format!("ssl.{key}.location")
            }
        };
        typed.insert(name, value);
    }
    let (has_certificate, has_key) = (tls.entry("certificate"), tls.entry("key"));
    if let (Some((_, only)), None, lacking) | (None, Some((_, only)), lacking) =
        (has_certificate, has_key, if has_key.is_none() { "key" } else { "certificate" })
    {
        let problem = Problem::new(&only.key, format!("mutual TLS needs `kafka.tls.{lacking}` as well"));
        tls.report.add(problem);
    }
}

impl Security {
    fn check_protocol(&self, report: &mut Report) {
        let protocol = self.protocol.value;
        if protocol.ends_with("ssl") && !TLS {
            report.add(feature_missing(&self.protocol.origin, &format!("`security_protocol = \"{protocol}\"`"), "tls"));
        }
        let Some(mechanism) = self.mechanism.value else { return };
        let origin = &self.mechanism.origin;
        match mechanism {
            "PLAIN" if protocol == "sasl_plaintext" && !self.allow_insecure => report.add(
                Problem::new(origin, "`PLAIN` over `sasl_plaintext` sends the password in the clear")
                    .help("take `security_protocol = \"sasl_ssl\"`, or permit it by `kafka.allow_insecure = true`"),
            ),
            "SCRAM-SHA-256" | "SCRAM-SHA-512" | "OAUTHBEARER" if !TLS => {
                report.add(feature_missing(origin, &format!("`{mechanism}`"), "tls"));
            }
            "GSSAPI" if !GSSAPI => report.add(feature_missing(origin, "`GSSAPI`", "gssapi")),
            _ => {}
        }
    }

    fn check_properties(&self, raw: &[RawProperty], report: &mut Report) {
        for property in raw {
            if let Some(feature) = missing_feature(&property.name, &property.value) {
                report.add(feature_missing(&property.key, &format!("property `{}`", property.name), feature));
            }
            let insecure = match property.name.as_str() {
                "enable.ssl.certificate.verification" => {
                    matches!(property.value.to_ascii_lowercase().as_str(), "false" | "f" | "0")
                }
                "ssl.endpoint.identification.algorithm" => property.value.eq_ignore_ascii_case("none"),
                _ => false,
            };
            if insecure && !self.allow_insecure {
                report.add(
                    Problem::new(&property.origin, format!("`{}` lets anybody pose as the broker", property.name))
                        .help("name the authority by `kafka.tls.ca`, or permit it by `kafka.allow_insecure = true`"),
                );
            }
        }
        let is_set =
            |name: &str, value: &str| raw.iter().any(|raw| raw.name == name && raw.value.eq_ignore_ascii_case(value));
        if self.mechanism.value == Some("OAUTHBEARER")
            && !is_set("sasl.oauthbearer.method", "oidc")
            && !is_set("enable.sasl.oauthbearer.unsecure.jwt", "true")
        {
            report.add(Problem::new(&self.mechanism.origin, "`OAUTHBEARER` has nobody to ask for a token").help(
                "set `sasl.oauthbearer.method = \"oidc\"` and the rest of `sasl.oauthbearer.…` in `kafka.properties`",
            ));
        }
    }
}

/// The feature without which librdkafka is built so that it refuses the property.
fn missing_feature(name: &str, value: &str) -> Option<&'static str> {
    let needs_oidc =
        (name == "sasl.oauthbearer.method" && value.eq_ignore_ascii_case("oidc")) || name.starts_with("https.ca.");
    if needs_oidc && !OIDC {
        return Some("oidc");
    }
    let needs_tls = ["ssl.", "enable.ssl.", "sasl.oauthbearer.", "enable.sasl.oauthbearer."];
    if needs_tls.iter().any(|prefix| name.starts_with(prefix)) && !TLS {
        return Some("tls");
    }
    (name.starts_with("sasl.kerberos.") && !GSSAPI).then_some("gssapi")
}

fn feature_missing(origin: &Origin, what: &str, feature: &str) -> Problem {
    Problem::new(origin, format!("{what} needs the feature `{feature}` of kafka-listener, which is off"))
        .help(format!("`kafka-listener = {{ …, features = [\"{feature}\"] }}` in Cargo.toml"))
}
