//! What befalls the machine that a member runs on: its clock, its limits.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use support::MemberOptions;
use support::event::What;

use super::super::group::Group;
use super::secs;

/// An hour, as `faketime` reads it.
const AHEAD: &str = "+3600s";
const BACK: &str = "-3600s";

/// Where Debian's package has it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// What a member may take with a long backlog on twelve partitions: the prefetch of each, and itself.
const MEMORY: u64 = 256 << 20;

/// The clocks of the day jump; the monotonic ones do not, as on any machine.
pub(super) async fn clock_jump(group: &mut Group) -> anyhow::Result<()> {
    anyhow::ensure!(fs::exists(FAKETIME)?, "this row needs `{FAKETIME}` (package `faketime`)");
    let clock = group.directory().join("clock");
    fs::write(&clock, "+0s")?;
    let environment = [
        format!("LD_PRELOAD={FAKETIME}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    let program = ["env".into()].into_iter().chain(environment.map(OsString::from));
    group.produce();
    let jumping = group.join_as(&within(group.options(), program))?;
    let usual = group.join()?;
    group.wait_until_assigned(&[jumping.clone(), usual.clone()]).await?;
    tokio::time::sleep(secs(2)).await;
    let settled = support::clock::monotonic();
    for now in [AHEAD, "+0s", BACK, "+0s"] {
        // Replaced at once: half a file is no clock.
        let next = group.directory().join("clock.next");
        fs::write(&next, now)?;
        fs::rename(&next, &clock)?;
        tokio::time::sleep(secs(4)).await;
    }
    for name in [&jumping, &usual] {
        let moved = super::moved(&group.events_of(name)?, settled);
        group.expect(moved == 0, || format!("{moved} partitions of {name} moved"))?;
    }
    let events = group.events_of(&jumping)?;
    let walls = || events.iter().map(|event| event.wall);
    let span = walls().max().unwrap_or_default() - walls().min().unwrap_or_default();
    // Two hours lie between the one jump and the other.
    anyhow::ensure!(span > 7_000_000, "the clock of {jumping} did not jump");
    Ok(())
}

/// A backlog before anybody is there, and not many files to read it with.
pub(super) async fn few_files(group: &mut Group) -> anyhow::Result<()> {
    const BACKLOG: u32 = 20_000;
    group.produce_at(BACKLOG);
    tokio::time::sleep(secs(10)).await;
    group.stop_producing().await?;
    let limited = |files: u32| within(group.options(), with_files(files));
    let (enough, too_few) = (limited(64), limited(9));
    let name = group.join_as(&enough)?;
    group.wait_until_assigned(std::slice::from_ref(&name)).await?;
    group.catch_up().await?;
    let most = peak(group.member(&name)?.pid())?;
    group.expect(most < MEMORY, || format!("{name} took {most} bytes"))?;

    let starved = group.join_as(&too_few)?;
    group.harness.write(What::MayFail { member: starved.clone() })?;
    let mut said = String::new();
    if group.member(&starved)?.wait_for_exit(secs(20)).await.is_err() {
        // It waits for a broker that it cannot reach: that is no crash either.
        group.tell_to_stop(&starved)?;
    } else {
        said = group.member(&starved)?.words();
    }
    group.wait_for_exit(&starved).await?;
    group.expect(!said.contains("panicked"), || format!("{starved} panicked: {said}"))?;
    Ok(())
}

/// Through a shell that sets the limit for itself and becomes the member.
fn with_files(files: u32) -> impl Iterator<Item = OsString> {
    let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    ["sh".to_owned(), "-c".to_owned(), script].into_iter().map(OsString::from)
}

/// The same member, started by `program`.
fn within(options: &MemberOptions, program: impl Iterator<Item = OsString>) -> MemberOptions {
    let program = program.chain(options.program.iter().cloned()).collect();
    MemberOptions { program, ..options.clone() }
}

/// How much of a processor a process has taken so far.
pub(super) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before these fields is in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no fields")?.1.split(' ').collect();
    let ticks = fields.get(11..13).context("too few fields")?.iter().map(|ticks| ticks.parse::<u64>());
    let ticks: u64 = ticks.sum::<Result<u64, _>>()?;
    // Linux counts a hundred ticks a second for everybody who looks.
    Ok(Duration::from_millis(ticks * 10))
}

/// What a process has in memory now, in bytes.
pub(super) fn resident(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

/// What it has had at most.
fn peak(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, what: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("no such line")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}
