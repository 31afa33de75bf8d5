//! The rules of ARCHITECTURE.md and CONTRIBUTING.md that can be read off the sources. A failure names file and line.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests, which clippy takes for production code")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

const LIBRARY: &str = "kafka-listener/src";
const MACROS: &str = "kafka-listener-macros/src";

#[test]
fn only_the_kafka_module_names_rdkafka() {
    let sources = sources(&[LIBRARY, MACROS]).filter(|source| !source.is_in("kafka-listener/src/kafka"));
    none(
        sources.flat_map(|source| source.lines_with(|line| has_word(line, "rdkafka") || has_word(line, "rdkafka_sys"))),
    );
}

#[test]
fn only_the_border_to_c_is_unsafe() {
    let border = "kafka-listener/src/kafka/ffi";
    let unsafe_code = sources(&[LIBRARY, "examples"])
        .filter(|source| !source.is_in(border))
        .flat_map(|source| source.lines_with(|line| has_word(line, "unsafe")));
    // The workspace denies the lint; whoever switches it off is named here.
    let allowed = sources(&[LIBRARY, MACROS, "examples"])
        .filter(|source| !source.is_in(border))
        .flat_map(|source| source.lines_with(|line| has_word(line, "unsafe_code")));
    none(unsafe_code.chain(allowed));
}

#[test]
fn no_public_signature_names_a_type_of_the_kafka_module() {
    none(sources(&[LIBRARY]).filter(|source| !source.is_in("kafka-listener/src/kafka")).flat_map(|source| {
        let imported = imported_from_kafka(&source.code);
        let names_one = |signature: &str| {
            ["kafka::", "ffi::"].iter().any(|path| signature.contains(path))
                || imported.iter().any(|name| has_word(signature, name))
        };
        let found = public_signatures(&source.code).into_iter().filter(|(_, signature)| names_one(signature));
        found.map(|(line, _)| source.place(line)).collect::<Vec<_>>()
    }));
}

#[test]
fn nothing_sleeps_on_a_thread_and_no_channel_is_unbounded() {
    let waits = |line: &str| line.contains("thread::sleep") || line.contains("unbounded");
    // The members that the tests run are told to block, and say so to clippy.
    let is_told = |source: &Source, line: usize| {
        source.text.lines().nth(line - 2).is_some_and(|above| above.contains("#[expect("))
    };
    let sleeping = sources(&[LIBRARY, MACROS, "examples", "tests"])
        .filter(|source| !source.is_in("tests/invariants.rs"))
        .flat_map(|source| {
            let lines = source.numbers_with(waits).into_iter();
            lines.filter(|line| !is_told(&source, *line)).map(|line| source.place(line)).collect::<Vec<_>>()
        });
    let unbounded = sources(&[LIBRARY, MACROS])
        .filter(|source| !source.is_test())
        .flat_map(|source| source.lines_with(makes_a_channel_without_a_bound));
    none(sleeping.chain(unbounded));
}

#[test]
fn one_is_added_to_an_offset_in_the_offset_tracker_only() {
    let sources =
        sources(&[LIBRARY]).filter(|source| !source.is_test() && !source.is_in("kafka-listener/src/offset_tracker"));
    none(sources.flat_map(|source| source.lines_with(adds_one_to_an_offset)));
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    none(sources(&[LIBRARY, MACROS]).filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > 500).then(|| format!("{}: {lines} lines", source.path))
    }));
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let tests: Vec<_> = sources(&[LIBRARY, MACROS, "examples", "tests"])
        .map(|source| (source.modules(), source.test_functions()))
        .collect();
    let exists = |name: &str| {
        let mut modules: Vec<_> = name.split("::").collect();
        let function = modules.pop().unwrap_or_default();
        tests.iter().any(|(path, functions)| {
            functions.contains(function) && modules.iter().all(|module| path.iter().any(|part| part == module))
        })
    };
    let documents = ["docs/delivery-guarantees.md", "docs/rebalancing.md"].map(|path| Source::read(&root().join(path)));
    let missing: Vec<_> = documents
        .iter()
        .flat_map(|document| {
            let named = document
                .text
                .lines()
                .zip(1..)
                .flat_map(|(line, number)| test_names(line).map(move |name| (number, name)));
            named
                .filter(|(_, name)| !exists(name))
                .map(|(number, name)| format!("{}:{number}: `{name}`", document.path))
        })
        .collect();
    none(missing);
    let named: usize = documents.iter().map(|document| test_names(&document.text).count()).sum();
    assert!(named > 20, "only {named} tests are named: the documents write them another way now");
}

