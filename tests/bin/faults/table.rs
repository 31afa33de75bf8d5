//! The table of the matrix in `docs/delivery-guarantees.md`, made from the record of runs. A row without a run, or with one
//! that was not clean, is not promised.

use super::report::Line;
use super::row::Row;
use super::run::NEMESIS;

const BEGIN: &str = "<!-- faults: made from docs/faults/runs.jsonl -->\n";
const END: &str = "<!-- end of faults -->";

/// The document with a table that says what the record says.
pub(crate) fn renew(document: &str, record: &str) -> anyhow::Result<String> {
    let lines = record.lines().map(serde_json::from_str).collect::<Result<Vec<Line>, _>>()?;
    let (before, rest) = document.split_once(BEGIN).ok_or_else(|| anyhow::anyhow!("`{BEGIN}` is missing"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| anyhow::anyhow!("`{END}` is missing"))?;
    Ok(format!("{before}{BEGIN}\n{}\n{}\n{END}{after}", table(&lines), nemesis(&lines)))
}

fn table(lines: &[Line]) -> String {
    let head = "| row | what happens | promise | runs | repeats of bound | stood still | verdict |\n|---|---|---|---|---|---|---|\n";
    let mut table = head.to_owned();
    for row in Row::ALL {
        let about = row.about();
        let runs: Vec<&Line> = lines.iter().filter(|line| line.row == about.name).collect();
        let verdict = match runs.iter().find(|line| !line.anomalies.is_empty()) {
            _ if runs.is_empty() => "not promised".to_owned(),
            None => "kept".to_owned(),
            Some(line) => format!("not promised: seed {} is not clean", line.seed),
        };
        // What was nearest to its bound, and of those the most.
        let worst = runs.iter().max_by_key(|line| (line.repeats.saturating_sub(line.bound), line.repeats));
        let repeats = worst.map_or_else(String::new, |line| format!("{} of {}", line.repeats, line.bound));
        let longest = runs.iter().map(|line| line.stood_still_ms).max();
        let longest =
            longest.map_or_else(String::new, |millis| format!("{}.{} s", millis / 1_000, millis % 1_000 / 100));
        let cells = [
            format!("{} {}", about.number, about.name),
            about.fault.to_owned(),
            about.promise.to_owned(),
            runs.len().to_string(),
            repeats,
            longest,
            verdict,
        ];
        table.extend(["| ", &cells.join(" | "), " |\n"]);
    }
    table
}

/// What the record says of the nemesis, which makes many rows in one run.
fn nemesis(lines: &[Line]) -> String {
    let runs = lines.iter().filter(|line| line.row == NEMESIS);
    let clean = runs.clone().filter(|line| line.anomalies.is_empty()).count();
    format!("Of {} runs of the nemesis, which makes many of these rows at random, {clean} were clean.\n", runs.count())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn line(row: &str, anomalies: &[&str], repeats: usize, bound: usize) -> String {
        let anomalies: BTreeMap<String, usize> = anomalies.iter().map(|name| ((*name).to_owned(), 1)).collect();
        let line = Line {
            row: row.to_owned(),
            seed: 7,
            at: 0,
            optimized: true,
            anomalies,
            repeats,
            bound,
            stood_still_ms: 6_480,
            done: 100,
            starts: 103,
        };
        serde_json::to_string(&line).unwrap()
    }

    #[test]
    fn a_row_is_promised_when_it_has_runs_and_all_of_them_are_clean() {
        let record = [line("kill", &[], 2, 9), line("kill", &[], 5, 9), line("stop", &["lost"], 0, 0)].join("\n");
        let document = renew(&format!("before\n{BEGIN}yesterday{END}\nafter\n"), &record).unwrap();
        let record = [record, line("nemesis", &[], 2, 9), line("nemesis", &["lost"], 0, 0)].join("\n");
        let document = renew(&document, &record).unwrap();
        assert!(
            document.contains("\nOf 2 runs of the nemesis, which makes many of these rows at random, 1 were clean.\n")
        );
        let row = |name: &str| document.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(row("17 kill ").ends_with("| 2 | 5 of 9 | 6.4 s | kept |"), "{}", row("17 kill "));
        assert!(row("18 stop ").ends_with("| 1 | 0 of 0 | 6.4 s | not promised: seed 7 is not clean |"));
        assert!(row("34 spare ").ends_with("| 0 |  |  | not promised |"));
        assert!(document.starts_with("before\n") && document.ends_with("\nafter\n") && !document.contains("yesterday"));
        assert_eq!(renew(&document, &record).unwrap(), document);
    }

    #[test]
    fn the_guarantees_say_what_the_record_says() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let record = std::fs::read_to_string(docs.join("faults/runs.jsonl")).unwrap();
        let document = std::fs::read_to_string(docs.join("delivery-guarantees.md")).unwrap();
        let renewed = renew(&document, &record).unwrap();
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(docs.join("delivery-guarantees.md"), renewed).unwrap();
        } else {
            assert!(document == renewed, "the table is not that of the record; UPDATE_GENERATED=1 writes it");
        }
    }
}
