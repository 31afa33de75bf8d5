use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Instant;

/// The table once more, as a reader would draw it: rows are phases, columns revoke, lost, stop, second signal, seek,
/// pause, handler timeout, fatal.
const TABLE: &str = "
idle                        leave  leave  leave  leave  leave  park   -      leave
queued                      leave  leave  leave  leave  leave  park   -      leave
waiting for previous owner  leave  leave  leave  leave  leave  park   -      leave
waiting for slot            leave  leave  leave  leave  leave  park   -      leave
running                     finish cancel finish cancel finish finish cancel cancel
cancelled, still running    behind behind behind behind behind -      -      behind
waiting for retry           leave  leave  leave  leave  leave  park   -      leave
waiting until due           leave  leave  leave  leave  leave  park   -      leave
held                        leave  leave  leave  leave  leave  -      -      leave
producing                   leave  leave  leave  leave  leave  park   -      leave
dead letter waiting         leave  leave  leave  leave  leave  -      -      leave
retry waiting               leave  leave  leave  leave  leave  -      -      leave
replying                    finish leave  finish leave  finish finish -      leave
reply waiting               leave  leave  leave  leave  leave  -      -      leave
paused                      leave  leave  leave  leave  leave  -      -      leave
waiting for commit          leave  leave  leave  leave  leave  park   -      leave
waiting for acknowledgement leave  leave  leave  leave  leave  park   -      leave
acknowledged out of order   leave  leave  leave  leave  leave  park   -      leave
at-most-once commit         finish leave  finish leave  finish finish -      leave
waiting for membership      leave  leave  leave  leave  leave  park   -      leave
commits stalled             leave  leave  leave  leave  leave  park   -      leave
";

fn word(reaction: Reaction) -> &'static str {
    match reaction {
        Reaction::LeaveNow => "leave",
        Reaction::FinishFirst => "finish",
        Reaction::Cancel => "cancel",
        Reaction::LeaveBehind => "behind",
        Reaction::Park => "park",
        Reaction::Unaffected => "-",
    }
}

#[test]
fn every_interrupt_does_what_the_table_says() {
    let row = |phase: Phase| {
        let words: Vec<_> =
            Interrupt::ALL.iter().map(|interrupt| format!("{:6}", word(phase.on(*interrupt)))).collect();
        format!("{phase:27} {}", words.join(" ")).trim_end().to_owned()
    };
    let rows: Vec<_> = Phase::ALL.into_iter().map(row).collect();
    assert_eq!(rows.join("\n"), TABLE.trim());
}

#[test]
fn only_running_code_can_be_stuck() {
    let stuck: Vec<_> = Phase::ALL.into_iter().filter(|phase| phase.counts_as_stuck()).collect();
    assert_eq!(stuck, [Phase::Running, Phase::Cancelled]);
    assert!(Phase::ALL.into_iter().all(|phase| phase.is_waiting() != phase.is_running()));
}

#[test]
fn every_phase_has_words_of_its_own() {
    let words: BTreeSet<_> = Phase::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), Phase::ALL.len());
    assert!(words.iter().all(|words| words.to_lowercase() == *words));
}

const SOON: Instant = Instant::from_nanos(1_000);

fn machine(phases: &[Phase]) -> PartitionMachine {
    let mut machine = PartitionMachine::new();
    for phase in phases {
        machine.enter(*phase).unwrap();
    }
    machine
}

#[test]
fn a_drain_waits_for_running_code_only() {
    let mut waiting = machine(&[Phase::Queued, Phase::WaitingForSlot]);
    assert_eq!(waiting.interrupt(Interrupt::Revoke, SOON), Reaction::LeaveNow);
    assert!(waiting.is_drained());

    let mut running = machine(&[Phase::Queued, Phase::Running]);
    assert_eq!(running.interrupt(Interrupt::Revoke, SOON), Reaction::FinishFirst);
    assert!(!running.is_drained() && !running.may_start());
    running.enter(Phase::Idle).unwrap();
    assert!(running.is_drained());
}

#[test]
fn what_still_runs_at_the_deadline_is_cancelled() {
    let mut running = machine(&[Phase::Queued, Phase::Running]);
    running.interrupt(Interrupt::Stop, SOON);
    assert!(!running.expire(Instant::from_nanos(999)));
    assert!(running.expire(SOON));
    assert_eq!((running.phase(), running.is_drained()), (Phase::Cancelled, true));
    assert!(!running.expire(SOON));
}

#[test]
fn a_later_interrupt_can_only_shorten_a_drain() {
    let mut running = machine(&[Phase::Queued, Phase::Running]);
    running.interrupt(Interrupt::Revoke, SOON);
    running.interrupt(Interrupt::Stop, SOON + Duration::from_secs(1));
    assert_eq!(running.lifecycle(), Lifecycle::Draining { until: SOON });
    assert_eq!(running.interrupt(Interrupt::SecondSignal, SOON), Reaction::Cancel);
    assert_eq!((running.phase(), running.lifecycle()), (Phase::Cancelled, Lifecycle::Stopped));
}

#[test]
fn a_pause_lets_the_record_finish_and_starts_no_other() {
    let mut running = machine(&[Phase::Queued, Phase::Running]);
    assert_eq!(running.interrupt(Interrupt::Pause, SOON), Reaction::FinishFirst);
    assert_eq!(running.lifecycle(), Lifecycle::Consuming);
    let mut sleeping = machine(&[Phase::Queued, Phase::Running, Phase::RetrySleep]);
    assert_eq!(sleeping.interrupt(Interrupt::Pause, SOON), Reaction::Park);
    assert_eq!(sleeping.phase(), Phase::Paused);
    sleeping.enter(Phase::RetrySleep).unwrap();
}

