//! Goal: nothing unsafe is repeated, nothing beyond the budget, and each refusal says why.
//! Method: one attempt with all in its favour, changed one fact at a time; random loads for the budget.

use proptest::prelude::*;

use super::*;
use crate::config::PoolSettings;

#[allow(clippy::disallowed_methods)] // any moment will do
fn start() -> Instant {
    Instant::now()
}

fn rules() -> RetrySettings {
    PoolSettings::of("p", Vec::new()).retry
}

fn attempt(started: Instant) -> Attempt {
    Attempt {
        failure: Failure::Broken,
        idempotent: true,
        sent: true,
        body_kept: true,
        answer_begun: false,
        idle_connection: false,
        refused: false,
        retry_after: None,
        attempts: 1,
        started,
        another: true,
    }
}

const AT_ONCE: Verdict = Verdict::Again { wait: Duration::ZERO, fresh_connection: false };

#[test]
fn each_fact_that_speaks_against_a_retry_is_named() {
    check(|_| {}, AT_ONCE);
    check(|a| a.answer_begun = true, Verdict::No(WhyNot::AnswerBegun));
    check(|a| a.idempotent = false, Verdict::No(WhyNot::NotSafe));
    check(|a| (a.idempotent, a.sent) = (false, false), AT_ONCE);
    check(|a| a.body_kept = false, Verdict::No(WhyNot::BodyGone));
    check(|a| a.failure = Failure::Status(500), Verdict::No(WhyNot::NotListed));
    check(|a| a.failure = Failure::Status(503), AT_ONCE);
    check(|a| a.failure = Failure::Status(429), Verdict::No(WhyNot::NotListed));
    check(|a| a.attempts = 3, Verdict::No(WhyNot::Attempts));
    check(|a| a.started -= Duration::from_secs(30), Verdict::No(WhyNot::Deadline));

    #[track_caller]
    fn check(change: impl FnOnce(&mut Attempt), want: Verdict) {
        let now = start() + Duration::from_secs(60);
        let mut attempt = attempt(now);
        change(&mut attempt);
        assert_eq!(judge(&rules(), &mut RetryBudget::new(now), &attempt, 7, now), want);
    }
}

#[test]
fn an_answer_that_begun_is_never_repeated_whatever_else_is_true() {
    let now = start();
    for bits in 0_u8..32 {
        let on = |bit: u8| bits & (1 << bit) != 0;
        let attempt = Attempt {
            answer_begun: true,
            idempotent: on(0),
            sent: on(1),
            body_kept: on(2),
            idle_connection: on(3),
            refused: false,
            another: on(4),
            ..attempt(now)
        };
        let verdict = judge(&rules(), &mut RetryBudget::new(now), &attempt, 7, now);
        assert_eq!(verdict, Verdict::No(WhyNot::AnswerBegun));
    }
}

#[test]
fn retry_after_is_waited_for_only_where_no_other_server_is_and_only_so_long() {
    let now = start();
    let with = |seconds, another| Attempt {
        failure: Failure::Status(503),
        retry_after: Some(Duration::from_secs(seconds)),
        another,
        ..attempt(now)
    };
    let ask = |attempt: &Attempt| judge(&rules(), &mut RetryBudget::new(now), attempt, 7, now);
    assert_eq!(ask(&with(120, true)), AT_ONCE);
    let wait = Duration::from_secs(5);
    assert_eq!(ask(&with(5, false)), Verdict::Again { wait, fresh_connection: false });
    assert_eq!(ask(&with(6, false)), Verdict::No(WhyNot::RetryAfter));
}

