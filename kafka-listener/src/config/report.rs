//! The one report of everything that is wrong with a configuration.
//!
//! Each problem names its place, shows the line with a caret and says what is allowed. Excerpts show only values of
//! keys that are known to be harmless; everything else, comments included, is left out.

use std::fmt::{self, Write as _};
use std::ops::Range;

use super::value::{Marks, Origin, SourceFile, line_and_column};

/// Everything that is wrong with the configuration; nothing has been connected yet.
///
/// `Debug` prints the same report as `Display`, since that is what a `main` that returns it shows.
#[derive(Clone)]
#[non_exhaustive]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// One line per problem, `place: message`, in the order of the report.
    pub fn problems(&self) -> impl Iterator<Item = String> + '_ {
        self.problems.iter().map(Problem::headline)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the configuration has an error"),
            count => write!(f, "the configuration has {count} errors"),
        }?;
        for problem in &self.problems {
            f.write_str("\n\n")?;
            problem.render(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) origin: Origin,
    pub(crate) message: String,
    pub(crate) help: Vec<String>,
}

impl Problem {
    pub(crate) fn new(origin: &Origin, message: impl Into<String>) -> Self {
        Self { origin: origin.clone(), message: message.into(), help: Vec::new() }
    }

    /// Adds the way out.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        if !help.is_empty() {
            self.help.push(help);
        }
        self
    }

    fn headline(&self) -> String {
        match &self.origin {
            Origin::Default => self.message.clone(),
            origin => format!("{origin}: {}", self.message),
        }
    }

    fn render(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        let mut margin = String::new();
        if let Origin::File { file, span } = &self.origin {
            let (number, _) = line_and_column(&file.text, span.start);
            if let Some(excerpt) = Excerpt::new(file, span) {
                margin = " ".repeat(number.to_string().len());
                write!(f, "\n{margin} |\n{number} | {}\n{margin} | {}", excerpt.line, excerpt.carets)?;
            }
        }
        for help in &self.help {
            let mut width = 0;
            write!(f, "\n{margin} =")?;
            for word in help.split(' ') {
                width += word.chars().count() + 1;
                if width > WIDEST_HELP {
                    width = word.chars().count() + 1;
                    write!(f, "\n{margin}  ")?;
                }
                write!(f, " {word}")?;
            }
        }
        Ok(())
    }
}

/// Collects problems; the same one met twice counts once.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
    unreadable: bool,
}

impl Report {
    pub(crate) fn add(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Adds a problem after which a whole source is missing, so that what would be found next says nothing.
    pub(crate) fn add_unreadable(&mut self, problem: Problem) {
        self.unreadable = true;
        self.add(problem);
    }

    pub(crate) fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// `Ok` where nothing was found.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.into_error()) }
    }

    pub(crate) fn into_error(mut self) -> ConfigError {
        self.problems.sort_by(|a, b| a.origin.sort_key().cmp(&b.origin.sort_key()));
        ConfigError { problems: self.problems }
    }
}

/// Text of others in a message: control characters escaped, cut at 64 characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == 64 {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Backticked names joined by commas.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for name in names {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let _infallible = write!(text, "`{}`", shown(name));
    }
    text
}

/// The candidate that `name` was most likely meant to be.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = normalised(name);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &normalised(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Lower case with `_` for `-` and `.`, words of `camelCase` apart: how names of different worlds are compared.
pub(crate) fn normalised(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    let mut after_lower = false;
    for character in name.chars() {
        if character.is_uppercase() && after_lower {
            result.push('_');
        }
        after_lower = character.is_lowercase() || character.is_ascii_digit();
        match character {
            '-' | '.' => result.push('_'),
            other => result.extend(other.to_lowercase()),
        }
    }
    result
}

/// Characters to insert, delete, replace or swap with their neighbour; names longer than 64 characters are far from
/// everything.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(65).collect();
    let right: Vec<char> = right.chars().take(65).collect();
    if left.len() > 64 || right.len() > 64 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

/// A line of a file as it may be shown, and the carets under the place.
struct Excerpt {
    line: String,
    carets: String,
}

/// Longer lines of help are broken.
const WIDEST_HELP: usize = 110;

/// Longer lines are not shown: the place is in the headline.
const WIDEST_EXCERPT: usize = 160;

impl Excerpt {
    fn new(file: &SourceFile, span: &Range<usize>) -> Option<Self> {
        let before = file.text.get(..span.start)?;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = file.text[start..].find('\n').map_or(file.text.len(), |newline| start + newline);
        let Marks { hidden, literal } = file.marks.get()?;
        let mut line = String::new();
        let mut carets = String::new();
        let mut after_hidden = false;
        for (index, character) in file.text[start..end].trim_end_matches('\r').char_indices() {
            let at = start + index;
            let is_hidden = hidden.iter().any(|range| range.contains(&at));
            if character == '#' && !is_hidden && !literal.iter().any(|range| range.contains(&at)) {
                // A comment may hold anything, an old password for example.
                break;
            }
            let marked = span.contains(&at) || (span.is_empty() && at == span.start);
            if is_hidden && after_hidden {
                continue;
            }
            after_hidden = is_hidden;
            line.push(if is_hidden { '…' } else { printable(character) });
            carets.push(if marked || (is_hidden && overlaps(hidden, at, span)) { '^' } else { ' ' });
        }
        if line.trim().is_empty() || line.chars().count() > WIDEST_EXCERPT {
            return None;
        }
        if !carets.contains('^') {
            carets.push('^');
        }
        Some(Self { line: line.trim_end().to_owned(), carets: carets.trim_end().to_owned() })
    }
}

fn overlaps(hidden: &[Range<usize>], at: usize, span: &Range<usize>) -> bool {
    hidden.iter().any(|range| range.contains(&at) && range.start < span.end && span.start < range.end)
}

fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}
