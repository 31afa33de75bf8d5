use super::*;
use crate::config::FailurePolicy;

const POLICY: RetrySettings = RetrySettings {
    attempts: None,
    delay: Duration::from_millis(200),
    multiplier: 2.0,
    max_delay: Duration::from_secs(30),
    jitter: 0.0,
    max_elapsed: None,
};

const BEGAN: Instant = Instant::from_nanos(1_000);

fn policies(retry: RetrySettings, default: OnFailure) -> FailurePolicies {
    let of_class = |class, action| (class, FailurePolicy { retry, action });
    let by_class = vec![of_class(ErrorClass::Decode, OnFailure::Skip)];
    FailurePolicies { default: FailurePolicy { retry, action: default }, by_class }
}

fn fail(state: &mut RetryState, policy: &RetrySettings, random: f64) -> Decision {
    let failed = Failed { class: &ErrorClass::Retryable, retryable: true, at: BEGAN, random };
    state.failed(failed, &policies(*policy, OnFailure::Hold))
}

/// The delays of the first failures, in milliseconds.
#[track_caller]
fn check_delays(policy: &RetrySettings, random: f64, millis: &[u64]) {
    let mut state = RetryState::new();
    let delays: Vec<_> = millis.iter().map(|_| fail(&mut state, policy, random)).collect();
    let expected: Vec<_> = millis.iter().map(|millis| Decision::RetryAfter(Duration::from_millis(*millis))).collect();
    assert_eq!(delays, expected);
}

