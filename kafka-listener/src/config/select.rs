//! Which listeners run, and each one's settings: the entry point for the registry.

use super::cluster::Cluster;
use super::failures::Possible;
use super::keys;
use super::layers::{Merged, Sources, merge, normalise_block, overlay};
use super::lint;
use super::listener::{self, Remarks, Written};
use super::order;
use super::placeholders::Placeholders;
use super::reader::{Described, Reader, Scope};
use super::report::{ConfigError, Problem, Report, listed, nearest, shown};
use super::settings::{ListenerSettings, ProducerSettings};
use super::value::{Entry, Node, Origin, Table, Tree, sub_table};
use crate::definition::{Attribute, AttributeValue, ListenerDefinition};
use crate::state::requirements_of;

/// What the registry runs.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Sorted by id.
    pub(crate) listeners: Vec<ResolvedListener>,
    /// Every setting of `[kafka]` with its origin.
    pub(crate) kafka: Vec<Described>,
    pub(crate) producer: ProducerSettings,
    /// Names of the active profiles, in the order they were laid over the file.
    pub(crate) profiles: Vec<String>,
    /// Listeners that are linked in and do not run, with the reason.
    pub(crate) left_out: Vec<(String, String)>,
    pub(crate) warnings: Vec<String>,
}

/// One listener that runs.
pub(crate) struct ResolvedListener {
    pub(crate) definition: ListenerDefinition,
    pub(crate) settings: ListenerSettings,
    /// Ids of listeners that complete before this one starts, each with its place.
    pub(crate) start_after: Vec<(String, Origin)>,
    /// For the start line.
    pub(crate) notes: Vec<String>,
    described: Vec<Described>,
}

impl std::fmt::Debug for ResolvedListener {
    /// The definition stays out: its attribute may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { definition: _, settings, start_after, notes, described } = self;
        f.debug_struct("ResolvedListener")
            .field("settings", settings)
            .field("start_after", start_after)
            .field("notes", notes)
            .field("described", described)
            .finish_non_exhaustive()
    }
}

impl ResolvedListener {
    /// Every setting with its value, where that may be shown, and its origin.
    pub(crate) fn describe(&self) -> &[Described] {
        &self.described
    }
}