#[test]
fn a_closed_idle_connection_costs_no_budget_but_must_be_safe_too() {
    let now = start();
    let none = RetrySettings { budget_percent: 0, ..rules() };
    let idle = Attempt { idle_connection: true, ..attempt(now) };
    let fresh = Verdict::Again { wait: Duration::ZERO, fresh_connection: true };
    assert_eq!(judge(&none, &mut RetryBudget::new(now), &idle, 7, now), fresh);
    let unsafe_one = Attempt { idempotent: false, ..idle };
    let refused = judge(&none, &mut RetryBudget::new(now), &unsafe_one, 7, now);
    assert_eq!(refused, Verdict::No(WhyNot::NotSafe));
    let other_failure = judge(&none, &mut RetryBudget::new(now), &attempt(now), 7, now);
    assert_eq!(other_failure, Verdict::No(WhyNot::Budget));
}

// A server that was killed refuses a third of all requests until its checks have failed: more than any budget. None of it
// was work for anybody, so none of it is counted.
#[test]
fn a_refused_connection_costs_no_budget() {
    let now = start();
    let none = RetrySettings { budget_percent: 0, ..rules() };
    let lost = Attempt { failure: Failure::NotConnected, sent: false, ..attempt(now) };
    let refused = Attempt { refused: true, ..lost };
    assert_eq!(judge(&none, &mut RetryBudget::new(now), &refused, 7, now), AT_ONCE);
    // No answer to the connection may mean that the server has too much to do.
    assert_eq!(judge(&none, &mut RetryBudget::new(now), &lost, 7, now), Verdict::No(WhyNot::Budget));
}

#[test]
fn hedges_are_for_plain_gets_with_another_server_and_budget() {
    let now = start();
    let after = Duration::from_millis(50);
    let hedged = RetrySettings { hedge_after: Some(after), ..rules() };
    assert_eq!(hedge_at(&hedged, true, now), Some(now + after));
    assert_eq!(hedge_at(&hedged, false, now), None);
    assert_eq!(hedge_at(&rules(), true, now), None);
    assert_eq!(hedge_at(&RetrySettings { attempts: 1, ..hedged.clone() }, true, now), None);
    let mut budget = RetryBudget::new(now);
    assert!(!may_hedge(&hedged, &mut budget, false, now));
    let taken = (0..100).filter(|_| may_hedge(&hedged, &mut budget, true, now)).count();
    assert_eq!(taken as u64, RETRIES_FREE);
}

proptest! {
    #[test]
    fn pauses_grow_stay_bounded_and_are_spread(attempts in 1_u8..8, random: u64, another: bool) {
        let attempt = Attempt { attempts, another, ..attempt(start()) };
        let wait = pause(&attempt, random);
        if another && attempts == 1 {
            prop_assert_eq!(wait, Some(Duration::ZERO));
        } else {
            let longest = (PAUSE_FIRST * (1 << (attempts - 1))).min(PAUSE_MAX);
            prop_assert!(wait.is_some_and(|wait| (longest / 2..=longest).contains(&wait)), "{:?}", wait);
        }
    }

    // Over any ten seconds that the budget looks back on, retries stay below the share or the free ones.
    #[test]
    fn retries_never_exceed_the_budget(
        percent in 0_u8..=100,
        steps in prop::collection::vec((0_u64..400, 0_u8..4, 0_u8..4), 1..300),
    ) {
        let born = start();
        let mut budget = RetryBudget::new(born);
        let (mut at, mut requests, mut retries) = (0, Vec::new(), Vec::new());
        for (gap, asked, wanted) in steps {
            at += gap;
            let now = born + Duration::from_millis(at);
            for _ in 0..asked {
                budget.request(now);
                requests.push(at);
            }
            for _ in 0..wanted {
                if budget.take(percent, now) {
                    retries.push(at);
                    prop_assert!(percent > 0);
                    // The budget may look back on any span from nine to ten seconds.
                    let within = |list: &[u64], ms: u64| list.iter().filter(|then| at - **then < ms).count() as u64;
                    let most = (within(&requests, 10_001) * u64::from(percent) / 100).max(RETRIES_FREE);
                    prop_assert!(within(&retries, 9_000) <= most);
                }
            }
        }
    }
}