#[test]
fn delays_grow_up_to_the_cap_and_never_end_without_a_limit() {
    check_delays(&POLICY, 0.5, &[200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
    let mut state = RetryState::after(u32::MAX - 1);
    for _ in 0..5_000 {
        assert!(matches!(fail(&mut state, &POLICY, 0.5), Decision::RetryAfter(_)));
    }
    assert_eq!(fail(&mut state, &POLICY, 0.5), Decision::RetryAfter(POLICY.max_delay));
}

#[test]
fn jitter_draws_its_share_of_the_delay() {
    let policy = RetrySettings { jitter: 0.2, ..POLICY };
    check_delays(&policy, 0.0, &[160, 320]);
    check_delays(&policy, 1.0, &[200, 400]);
    check_delays(&RetrySettings { jitter: 1.0, ..POLICY }, 0.0, &[0, 0]);
}

#[test]
fn no_delay_stays_no_delay_however_often_it_fails() {
    let policy = RetrySettings { delay: Duration::ZERO, ..POLICY };
    let mut state = RetryState::new();
    for _ in 0..3_000 {
        assert_eq!(fail(&mut state, &policy, 1.0), Decision::RetryAfter(Duration::ZERO));
    }
}

#[test]
fn attempts_count_the_first_delivery() {
    let policy = RetrySettings { attempts: Some(3), ..POLICY };
    let mut state = RetryState::new();
    assert_eq!(state.attempt(), 1);
    assert!(matches!(fail(&mut state, &policy, 0.0), Decision::RetryAfter(_)));
    assert!(matches!(fail(&mut state, &policy, 0.0), Decision::RetryAfter(_)));
    assert_eq!(state.attempt(), 3);
    assert_eq!(fail(&mut state, &policy, 0.0), Decision::Exhausted(OnFailure::Hold));
    let once = RetrySettings { attempts: Some(1), ..POLICY };
    assert_eq!(fail(&mut RetryState::new(), &once, 0.0), Decision::Exhausted(OnFailure::Hold));
}

#[test]
fn an_earlier_assignment_counts_for_attempts_and_not_for_the_backoff() {
    let policy = RetrySettings { attempts: Some(5), ..POLICY };
    let mut state = RetryState::after(3);
    assert_eq!(state.attempt(), 4);
    assert_eq!(fail(&mut state, &policy, 0.0), Decision::RetryAfter(POLICY.delay));
    assert_eq!(fail(&mut state, &policy, 0.0), Decision::Exhausted(OnFailure::Hold));
}

#[test]
fn a_terminal_error_goes_to_the_action_of_its_class_at_once() {
    let policies = policies(POLICY, OnFailure::Stop);
    let failed = |class: ErrorClass| {
        RetryState::new().failed(Failed { class: &class, retryable: false, at: BEGAN, random: 0.0 }, &policies)
    };
    assert_eq!(failed(ErrorClass::Decode), Decision::Exhausted(OnFailure::Skip));
    assert_eq!(failed(ErrorClass::Terminal), Decision::Exhausted(OnFailure::Stop));
    assert_eq!(failed(ErrorClass::Named("stock".into())), Decision::Exhausted(OnFailure::Stop));
}

#[test]
fn a_class_has_a_policy_of_its_own_and_shares_the_count_of_deliveries() {
    let of_class = |attempts, delay, action| FailurePolicy {
        retry: RetrySettings { attempts: Some(attempts), delay: Duration::from_secs(delay), multiplier: 1.0, ..POLICY },
        action,
    };
    let policies = FailurePolicies {
        by_class: vec![(ErrorClass::Timeout, of_class(2, 5, OnFailure::Skip))],
        default: of_class(4, 1, OnFailure::Stop),
    };
    let mut state = RetryState::new();
    let mut failed = |class| state.failed(Failed { class: &class, retryable: true, at: BEGAN, random: 0.0 }, &policies);
    assert_eq!(failed(ErrorClass::Timeout), Decision::RetryAfter(Duration::from_secs(5)));
    assert_eq!(failed(ErrorClass::Panic), Decision::RetryAfter(Duration::from_secs(1)));
    assert_eq!(failed(ErrorClass::Timeout), Decision::Exhausted(OnFailure::Skip), "it is the third delivery");
    assert_eq!(failed(ErrorClass::Panic), Decision::Exhausted(OnFailure::Stop), "it is the fourth");
}

#[test]
fn no_delivery_begins_later_than_the_limit_of_time_after_the_first_failure() {
    let policy = RetrySettings { max_elapsed: Some(Duration::from_millis(700)), ..POLICY };
    let policies = policies(policy, OnFailure::Hold);
    let mut state = RetryState::after(7);
    let mut failed = |millis| {
        let at = BEGAN + Duration::from_millis(millis);
        state.failed(Failed { class: &ErrorClass::Retryable, retryable: true, at, random: 0.0 }, &policies)
    };
    assert_eq!(failed(0), Decision::RetryAfter(Duration::from_millis(200)));
    assert_eq!(failed(300), Decision::RetryAfter(Duration::from_millis(400)), "at 700 ms, which is in time");
    assert_eq!(failed(701), Decision::Exhausted(OnFailure::Hold));
}

#[test]
fn attempts_are_remembered_where_any_class_limits_them() {
    let mut policies = policies(POLICY, OnFailure::Hold);
    assert!(!policies.limit_attempts());
    policies.by_class[0].1.retry.attempts = Some(3);
    assert!(policies.limit_attempts());
}

#[test]
fn only_the_record_that_a_partition_was_at_is_remembered() {
    let (orders, payments) = (TopicPartition::new("orders", 0), TopicPartition::new("payments", 0));
    let mut memory = AttemptMemory::default();
    memory.remember(&orders, 7, 2);
    memory.remember(&payments, 7, 1);
    assert_eq!((memory.recall(&orders, 7), memory.recall(&orders, 8), memory.recall(&payments, 7)), (2, 0, 1));
    memory.remember(&orders, 8, 1);
    assert_eq!((memory.recall(&orders, 7), memory.recall(&orders, 8)), (0, 1));
    memory.forget(&orders, i64::MAX);
    assert_eq!((memory.recall(&orders, 8), memory.recall(&payments, 7)), (0, 1));
}
