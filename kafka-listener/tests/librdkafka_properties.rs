//! The names that `properties` takes are names of the librdkafka that is built in.

use rdkafka::ClientConfig;

/// What librdkafka says to one property, where it refuses it.
fn refusal(name: &str) -> Option<String> {
    ClientConfig::new().set(name, "1").create_native_config().err().map(|error| error.to_string())
}

fn is_unknown(refusal: Option<&String>) -> bool {
    refusal.is_some_and(|refusal| refusal.contains("No such configuration property"))
}

#[test]
fn librdkafka_knows_every_property_that_is_allowed() {
    assert!(is_unknown(refusal("flux.capacitor").as_ref()), "an unknown name must be told from a wrong value");
    let schema = kafka_listener::config::json_schema();
    let definitions = &schema["$defs"];
    check(&definitions["listener"]["properties"]["properties"]["properties"]);
    check(&definitions["kafka"]["properties"]["producer"]["properties"]["properties"]["properties"]);
}

#[track_caller]
fn check(properties: &serde_json::Value) {
    // The schema also has the first parts of dotted names, as tables.
    let is_name = |name: &&String| properties[name.as_str()]["type"] != "object";
    let names: Vec<&String> = properties.as_object().expect("the schema lists them").keys().filter(is_name).collect();
    assert!(names.len() > 80, "only {} names", names.len());
    for name in names {
        // The value may be wrong or a feature off: only the name is asked for.
        let refusal = refusal(name);
        assert!(!is_unknown(refusal.as_ref()), "{}", refusal.unwrap_or_default());
    }
}
