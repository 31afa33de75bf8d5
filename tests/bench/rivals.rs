//! The programs of the subjects. A rival is a package of its own, so that nothing of it is in this workspace; it is built
//! when the bench is first asked for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context as _;

use crate::protocol::Subject;
use crate::report;

/// The command that runs `subject`.
pub(crate) fn program(subject: Subject) -> anyhow::Result<Vec<OsString>> {
    match subject {
        Subject::RuststreamAuto | Subject::RuststreamTracked | Subject::RuststreamDefaults => {
            static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
            Ok(vec![once(&BUILT, ruststream)?.into_os_string()])
        }
        Subject::Spring => {
            static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
            let folder = once(&BUILT, spring)?;
            let mut class_path = folder.join("classes").into_os_string();
            class_path.push(":");
            class_path.push(folder.join("jars").join("*"));
            Ok(["java".into(), "-Xmx1g".into(), "-cp".into(), class_path, "bench.Spring".into()].into())
        }
        Subject::Loop | Subject::Stream | Subject::Listener | Subject::Bare => {
            Ok(vec![std::env::current_exe().context("find the bench's own binary")?.into_os_string()])
        }
    }
}

/// Those of `subjects` that can run here; the others are named in a line each, with the reason. It is an error if that is
/// all of them: a bench that measured nothing of what was asked for must not look like one that did.
pub(crate) fn present(asked: &[Subject]) -> anyhow::Result<Vec<Subject>> {
    let mut found = Vec::new();
    for subject in asked {
        match program(*subject) {
            Ok(_) => found.push(*subject),
            Err(err) => report::print(&format!("not measured: `{}`, since it is not here: {err:#}", subject.name()))?,
        }
    }
    anyhow::ensure!(asked.is_empty() || !found.is_empty(), "none of the subjects is here");
    Ok(found)
}

/// Builds a rival once per run, and remembers why that failed.
fn once(
    outcome: &OnceLock<Result<PathBuf, String>>,
    build: fn(&Path) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<PathBuf> {
    let rivals = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/rivals");
    outcome.get_or_init(|| build(&rivals).map_err(|err| format!("{err:#}"))).clone().map_err(anyhow::Error::msg)
}

fn ruststream(rivals: &Path) -> anyhow::Result<PathBuf> {
    let target = support::broker::target_directory().join("rivals");
    let manifest = rivals.join("ruststream/Cargo.toml");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
    run(&mut cargo)?;
    Ok(target.join("release/ruststream-subject"))
}

fn spring(rivals: &Path) -> anyhow::Result<PathBuf> {
    let target = support::broker::target_directory().join("rivals/spring");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "package", "-f"]).arg(rivals.join("spring/pom.xml"));
    maven.arg(format!("-Dbuild.folder={}", target.display()));
    run(&mut maven)?;
    Ok(target)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("run `{name}` to build a rival"))?;
    anyhow::ensure!(status.success(), "`{name}` could not build a rival: {status}");
    Ok(())
}