#[test]
fn every_relative_link_of_a_document_points_to_something() {
    let documents: Vec<_> = files(&root(), "md").iter().map(|path| Source::read(path)).collect();
    let links =
        documents.iter().flat_map(|document| links(&document.text).into_iter().map(move |link| (document, link)));
    none(links.filter_map(|(document, (line, link))| {
        let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = if file.is_empty() { document.file.clone() } else { document.file.parent()?.join(file) };
        let is_there = target.exists()
            && (anchor.is_empty() || target.extension().is_none_or(|end| end != "md") || {
                let text = fs::read_to_string(&target).unwrap();
                text.lines().filter(|line| line.starts_with('#')).any(|heading| slug(heading) == anchor)
            });
        (!is_there).then(|| format!("{}:{line}: {link}", document.path))
    }));
}

/// The checks above are no better than what they are made of.
#[test]
fn the_checks_see_what_they_look_for_and_nothing_else() {
    let text = "let a = \"unsafe // \\\" x\"; // unsafe\nlet b = r#\"unsafe\"#; /* unsafe\nunsafe */ unsafe { c('\"', '\\'', &'a x) }";
    let code = code(text);
    assert_eq!(code.lines().map(|line| has_word(line, "unsafe")).collect::<Vec<_>>(), [false, false, true]);
    assert!(!has_word("librdkafka", "rdkafka") && has_word("use rdkafka::x", "rdkafka"));

    for (line, expected) in [
        ("record.offset + 1", true),
        ("offset.get() + 1", true),
        ("self.offset() + 1)", true),
        ("offset + 10", false),
        ("offsets + 1", false),
        ("attempt + 1", false),
    ] {
        assert_eq!(adds_one_to_an_offset(line), expected, "{line}");
    }

    for (line, expected) in [
        ("mpsc::channel()", true),
        ("channel::<Vec<u8>>()", true),
        ("mpsc::channel::<()>(1)", false),
        ("oneshot::channel()", false),
        ("sync_channel(1)", false),
    ] {
        assert_eq!(makes_a_channel_without_a_bound(line), expected, "{line}");
    }

    let code = "use crate::kafka::ffi::{KafkaError, Other as Alias};\nuse crate::kafka::run;\npub fn f(\n    e: KafkaError,\n) {}\n\
                pub(crate) fn g(e: KafkaError) {}\npub enum E {\n    V(Alias),\n}\npub struct S {\n    private: KafkaError,\n    pub field: Alias,\n}";
    assert_eq!(imported_from_kafka(code), ["KafkaError", "Alias"]);
    let signatures: Vec<_> = public_signatures(code)
        .into_iter()
        .map(|(line, text)| (line, text.contains("KafkaError") || text.contains("Alias")))
        .collect();
    assert_eq!(signatures, [(3, true), (7, true), (10, false), (12, true)]);

    assert_eq!(
        test_names("`a::b_c`, `tokio::task::x_y`, `State<T>`, `b_c` and `module::test`").collect::<Vec<_>>(),
        ["a::b_c"]
    );
    let text = "[a](x.md#y) `[b](no)` [c](https://d)\n```\n[e](no)\n```\n[f](<g h>)";
    assert_eq!(links(text), [(1, "x.md#y".to_owned()), (5, "g h".to_owned())]);
    assert_eq!(slug("## What is `x_y`, really?"), "what-is-x_y-really");
}

/// One file: as it is, and without comments and the contents of literals, line by line the same.
struct Source {
    file: PathBuf,
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
        let relative = file.strip_prefix(root()).unwrap();
        let path = relative.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("/");
        Self { file: file.to_owned(), path, code: code(&text), text }
    }

    fn is_in(&self, place: &str) -> bool {
        self.path == place || self.path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
    }

    fn is_test(&self) -> bool {
        self.is_in("kafka-listener/src/simulation") || self.modules().iter().any(|module| module == "tests")
    }

    /// The parts of the path, which are the modules, and those in the file itself.
    fn modules(&self) -> Vec<String> {
        let of_path = self.path.trim_end_matches(".rs").split('/');
        let in_file = self
            .code
            .split("mod ")
            .skip(1)
            .map(|rest| rest.split(|c: char| !is_part_of_a_word(c)).next().unwrap_or(""));
        of_path.chain(in_file).map(str::to_owned).collect()
    }

    /// The names of the functions with a test attribute.
    fn test_functions(&self) -> HashSet<String> {
        let mut found = HashSet::new();
        let mut is_test = false;
        for line in self.code.lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                found.extend(rest.split(|c: char| !is_part_of_a_word(c)).next().map(str::to_owned));
                is_test = false;
            }
        }
        found
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{line}: {}", self.path, self.text.lines().nth(line - 1).unwrap_or_default().trim())
    }

    fn numbers_with(&self, is_wrong: impl Fn(&str) -> bool) -> Vec<usize> {
        self.code.lines().zip(1..).filter(|(line, _)| is_wrong(line)).map(|(_, number)| number).collect()
    }

    fn lines_with(&self, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
        self.numbers_with(is_wrong).into_iter().map(|line| self.place(line)).collect()
    }
}