/// Resolves the configuration of `definitions`, which may name a listener twice (found and registered).
pub(crate) fn resolve(sources: &Sources, definitions: &[ListenerDefinition]) -> Result<Resolved, ConfigError> {
    let mut report = Report::default();
    let definitions = unique(definitions, &mut report);
    let ids: Vec<&str> = definitions.iter().map(|definition| definition.id).collect();
    let Merged { root, environment, profiles, mut warnings } = merge(sources, &ids, &mut report);
    if report.is_unreadable() {
        return Err(report.into_error());
    }
    let placeholders = Placeholders { environment: &environment, app: sub_table(&root, "app") };

    let mut selection = Selection::read(&root, &placeholders, &mut report);
    selection.check(&ids, sources.without_discovery, &mut report);
    unknown_listeners(&root, &ids, sources.without_discovery, &mut report);

    let cluster = Cluster::read(sub_table(&root, "kafka"), &placeholders, &mut report);
    let mut mentioned: Vec<String> = Vec::new();
    let mut remarks = Remarks::default();
    let mut listeners = Vec::new();
    let mut left_out = Vec::new();
    let active: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    for definition in definitions {
        let wanted = selection.is_wanted(definition.id);
        // Listeners that do not run still tell which profiles exist; what is wrong with them is not asked.
        let mut unasked = Report::default();
        let asked = if wanted { &mut report } else { &mut unasked };
        let attribute = attribute_layer(&definition, asked);
        let blocks = Blocks::new(&root, definition.id, &attribute);
        let scopes = blocks.with_factory(&placeholders, asked);
        let described = Vec::new();
        let mut reader =
            Reader { scopes, spec: keys::LISTENER, prefix: "", placeholders: &placeholders, report: asked, described };
        let _described = reader.optional_text("container_factory");
        let in_profiles: Vec<String> = reader.texts("profiles").value.into_iter().map(|(name, _)| name).collect();
        mentioned.extend(in_profiles.iter().map(|name| name.trim_start_matches('!').to_owned()));
        if !wanted {
            left_out.push((definition.id.to_owned(), "not in `only`".to_owned()));
            continue;
        }
        if !is_active(&in_profiles, &active) {
            left_out.push((
                definition.id.to_owned(),
                format!("its profiles, {}, are not active", listed(in_profiles.iter().map(String::as_str))),
            ));
            continue;
        }
        let start_after = reader.texts("start_after").value;
        let requirements = requirements_of(&definition);
        let written = Written {
            possible: Possible {
                listener: definition.id,
                names: (definition.error_names)(),
                has_own_codec: requirements.has_own_codec,
            },
            place: definition_origin(&definition),
            takes_acknowledgment: requirements.takes_acknowledgment,
            replies: requirements.replies,
        };
        let (settings, described) = listener::read(&written, reader, &cluster, &mut remarks);
        let notes = std::mem::take(&mut remarks.notes);
        listeners.push(ResolvedListener { definition, settings, start_after, notes, described });
    }
    for profile in profiles.iter().filter(|profile| !profile.found && !mentioned.contains(&profile.name)) {
        report.add(
            Problem::new(&profile.origin, format!("profile `{}` does not exist", profile.name))
                .help(format!("looked for {} and the key `profiles` of the listeners", profile.looked_in)),
        );
    }
    remarks.unread.finish(&mut report);
    check_groups(&listeners, &mut report, &mut remarks.warnings);
    order::check(&listeners, &left_out, &mut report);
    report.finish()?;

    for warning in remarks.warnings {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let profiles = profiles.into_iter().map(|profile| profile.name).collect();
    let Cluster { described: kafka, producer, .. } = cluster;
    Ok(Resolved { listeners, kafka, producer, profiles, left_out, warnings })
}

/// Sorted by id, each once; one id for two functions is a mistake.
fn unique(definitions: &[ListenerDefinition], report: &mut Report) -> Vec<ListenerDefinition> {
    let mut sorted = definitions.to_vec();
    sorted.sort_by_key(|definition| (definition.id, definition.module, definition.file, definition.line));
    let mut result: Vec<ListenerDefinition> = Vec::new();
    for definition in sorted {
        match result.last() {
            Some(last) if last.id != definition.id => {}
            Some(last)
                if (last.module, last.function, last.line)
                    == (definition.module, definition.function, definition.line) =>
            {
                continue;
            }
            Some(last) => {
                report.add(
                    Problem::new(
                        &definition_origin(&definition),
                        format!("two listeners have the id `{}`", definition.id),
                    )
                    .help(format!("the other one is at {}", definition_origin(last)))
                    .help("`id = \"…\"` in the attribute gives one of them another"),
                );
                continue;
            }
            None => {}
        }
        result.push(definition);
    }
    result
}

fn definition_origin(definition: &ListenerDefinition) -> Origin {
    Origin::Attribute { file: definition.file, line: definition.line, column: 1 }
}

/// `only` and `expected`.
struct Selection {
    only: Vec<(String, Origin)>,
    expected: Vec<(String, Origin)>,
}

impl Selection {
    fn read(root: &Table, placeholders: &Placeholders<'_>, report: &mut Report) -> Self {
        let scopes = vec![(Scope::Shared, root)];
        let described = Vec::new();
        let mut reader = Reader { scopes, spec: keys::ROOT, prefix: "", placeholders, report, described };
        let _checked = reader.integer("config_version");
        Self { only: reader.texts("only").value, expected: reader.texts("expected").value }
    }

    fn check(&mut self, ids: &[&str], without_discovery: bool, report: &mut Report) {
        for (id, origin) in &self.expected {
            if !ids.contains(&id.as_str()) {
                let problem = Problem::new(origin, format!("listener `{}` is expected, but not linked in", shown(id)));
                report.add(missing_listener(problem, id, ids, without_discovery));
            }
        }
        for (id, origin) in &self.only {
            if !ids.contains(&id.as_str()) {
                let problem =
                    Problem::new(origin, format!("`only` names listener `{}`, which does not exist", shown(id)));
                report.add(missing_listener(problem, id, ids, without_discovery));
            }
        }
    }

    fn is_wanted(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|(only, _)| only == id)
    }
}

fn missing_listener(problem: Problem, id: &str, ids: &[&str], without_discovery: bool) -> Problem {
    let problem = match nearest(id, ids.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None if ids.is_empty() => problem.help("no listener is linked in"),
        None => problem.help(format!("linked in: {}", listed(ids.iter().copied()))),
    };
    if without_discovery {
        problem.help("discovery is off: `.register(listener!(path))` adds a listener")
    } else {
        problem
            .help("the linker drops a crate that nothing names: `use that_crate as _;` or `.register(listener!(path))`")
    }
}

fn unknown_listeners(root: &Table, ids: &[&str], without_discovery: bool, report: &mut Report) {
    for (id, entry) in sub_table(root, "listeners").into_iter().flatten() {
        if !ids.contains(&id.as_str()) {
            let problem = Problem::new(&entry.key, format!("there is no listener `{}`", shown(id)));
            report.add(missing_listener(problem, id, ids, without_discovery));
        }
    }
}