#[test]
fn a_timed_out_handler_keeps_its_epoch() {
    let mut running = machine(&[Phase::Queued, Phase::Running]);
    assert_eq!(running.interrupt(Interrupt::HandlerTimeout, SOON), Reaction::Cancel);
    assert_eq!(running.lifecycle(), Lifecycle::Consuming);
    assert!(!running.may_start());
    running.enter(Phase::RetrySleep).unwrap();
    assert!(running.may_start());
}

#[test]
fn a_record_that_is_committed_before_it_is_handled_is_not_left_to_be_lost() {
    let mut committing = machine(&[Phase::Queued, Phase::AtMostOnceCommit]);
    assert_eq!(committing.interrupt(Interrupt::Revoke, SOON), Reaction::FinishFirst);
    committing.enter(Phase::Running).unwrap();
    committing.enter(Phase::Idle).unwrap();
    assert!(committing.is_drained());

    let mut late = machine(&[Phase::Queued, Phase::AtMostOnceCommit]);
    late.interrupt(Interrupt::Stop, SOON);
    assert!(late.expire(SOON));
    assert!(late.is_drained() && late.enter(Phase::Running).is_err());
}

#[test]
fn a_record_that_is_out_for_its_acknowledgement_is_not_waited_for() {
    for phases in [&[Phase::AckOutstanding][..], &[Phase::AckOutstanding, Phase::AckedOutOfOrder]] {
        let mut out = machine(&[&[Phase::Queued, Phase::Running][..], phases].concat());
        assert_eq!(out.interrupt(Interrupt::Revoke, SOON), Reaction::LeaveNow);
        assert!(out.is_drained());
    }
}

#[test]
fn a_drain_does_not_wait_for_a_handler_that_has_timed_out() {
    let mut running = machine(&[Phase::Queued, Phase::Running]);
    running.interrupt(Interrupt::Revoke, SOON);
    running.interrupt(Interrupt::HandlerTimeout, SOON);
    assert!(running.is_drained());
}

#[test]
fn a_phase_that_cannot_follow_is_refused() {
    let refused = |phases: &[Phase], next| machine(phases).enter(next).unwrap_err().to_string();
    assert_eq!(refused(&[], Phase::Running), "a partition that is `idle` cannot become `running`");
    assert_eq!(refused(&[Phase::Queued], Phase::Held), "a partition that is `queued` cannot become `held`");
    let held = [Phase::Queued, Phase::Running, Phase::Held];
    assert_eq!(refused(&held, Phase::Running), "a partition that is `held` cannot become `running`");
}

#[test]
fn cancelled_code_of_an_ended_epoch_is_there_until_it_has_ended() {
    let mut running = machine(&[Phase::Queued, Phase::Running]);
    assert_eq!(running.interrupt(Interrupt::Lost, SOON), Reaction::Cancel);
    for interrupt in [Interrupt::Revoke, Interrupt::Stop, Interrupt::SecondSignal] {
        assert_eq!(running.interrupt(interrupt, SOON), Reaction::LeaveBehind);
    }
    let waits = Phase::ALL.into_iter().filter(|phase| phase.is_waiting());
    assert!(waits.into_iter().all(|phase| running.enter(phase).is_err()), "it cannot be said to wait");
    assert_eq!((running.phase(), running.holds_slot()), (Phase::Cancelled, true));
    running.code_ended();
    assert_eq!((running.phase(), running.holds_slot()), (Phase::Idle, false));
    assert!(!running.may_start());
}

proptest! {
    /// Whatever happens: an ended epoch stays ended and starts nothing, running code is never left without a trace,
    /// and a drain ends at its deadline.
    #[test]
    fn an_ended_epoch_stays_ended(
        steps in proptest::collection::vec((0..=Phase::ALL.len() + Interrupt::ALL.len(), 0..2_000_u64), 0..60),
    ) {
        let mut machine = PartitionMachine::new();
        // Whether user code runs, as whoever started it knows.
        let mut runs = false;
        for (step, nanos) in steps {
            let (before, was_stopped) = (machine, machine.is_drained());
            let at = Instant::from_nanos(nanos);
            match (Phase::ALL.get(step), Interrupt::ALL.get(step.wrapping_sub(Phase::ALL.len()))) {
                (Some(phase), _) => {
                    let entered = machine.enter(*phase).is_ok();
                    let started = *phase == Phase::Running && !matches!(before.phase(), Phase::Running | Phase::AtMostOnceCommit);
                    prop_assert!(!(entered && started) || before.may_start());
                    // A worker says where its code is; it can only say what is so.
                    runs = if entered { phase.is_running() } else { runs };
                }
                (None, Some(interrupt)) => {
                    let reaction = machine.interrupt(*interrupt, at);
                    prop_assert_eq!(reaction, before.phase().on(*interrupt));
                    if interrupt.ends_epoch() {
                        prop_assert!(!machine.may_start());
                    }
                    if before.phase().is_running() {
                        prop_assert!(machine.phase().is_running());
                    }
                    if matches!(interrupt, Interrupt::Lost | Interrupt::Fatal | Interrupt::SecondSignal) {
                        prop_assert!(machine.is_drained());
                    }
                }
                (None, None) => {
                    machine.code_ended();
                    runs &= !(before.phase() == Phase::Cancelled && was_stopped);
                }
            }
            prop_assert!(!was_stopped || machine.is_drained());
            prop_assert_eq!(machine.holds_slot(), runs, "a slot is held for as long as code runs");
        }
        machine.expire(Instant::from_nanos(u64::MAX));
        let drains = matches!(machine.lifecycle(), Lifecycle::Draining { .. });
        prop_assert!(!drains);
    }
}