#[track_caller]
fn none(offences: impl IntoIterator<Item = String>) {
    let offences: Vec<_> = offences.into_iter().collect();
    assert!(offences.is_empty(), "{} places:\n{}", offences.len(), offences.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folders: &[&str]) -> impl Iterator<Item = Source> {
    let files: Vec<_> = folders.iter().flat_map(|folder| files(&root().join(folder), "rs")).collect();
    assert!(!files.is_empty(), "no sources in {folders:?}");
    files.into_iter().map(|file| Source::read(&file))
}

/// The files below a folder that end in `.extension`, build results and hidden folders left out.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap().to_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_part_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part_of_a_word) && !line[at + word.len()..].starts_with(is_part_of_a_word)
    })
}

/// The standard library's channel without a bound takes no argument; neither does a oneshot, which needs no bound.
fn makes_a_channel_without_a_bound(line: &str) -> bool {
    line.match_indices("channel").any(|(at, word)| {
        let rest = &line[at + word.len()..];
        let arguments =
            rest.strip_prefix("::<").and_then(|generics| generics.split_once(">(")).map_or(rest, |(_, rest)| rest);
        let is_empty = arguments.starts_with("()") || (arguments.len() < rest.len() && arguments.starts_with(')'));
        is_empty && !line[..at].ends_with("oneshot::") && !line[..at].ends_with(is_part_of_a_word)
    })
}

fn adds_one_to_an_offset(line: &str) -> bool {
    line.match_indices("+ 1").any(|(at, one)| {
        let before = line[..at].trim_end().trim_end_matches("()").trim_end_matches(".get");
        before.ends_with("offset")
            && !line[at + one.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
    })
}

/// The names that a file takes out of the kafka module.
fn imported_from_kafka(code: &str) -> Vec<String> {
    let imports = code.split("use crate::kafka::").skip(1).filter_map(|rest| rest.split(';').next());
    imports
        .flat_map(|import| import.split([',', '{', '}']))
        .filter_map(|path| path.rsplit([' ', ':']).find(|name| !name.is_empty()))
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with(char::is_uppercase))
        .collect()
}

/// What is `pub` without a limit, with its line: signatures up to the body, fields, whole enums.
fn public_signatures(code: &str) -> Vec<(usize, String)> {
    let lines: Vec<_> = code.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("pub "));
    starts
        .map(|(at, line)| {
            let indent = line.len() - line.trim_start().len();
            let item = line.trim_start().trim_start_matches("pub ");
            let is_field =
                !["fn ", "async ", "const ", "struct ", "enum ", "type ", "trait ", "use ", "mod ", "static "]
                    .iter()
                    .any(|keyword| item.starts_with(keyword));
            let is_whole = item.starts_with("enum ") || item.starts_with("trait ");
            let mut signature = String::new();
            for (next, line) in lines[at..].iter().enumerate() {
                signature.push_str(line);
                let is_end = if is_whole {
                    line.trim_end().ends_with('}') && (next == 0 || line.len() - line.trim_start().len() == indent)
                } else {
                    is_field || line.contains(['{', ';'])
                };
                if is_end {
                    break;
                }
            }
            (at + 1, signature)
        })
        .collect()
}

/// The names in backticks that are paths to functions in words; those of other crates are not tests.
fn test_names(text: &str) -> impl Iterator<Item = &str> {
    const CRATES: [&str; 5] = ["std", "tokio", "kafka_listener", "tracing", "metrics"];
    text.split('`').skip(1).step_by(2).filter(|name| {
        let is_path = name.contains("::")
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c));
        is_path && name.contains('_') && !CRATES.contains(&name.split("::").next().unwrap_or_default())
    })
}

/// The links to other files and to headings, with their lines. Code is passed over.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (line, number) in text.lines().zip(1..) {
        is_code ^= line.trim_start().starts_with("```");
        if is_code {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let targets = targets.map(|target| target.trim_matches(['<', '>']).to_owned());
        found.extend(targets.filter(|target| !target.contains(':')).map(|target| (number, target)));
    }
    found
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| is_part_of_a_word(*c) || *c == ' ' || *c == '-')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Blanks comments and the contents of string and character literals; line breaks stay.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let literal = literal_len(rest, code.chars().next_back());
        if literal == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            let (blanked, behind) = rest.split_at(literal);
            code.push(' ');
            code.extend(blanked.chars().filter(|c| *c == '\n'));
            rest = behind;
        }
    }
    code
}

/// How long the comment or literal is that `rest` begins with; 0 when it begins with neither.
fn literal_len(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    let hashes = rest.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|hashes| {
        rest[1 + hashes..].starts_with('"') && !before.is_some_and(|c| c.is_alphanumeric() && c != 'b')
    }) {
        let end = format!("\"{}", "#".repeat(hashes));
        return rest[hashes + 2..].find(&end).map_or(rest.len(), |at| hashes + 2 + at + end.len());
    }
    let quote = match rest.chars().next() {
        Some('"') => '"',
        // A lifetime has no second quote behind its first character.
        Some('\'') if rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'') => '\'',
        _ => return 0,
    };
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    rest.len()
}