/// No names: always; otherwise one that is active, or `!name` of one that is not.
fn is_active(named: &[String], active: &[&str]) -> bool {
    named.is_empty()
        || named.iter().any(|name| match name.strip_prefix('!') {
            Some(name) => !active.contains(&name),
            None => active.contains(&name.as_str()),
        })
}

/// The blocks that a listener takes its settings from.
struct Blocks<'a> {
    root: &'a Table,
    shared: Option<&'a Table>,
    attribute: &'a Table,
    own: Option<&'a Table>,
}

impl<'a> Blocks<'a> {
    fn new(root: &'a Table, id: &str, attribute: &'a Table) -> Self {
        let own = sub_table(root, "listeners").and_then(|listeners| sub_table(listeners, id));
        Self { root, shared: sub_table(root, "listener"), attribute, own }
    }

    fn scopes(&self, factory: Option<&'a Table>) -> Vec<(Scope, &'a Table)> {
        [
            (Scope::Shared, self.shared),
            (Scope::Factory, factory),
            (Scope::Attribute, Some(self.attribute)),
            (Scope::Listener, self.own),
        ]
        .into_iter()
        .filter_map(|(scope, table)| table.map(|table| (scope, table)))
        .collect()
    }

    /// All scopes; which factory is read from the others.
    fn with_factory(&self, placeholders: &Placeholders<'_>, report: &mut Report) -> Vec<(Scope, &'a Table)> {
        let scopes = self.scopes(None);
        let mut reader =
            Reader { scopes, spec: keys::LISTENER, prefix: "", placeholders, report, described: Vec::new() };
        let named = reader.optional_text("container_factory");
        let Some(name) = named.value else { return self.scopes(None) };
        let factories = sub_table(self.root, "container_factories");
        let Some(factory) = factories.and_then(|factories| sub_table(factories, &name)) else {
            let existing: Vec<&str> = factories.into_iter().flat_map(Table::keys).map(String::as_str).collect();
            let problem = Problem::new(&named.origin, format!("there is no container factory `{}`", shown(&name)));
            report.add(match nearest(&name, existing.iter().copied()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None if existing.is_empty() => {
                    problem.help(format!("it would be the table `[container_factories.{}]`", shown(&name)))
                }
                None => problem.help(format!("there are {}", listed(existing.iter().copied()))),
            });
            return self.scopes(None);
        };
        self.scopes(Some(factory))
    }
}

/// The attribute's arguments as a block.
fn attribute_layer(definition: &ListenerDefinition, report: &mut Report) -> Table {
    let mut block = Table::new();
    for attribute in definition.attributes {
        let origin = Origin::Attribute { file: definition.file, line: attribute.line, column: attribute.column };
        // `retry_topics.delays` is the key `delays` of a table.
        let (table, inner) = match attribute.key.split_once('.') {
            Some((table, inner)) => (table, Some(inner)),
            None => (attribute.key, None),
        };
        match keys::find(keys::LISTENER, table) {
            Some(key) if key.attribute => {}
            _ => {
                let allowed = keys::LISTENER.iter().filter(|key| key.attribute).map(|key| key.name);
                report.add(
                    Problem::new(&origin, format!("`{}` cannot be set in the attribute", shown(attribute.key)))
                        .help(format!("it takes {}", listed(allowed))),
                );
                continue;
            }
        }
        if let Some(node) = attribute_node(attribute, &origin, report) {
            let entry = Entry { key: origin.clone(), node };
            let entry = match inner {
                None => entry,
                Some(inner) => {
                    let node = Node::new(Tree::Table(Table::from([(inner.to_owned(), entry)])), origin.clone());
                    Entry { key: origin, node }
                }
            };
            overlay(&mut block, Table::from([(table.to_owned(), entry)]));
        }
    }
    lint::check_block(&block, report);
    normalise_block(&mut block, report);
    block
}

