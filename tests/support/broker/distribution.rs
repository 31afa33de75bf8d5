//! Finds the Kafka that the tests run on: `KAFKA_HOME`, or Apache Kafka from Maven Central by the pom in `tests/kafka`.
//!
//! The jars are copied once into the workspace's target directory. Test binaries run side by side, so the copy is
//! made under a file lock and takes its final name only when it is complete.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use anyhow::{Context as _, ensure};

const POM: &str = include_str!("../../kafka/pom.xml");

/// What it takes to start a Kafka process.
#[derive(Debug, Clone)]
pub(crate) struct Distribution {
    pub(crate) java: PathBuf,
    pub(crate) class_path: String,
}

impl Distribution {
    /// Finds or fetches Kafka; the error says what to install.
    pub(crate) fn find() -> anyhow::Result<Self> {
        Self::look_up().context(
            "no Kafka to test on: install Java 17 and Maven (Debian: `apt-get install openjdk-17-jre-headless maven`), \
             or set `KAFKA_HOME`, or `KAFKA_BOOTSTRAP_SERVERS` for a cluster that runs already",
        )
    }

    fn look_up() -> anyhow::Result<Self> {
        let java = env::var_os("JAVA_HOME")
            .map(|home| PathBuf::from(home).join("bin/java"))
            .filter(|java| java.is_file())
            .unwrap_or_else(|| PathBuf::from("java"));
        run(Command::new(&java).arg("-version"))?;
        let jars = match env::var_os("KAFKA_HOME") {
            Some(home) => {
                let jars = PathBuf::from(home).join("libs");
                ensure!(jars.is_dir(), "`KAFKA_HOME` has no folder `libs`: `{}`", jars.display());
                jars
            }
            None => jars_from_maven(&target_directory().join("kafka"))?,
        };
        Ok(Self { java, class_path: format!("{}/*", jars.display()) })
    }
}

/// The workspace's target directory, where everything that outlives a run is kept.
pub fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

fn jars_from_maven(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let lock = fs::File::create(folder.join("lock"))?;
    // Released with the file, also when this process is killed.
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;

    let jars = folder.join("jars");
    if fs::read_to_string(jars.join("pom.xml")).is_ok_and(|pom| pom == POM) {
        return Ok(jars);
    }
    let partial = folder.join("jars.partial");
    for stale in [&partial, &jars] {
        match fs::remove_dir_all(stale) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err.into()),
            _ => {}
        }
    }
    fs::create_dir(&partial)?;
    fs::write(partial.join("pom.xml"), POM)?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=."]);
    run(maven.current_dir(&partial))?;
    fs::rename(&partial, &jars)?;
    Ok(jars)
}

/// Runs a command to its end; the error has its last words.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("run `{program}`"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).rev().take(3).collect();
    ensure!(output.status.success(), "`{program}` failed ({}): {}", output.status, last.join(" / "));
    Ok(())
}
