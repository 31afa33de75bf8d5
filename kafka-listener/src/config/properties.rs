//! librdkafka's own names: which may be given as they are, which are owned by a key, and what Java calls them.

use super::keys::{self, Key, Kind};
use super::reader::RawProperty;
use super::report::{Problem, Report, nearest, shown};

/// What a raw property may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Harmless: its value may be shown.
    Open,
    /// Never shown.
    Secret,
    /// The framework depends on its value.
    Ours(&'static str),
    /// Means nothing to a consumer.
    Producer,
    /// Not a name of librdkafka's; the way out.
    Foreign(&'static str),
}

/// Java's and other clients' names, and names that only the framework may set.
static REFUSED: &[(&str, Rule)] = &[
    ("enable.partition.eof", Rule::Ours("it is switched on where the end of a partition matters")),
    ("group.protocol.type", Rule::Ours("a listener is a `consumer`")),
    ("offset.store.method", Rule::Ours("offsets are committed to the broker")),
    ("offset.store.path", Rule::Ours("offsets are committed to the broker")),
    ("offset.store.sync.interval.ms", Rule::Ours("offsets are committed to the broker")),
    ("consume.callback.max.messages", Rule::Ours("records are not consumed by callback")),
    ("consume_cb", Rule::Ours("callbacks are the framework's")),
    ("rebalance_cb", Rule::Ours("register a `RebalanceListener`")),
    ("offset_commit_cb", Rule::Ours("callbacks are the framework's")),
    ("error_cb", Rule::Ours("callbacks are the framework's")),
    ("throttle_cb", Rule::Ours("callbacks are the framework's")),
    ("stats_cb", Rule::Ours("callbacks are the framework's")),
    ("log_cb", Rule::Ours("callbacks are the framework's")),
    ("background_event_cb", Rule::Ours("callbacks are the framework's")),
    ("socket_cb", Rule::Ours("callbacks are the framework's")),
    ("connect_cb", Rule::Ours("callbacks are the framework's")),
    ("closesocket_cb", Rule::Ours("callbacks are the framework's")),
    ("open_cb", Rule::Ours("callbacks are the framework's")),
    ("resolve_cb", Rule::Ours("callbacks are the framework's")),
    ("oauthbearer_token_refresh_cb", Rule::Ours("take `sasl.oauthbearer.method = \"oidc\"`")),
    ("ssl.certificate.verify_cb", Rule::Ours("callbacks are the framework's")),
    ("opaque", Rule::Ours("it is a pointer")),
    ("default_topic_conf", Rule::Ours("it is a pointer")),
    ("ssl_key", Rule::Ours("`kafka.tls.key`")),
    ("ssl_certificate", Rule::Ours("`kafka.tls.certificate`")),
    ("ssl_ca", Rule::Ours("`kafka.tls.ca`")),
    ("ssl_engine_callback_data", Rule::Ours("it is a pointer")),
    ("interceptors", Rule::Ours("it is a pointer")),
    ("enabled_events", Rule::Ours("events are the framework's")),
    ("log.queue", Rule::Ours("events are the framework's")),
    ("key.deserializer", Rule::Foreign("the type of the handler's parameter says how a key is decoded")),
    ("value.deserializer", Rule::Foreign("the type of the handler's parameter says how a payload is decoded")),
    ("key.serializer", Rule::Foreign("listeners do not produce")),
    ("value.serializer", Rule::Foreign("listeners do not produce")),
    ("max.poll.records", Rule::Foreign("the key `max_poll_records`")),
    ("fetch.max.wait.ms", Rule::Foreign("the key `fetch_max_wait`")),
    ("default.api.timeout.ms", Rule::Foreign("`socket.timeout.ms` bounds requests")),
    ("send.buffer.bytes", Rule::Foreign("`socket.send.buffer.bytes`")),
    ("receive.buffer.bytes", Rule::Foreign("`socket.receive.buffer.bytes`")),
    ("socket.connection.setup.timeout.max.ms", Rule::Foreign("`socket.connection.setup.timeout.ms`")),
    ("exclude.internal.topics", Rule::Foreign("topics are named one by one")),
    ("interceptor.classes", Rule::Foreign("Java classes cannot be loaded")),
    ("metric.reporters", Rule::Foreign("metrics go to the `metrics` facade")),
    ("metrics.num.samples", Rule::Foreign("metrics go to the `metrics` facade")),
    ("metrics.recording.level", Rule::Foreign("metrics go to the `metrics` facade")),
    ("metrics.sample.window.ms", Rule::Foreign("metrics go to the `metrics` facade")),
    ("auto.include.jmx.reporter", Rule::Foreign("metrics go to the `metrics` facade")),
    ("security.providers", Rule::Foreign("`ssl.providers`")),
    ("sasl.jaas.config", Rule::Foreign("the keys `kafka.sasl.mechanism`, `username` and `password`")),
    ("sasl.client.callback.handler.class", Rule::Foreign("`kafka.sasl.mechanism`; Java classes cannot be loaded")),
    ("sasl.login.callback.handler.class", Rule::Foreign("`kafka.sasl.mechanism`; Java classes cannot be loaded")),
    ("sasl.login.class", Rule::Foreign("`kafka.sasl.mechanism`; Java classes cannot be loaded")),
    ("sasl.kerberos.kinit.cmd.path", Rule::Foreign("`sasl.kerberos.kinit.cmd`")),
    ("sasl.kerberos.min.time.before.relogin.ms", Rule::Foreign("`sasl.kerberos.min.time.before.relogin`")),
    ("ssl.truststore.location", Rule::Foreign("the key `kafka.tls.ca`, with a PEM file instead of a JKS store")),
    ("ssl.truststore.password", Rule::Foreign("PEM files of authorities have no password; the key is `kafka.tls.ca`")),
    ("ssl.truststore.type", Rule::Foreign("the key `kafka.tls.ca` takes PEM")),
    ("ssl.truststore.certificates", Rule::Foreign("the key `kafka.tls.ca` takes PEM text as well")),
    ("ssl.keystore.type", Rule::Foreign("`ssl.keystore.location` takes PKCS#12; `kafka.tls.key` takes PEM")),
    ("ssl.keystore.key", Rule::Foreign("the key `kafka.tls.key` takes PEM text as well")),
    ("ssl.keystore.certificate.chain", Rule::Foreign("the key `kafka.tls.certificate` takes PEM text as well")),
    ("ssl.enabled.protocols", Rule::Foreign("OpenSSL's defaults hold")),
    ("ssl.protocol", Rule::Foreign("OpenSSL's defaults hold")),
    ("ssl.provider", Rule::Foreign("`ssl.providers`")),
    ("ssl.trustmanager.algorithm", Rule::Foreign("Java classes cannot be loaded")),
    ("ssl.keymanager.algorithm", Rule::Foreign("Java classes cannot be loaded")),
    ("ssl.secure.random.implementation", Rule::Foreign("Java classes cannot be loaded")),
    ("ssl.engine.factory.class", Rule::Foreign("Java classes cannot be loaded")),
];

/// Names that a consumer takes and no key owns, as of librdkafka 2.12; values may be shown.
static OPEN: &[&str] = &[
    "allow.auto.create.topics",
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "check.crcs",
    "client.dns.lookup",
    "client.rack",
    "connections.max.idle.ms",
    "coordinator.query.interval.ms",
    "debug",
    "enable.metrics.push",
    "enable.random.seed",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.queue.backoff.ms",
    "https.ca.location",
    "internal.termination.signal",
    "log.connection.close",
    "log.thread.name",
    "log_level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "message.copy.max.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "plugin.library.paths",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.metadata.authentication.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.certificate.stores",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.id",
    "ssl.engine.location",
    "ssl.keystore.location",
    "ssl.providers",
    "ssl.sigalgs.list",
    "statistics.interval.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.cnt",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

/// The same, but values are never shown: they are secrets, may carry one, or run as a command.
static HIDDEN: &[&str] = &[
    "https.ca.pem",
    "sasl.kerberos.kinit.cmd",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.token.endpoint.url",
    "ssl.keystore.password",
    "topic.blacklist",
];

/// Names in [`OPEN`] that mean nothing to a producer, which warns of them.
static CONSUMER: &[&str] = &[
    "check.crcs",
    "coordinator.query.interval.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.queue.backoff.ms",
    "max.partition.fetch.bytes",
    "queued.min.messages",
];

/// Names that only a producer takes.
static PRODUCER: &[&str] = &[
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "dr_cb",
    "dr_msg_cb",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "msg_order_cmp",
    "partitioner",
    "partitioner_cb",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Those of them that only the framework may set.
static PRODUCER_OURS: &[&str] = &[
    "delivery.report.only.error",
    "dr_cb",
    "dr_msg_cb",
    "msg_order_cmp",
    "partitioner_cb",
    "produce.offset.report",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Every name that `properties` takes.
pub(crate) fn allowed() -> impl Iterator<Item = &'static str> {
    OPEN.iter().chain(HIDDEN).copied()
}

/// May the value of this property be shown?
pub(crate) fn printable(name: &str) -> bool {
    OPEN.contains(&name)
        || owner(name, "", keys::KAFKA).or_else(|| owner(name, "", keys::LISTENER)).is_some_and(|(key, _)| !key.secret)
        || name == "enable.partition.eof"
}

fn rule(name: &str) -> Option<Rule> {
    if OPEN.contains(&name) {
        return Some(Rule::Open);
    }
    if HIDDEN.contains(&name) {
        return Some(Rule::Secret);
    }
    if PRODUCER.contains(&name) {
        return Some(Rule::Producer);
    }
    REFUSED.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
}

/// The key that owns a property, with its path.
fn owner(name: &str, prefix: &str, spec: &'static [Key]) -> Option<(&'static Key, String)> {
    spec.iter().find_map(|key| match key.kind {
        Kind::Table(inner) => owner(name, &format!("{prefix}{}.", key.name), inner),
        _ => key.owned_properties().any(|owned| owned == name).then(|| (key, format!("{prefix}{}", key.name))),
    })
}

/// Whether a property of all clients is no business of the producer.
pub(crate) fn is_for_consumers(name: &str) -> bool {
    CONSUMER.contains(&name)
}

/// Names that a producer may be given and no key owns.
pub(crate) fn allowed_for_producer() -> impl Iterator<Item = &'static str> {
    let owned = |name: &str| owner(name, "", keys::PRODUCER).is_some();
    let of_producers = PRODUCER.iter().copied().filter(move |name| !owned(name) && !PRODUCER_OURS.contains(name));
    allowed().filter(|name| !is_for_consumers(name)).chain(of_producers)
}

/// As [`accept`], for `[kafka.producer]`.
pub(crate) fn accept_for_producer(property: &RawProperty, report: &mut Report) -> bool {
    let name = property.name.as_str();
    let refused = |message: String| Problem::new(&property.key, message);
    if allowed_for_producer().any(|allowed| allowed == name) {
        return true;
    }
    let problem = match (owner(name, "kafka.", keys::KAFKA), rule(name)) {
        (Some((key, path)), _) => refused(format!("property `{name}` is owned by the key `{path}`"))
            .help(format!("set `{path}`: {}", key.doc)),
        (None, Some(Rule::Ours(reason))) => refused(format!("property `{name}` is set by the framework")).help(reason),
        (None, Some(Rule::Producer)) if name.starts_with("transaction") => {
            refused(format!("property `{name}`: transactions are not available in this version"))
        }
        (None, Some(Rule::Producer)) => refused(format!("property `{name}` is set by the framework")),
        (None, Some(Rule::Foreign(way_out))) => {
            refused(format!("property `{name}` is Java's, librdkafka does not know it"))
                .help(format!("instead: {way_out}"))
        }
        (None, Some(Rule::Open | Rule::Secret)) => {
            refused(format!("property `{name}` is for consumers; `[kafka.producer]` sends"))
        }
        (None, None) if owner(name, "", keys::LISTENER).is_some() => {
            refused(format!("property `{name}` is for consumers; `[kafka.producer]` sends"))
        }
        (None, None) => {
            let hint = nearest(name, allowed_for_producer()).map(|near| format!("did you mean `{near}`?"));
            refused(format!("librdkafka has no property `{}`", shown(name)))
                .help(hint.unwrap_or_else(|| "its names are in CONFIGURATION.md of librdkafka 2.12".to_owned()))
        }
    };
    report.add(problem);
    false
}

/// Whether librdkafka may be given the property as it is; everything else is reported.
pub(crate) fn accept(property: &RawProperty, report: &mut Report) -> bool {
    let name = property.name.as_str();
    let refused = |message: String| Problem::new(&property.key, message);
    let key = owner(name, "kafka.", keys::KAFKA).or_else(|| owner(name, "", keys::LISTENER));
    let problem = match (key, rule(name)) {
        (Some((key, path)), _) => refused(format!("property `{name}` is owned by the key `{path}`"))
            .help(format!("set `{path}`: {}", key.doc)),
        (None, Some(Rule::Open | Rule::Secret)) => return true,
        (None, Some(Rule::Ours(reason))) => refused(format!("property `{name}` is set by the framework")).help(reason),
        (None, Some(Rule::Producer)) => refused(format!("property `{name}` is for producers; listeners consume")),
        (None, Some(Rule::Foreign(way_out))) => {
            refused(format!("property `{name}` is Java's, librdkafka does not know it"))
                .help(format!("instead: {way_out}"))
        }
        (None, None) => {
            let hint = nearest(name, allowed()).map(|near| format!("did you mean `{near}`?"));
            refused(format!("librdkafka has no property `{}`", shown(name)))
                .help(hint.unwrap_or_else(|| "its names are in CONFIGURATION.md of librdkafka 2.12".to_owned()))
        }
    };
    report.add(problem);
    false
}
