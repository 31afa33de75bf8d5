//! `${NAME}`, `${NAME:-default}`, `${file:/path}` and `$$` in texts that were parsed already, so that no value can
//! inject syntax.
//!
//! Only texts from files and attributes are looked at: what the environment or the builder gives is final. Work is
//! bounded: depth, number of look-ups and length of the result.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Read as _;

use super::report::{Problem, shown};
use super::value::{Node, Origin, Table, Tree, sub_table};

const DEEPEST: usize = 16;
const MOST_LOOKUPS: u32 = 256;
const LONGEST: usize = 1024 * 1024;

/// What placeholders are looked up in. Not `Debug`: the environment is full of other people's secrets.
pub(crate) struct Placeholders<'s> {
    pub(crate) environment: &'s BTreeMap<String, String>,
    /// `[app]`, merged.
    pub(crate) app: Option<&'s Table>,
}

/// A text with its placeholders resolved.
struct Resolved {
    text: String,
    /// Part of it came out of a file.
    secret: bool,
}

impl Placeholders<'_> {
    /// The value with every placeholder in it resolved; a text that had one counts for any type.
    pub(crate) fn resolve(&self, node: &Node) -> Result<Node, Problem> {
        if !matches!(node.origin, Origin::File { .. } | Origin::Attribute { .. }) {
            return Ok(node.clone());
        }
        match &node.value {
            Tree::Text(text) if text.contains('$') => {
                let lookups = Cell::new(0);
                let resolved = self
                    .expand(text, 0, &lookups)
                    .map_err(|fault| Problem::new(&node.origin, fault.message).help(fault.help))?;
                Ok(Node {
                    value: Tree::Text(resolved.text),
                    origin: node.origin.clone(),
                    secret: resolved.secret,
                    loose: lookups.get() > 0,
                })
            }
            Tree::List(items) => {
                let items = items.iter().map(|item| self.resolve(item)).collect::<Result<_, _>>()?;
                Ok(Node { value: Tree::List(items), ..node.clone() })
            }
            _ => Ok(node.clone()),
        }
    }

    fn expand(&self, text: &str, depth: usize, lookups: &Cell<u32>) -> Result<Resolved, Fault> {
        if depth > DEEPEST {
            return Err(Fault::new(format!("placeholders refer to each other more than {DEEPEST} deep")));
        }
        let mut result = Resolved { text: String::new(), secret: false };
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            result.text.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            if let Some(after) = after.strip_prefix('$') {
                result.text.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let end = closing_brace(after).ok_or_else(|| {
                    Fault::new("placeholder is not closed").help("`${NAME}`; write `$$` for a dollar sign")
                })?;
                let value = self.placeholder(&after[..end], depth, lookups)?;
                result.text.push_str(&value.text);
                result.secret |= value.secret;
                rest = &after[end + 1..];
            } else {
                result.text.push('$');
                rest = after;
            }
            if result.text.len() > LONGEST {
                return Err(Fault::new(format!(
                    "text is longer than {LONGEST} bytes once its placeholders are resolved"
                )));
            }
        }
        result.text.push_str(rest);
        Ok(result)
    }

    /// `inner` is what stands between the braces.
    fn placeholder(&self, inner: &str, depth: usize, lookups: &Cell<u32>) -> Result<Resolved, Fault> {
        lookups.set(lookups.get() + 1);
        if lookups.get() > MOST_LOOKUPS {
            return Err(Fault::new(format!("more than {MOST_LOOKUPS} placeholders in one value")));
        }
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let found = if let Some(path) = name.strip_prefix("file:") {
            read_secret(path)?.map(|text| Resolved { text, secret: true })
        } else {
            self.look_up(name, depth, lookups)?
        };
        match (found, default) {
            (Some(found), _) => Ok(found),
            (None, Some(default)) => self.expand(default, depth + 1, lookups),
            (None, None) => Err(unresolved(name)),
        }
    }

    /// As in a shell, an empty variable counts as not set.
    fn look_up(&self, name: &str, depth: usize, lookups: &Cell<u32>) -> Result<Option<Resolved>, Fault> {
        let legal = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
        if name.is_empty() || !name.chars().all(legal) {
            return Err(Fault::new(format!("`{}` is not the name of a placeholder", shown(name)))
                .help("letters, digits, `_`, `-` and `.`; then `:-` and a default, which may hold placeholders"));
        }
        let variable = environment_name(name);
        let in_environment = [name, &variable].into_iter().find_map(|name| self.environment.get(name));
        if let Some(text) = in_environment.filter(|text| !text.is_empty()) {
            return Ok(Some(Resolved { text: text.clone(), secret: false }));
        }
        let Some(node) = self.in_app(name) else { return Ok(None) };
        let is_literal = !matches!(node.origin, Origin::File { .. });
        match &node.value {
            Tree::Text(text) if is_literal => Ok(Some(Resolved { text: text.clone(), secret: false })),
            Tree::Text(text) => self.expand(text, depth + 1, lookups).map(Some),
            Tree::Integer(_) | Tree::Float(_) | Tree::Boolean(_) => {
                Ok(Some(Resolved { text: node.to_text(), secret: false }))
            }
            _ => Err(Fault::new(format!("`{name}` in `[app]` is {}, which cannot stand in a text", node.kind()))),
        }
    }

    fn in_app(&self, name: &str) -> Option<&Node> {
        let within = name.strip_prefix("app.");
        within.and_then(|path| dotted(self.app?, path)).or_else(|| dotted(self.app?, name))
    }
}

/// Follows a dotted path; keys may themselves be written with dots in quotes.
fn dotted<'t>(table: &'t Table, path: &str) -> Option<&'t Node> {
    if let Some(entry) = table.get(path) {
        return Some(&entry.node);
    }
    let (first, rest) = path.split_once('.')?;
    dotted(sub_table(table, first)?, rest)
}

/// `app.orders-topic` as the environment can spell it.
fn environment_name(name: &str) -> String {
    name.to_ascii_uppercase().replace(['.', '-'], "_")
}

/// The brace that closes a placeholder, defaults with placeholders of their own counted.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'$') => at += 1,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// A file's text without one newline at its end; `None` where there is no such file.
fn read_secret(path: &str) -> Result<Option<String>, Fault> {
    let fault = |error: &dyn std::fmt::Display| Fault::new(format!("cannot read `{}`: {error}", shown(path)));
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(&error)),
    };
    if !metadata.is_file() {
        return Err(fault(&"it is not a regular file"));
    }
    let mut text = String::new();
    let limit = LONGEST as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_string(&mut text))
        .map_err(|error| fault(&error))?;
    if text.len() > LONGEST {
        return Err(fault(&format_args!("it is longer than {LONGEST} bytes")));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Some(text))
}

fn unresolved(name: &str) -> Fault {
    if let Some(path) = name.strip_prefix("file:") {
        return Fault::new(format!("file `{}` does not exist", shown(path)));
    }
    let name = &shown(name);
    let variable = environment_name(name);
    let variables = if variable == *name { format!("`{name}`") } else { format!("`{name}` and `{variable}`") };
    Fault::new(format!("placeholder `{name}` is not set"))
        .help(format!("looked for environment variable {variables}, then for `{name}` in `[app]`"))
        .help("a default makes it optional: `${NAME:-default}`")
}

/// What is wrong with a placeholder; its place is the caller's.
struct Fault {
    message: String,
    help: String,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: String::new() }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        if !self.help.is_empty() {
            self.help.push_str("; ");
        }
        self.help.push_str(&help.into());
        self
    }
}