fn attribute_node(attribute: &Attribute, origin: &Origin, report: &mut Report) -> Option<Node> {
    let text = |text: &str| Node::new(Tree::Text(text.to_owned()), origin.clone());
    if attribute.key == "properties" {
        let pairs: &[&str] = match &attribute.value {
            AttributeValue::List(pairs) => pairs,
            AttributeValue::Str(pair) => &[*pair],
            AttributeValue::Int(_) | AttributeValue::Bool(_) | AttributeValue::Pairs(_) => &[],
        };
        let mut properties = Table::new();
        for pair in pairs {
            let Some((name, value)) = pair.split_once('=') else {
                report.add(Problem::new(origin, "`properties` takes a list of `\"name=value\"`"));
                return None;
            };
            let entry = Entry { key: origin.clone(), node: text(value.trim()) };
            if properties.insert(name.trim().to_owned(), entry).is_some() {
                report.add(Problem::new(origin, format!("property {} is set twice", listed([name.trim()]))));
            }
        }
        return Some(Node::new(Tree::Table(properties), origin.clone()));
    }
    Some(match attribute.value {
        AttributeValue::Str(value) => text(value),
        AttributeValue::Int(number) => Node::new(Tree::Integer(number), origin.clone()),
        AttributeValue::Bool(flag) => Node::new(Tree::Boolean(flag), origin.clone()),
        AttributeValue::List(items) => {
            Node::new(Tree::List(items.iter().map(|item| text(item)).collect()), origin.clone())
        }
        AttributeValue::Pairs(pairs) => {
            let pair = |pair: &(&str, &str)| Node::new(Tree::List(vec![text(pair.0), text(pair.1)]), origin.clone());
            Node::new(Tree::List(pairs.iter().map(pair).collect()), origin.clone())
        }
    })
}

/// The broker takes the commits of one that is no member only while the group has none.
fn check_standalone_groups(a: &ListenerSettings, b: &ListenerSettings, origin: &Origin, report: &mut Report) {
    let [alone, member] = if a.standalone.is_some() { [a, b] } else { [b, a] };
    if member.standalone.is_none() && alone.commits() {
        report.add(
            Problem::new(
                origin,
                format!(
                    "listener `{}` reads partitions by itself and commits under group `{}`, of which listener `{}` is a member",
                    alone.id, alone.group_id, member.id
                ),
            )
            .help("the broker refuses such commits while the group has members; give it a group of its own"),
        );
    } else if a.commits()
        && b.commits()
        && !(a.shared_group && b.shared_group)
        && let Some(topic) = a.topics.iter().find(|topic| b.topics.contains(topic))
    {
        report.add(
            Problem::new(
                origin,
                format!("listeners `{}` and `{}` commit offsets of topic `{topic}` under one group, `{}`", a.id, b.id, a.group_id),
            )
            .help("each would overwrite the other's; give them groups of their own, or set `shared_group = true` on both where their partitions differ"),
        );
    }
}

/// Two containers of one group share the partitions of a topic, so each would see only a part of its records.
fn check_groups(listeners: &[ResolvedListener], report: &mut Report, warnings: &mut Vec<String>) {
    for (index, second) in listeners.iter().enumerate() {
        let (b, origin) = (&second.settings, definition_origin(&second.definition));
        for first in &listeners[..index] {
            let a = &first.settings;
            if a.group_id != b.group_id || a.group_id.is_empty() || a.topics.is_empty() || b.topics.is_empty() {
                continue;
            }
            if let Some(id) = a.group_instance_id.as_ref().filter(|id| b.group_instance_id.as_ref() == Some(id)) {
                report.add(
                    Problem::new(
                        &origin,
                        format!(
                            "listeners `{}` and `{}` are both the static member `{}` of group `{}`",
                            a.id,
                            b.id,
                            shown(id),
                            a.group_id
                        ),
                    )
                    .help("each would fence the other off; give each a `group_instance_id` of its own"),
                );
            }
            if a.standalone.is_some() || b.standalone.is_some() {
                check_standalone_groups(a, b, &origin, report);
                continue;
            }
            let (of_a, of_b) = (a.all_retry_topics(), b.all_retry_topics());
            if let Some(topic) = of_a.iter().find(|topic| of_b.contains(topic)).filter(|_| a.topics != b.topics) {
                report.add(
                    Problem::new(
                        &origin,
                        format!(
                            "listeners `{}` and `{}` of group `{}` would put records off to one topic, `{topic}`",
                            a.id, b.id, a.group_id
                        ),
                    )
                    .help(
                        "each would be given records of the other; `{topic}` in `retry_topics.topic` tells them apart",
                    ),
                );
            }
            let topic = a.topics.iter().find(|topic| b.topics.contains(topic));
            match topic {
                Some(topic) if !(a.shared_group && b.shared_group) => report.add(
                    Problem::new(
                        &origin,
                        format!("listeners `{}` and `{}` read topic `{topic}` in one group, `{}`", a.id, b.id, a.group_id),
                    )
                    .help("each would get a share of the partitions only; give them groups of their own, or set `shared_group = true` on both"),
                ),
                Some(_) => {}
                None if a.shared_group && b.shared_group => {}
                None => warnings.push(format!(
                    "listeners `{}` and `{}` read different topics in one group, `{}`: every rebalance of one \
                     stops the other as well",
                    a.id, b.id, a.group_id
                )),
            }
        }
    }
}
