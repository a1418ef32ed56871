//! The lifecycle beside a machine that walks day by day, and the laws of its tables.

use lookalike_portrait::segment::Error;
use lookalike_portrait::segment::flow::Flow;
use lookalike_portrait::segment::lifecycle::{Period, State, UNKNOWN, Windows, periods, state, transitions};
use proptest::collection::vec;
use proptest::prelude::*;

const WINDOWS: Windows = Windows { new: 14, loyal_days: 3, loyal_window: 30, dormant: 30, lost: 90, returned: 10 };

#[track_caller]
fn is(bought: &[i32], day: i32, expected: State) {
    assert_eq!(state(None, bought, day, &WINDOWS).unwrap(), Some(expected));
}

#[test]
fn one_life() {
    assert_eq!(state(Some(5), &[], 4, &WINDOWS).unwrap(), None);
    assert_eq!(state(Some(5), &[10], 9, &WINDOWS).unwrap(), Some(State::Contact));
    assert_eq!(state(None, &[10], 9, &WINDOWS).unwrap(), None);
    let bought = [10, 12, 12, 12, 30, 35, 36, 100, 300];
    is(&bought, 10, State::New);
    is(&bought, 23, State::New);
    is(&bought, 24, State::Active);
    // On the third day within thirty, and until the first of the last three is too long ago.
    is(&bought, 29, State::Active);
    is(&bought, 30, State::Loyal);
    is(&bought, 59, State::Loyal);
    is(&bought, 60, State::Active);
    is(&bought, 65, State::Active);
    is(&bought, 66, State::Active);
    is(&bought, 67, State::Dormant);
    is(&bought, 99, State::Dormant);
    is(&bought, 100, State::Returned);
    is(&bought, 109, State::Returned);
    is(&bought, 110, State::Active);
    is(&bought, 190, State::Dormant);
    is(&bought, 191, State::Lost);
    is(&bought, 300, State::Returned);
}

#[test]
fn a_gap_that_nobody_saw_is_none() {
    // 31 days apart: on the day before the purchase 30 days had passed, which is not yet dormant.
    is(&[0, 31], 31, State::Active);
    is(&[0, 32], 31, State::Dormant);
    is(&[0, 32], 32, State::Returned);
}

#[test]
fn bad_windows_and_days_are_named() {
    let wrong = |windows: Windows| state(None, &[], 0, &windows).unwrap_err().to_string();
    assert_eq!(wrong(Windows { new: 0, ..WINDOWS }), "`new` is 0, not at least 1");
    assert_eq!(wrong(Windows { lost: 30, ..WINDOWS }), "`lost` is 30, not more than `dormant`");
    assert_eq!(wrong(Windows { loyal_days: 31, ..WINDOWS }), "`loyal_days` is 31, not at most `loyal_window`");
    assert_eq!(state(None, &[3, 2], 0, &WINDOWS).unwrap_err(), Error::DaysNotAscending { at: 1 });
    assert_eq!(periods(&[&[3, 2]], &[0, 5]).unwrap_err(), Error::DaysNotAscending { at: 1 });
    assert_eq!(periods(&[], &[5, 5]).unwrap_err(), Error::DaysNotAscending { at: 1 });
    assert_eq!(state(Some(i32::MIN), &[i32::MIN, i32::MAX], i32::MAX, &WINDOWS).unwrap(), Some(State::Returned));
}

#[test]
fn tables_of_nothing_are_empty() {
    assert_eq!(periods(&[&[1]], &[]).unwrap(), []);
    assert_eq!(periods(&[&[1]], &[4]).unwrap(), []);
    assert_eq!(periods(&[&[1, 9]], &[2, 5]).unwrap(), [Period::default()]);
    let flow = transitions(&[], &[]).unwrap();
    assert_eq!((flow.moved(), flow.before(), flow.after()), (0, vec![0; 8], vec![0; 8]));
    assert_eq!(
        Flow::between(&[0, 2], &[0, 0], 2).unwrap_err(),
        Error::UnknownLabel { label: 2, person: 1, segments: 2 }
    );
    assert_eq!(Flow::between(&[0], &[], 2).unwrap_err().to_string(), "1 values stand beside 0");
    assert_eq!(flow.count(8, 0) + flow.count(0, 8), 0);
}

/// What a machine knows that sees one day after the other.
fn walk(bought: &[i32], until: i32, windows: &Windows) -> Option<State> {
    let (mut first, mut last, mut back) = (None::<i32>, None::<i32>, None::<i32>);
    let mut now = None;
    for day in 0..=until {
        if bought.contains(&day) {
            if matches!(now, Some(State::Dormant | State::Lost)) {
                back = Some(day);
            }
            first = first.or(Some(day));
            last = Some(day);
        }
        let (Some(first), Some(last)) = (first, last) else { continue };
        let loyal = (day - windows.loyal_window as i32 + 1..=day).filter(|day| bought.contains(day)).count();
        let ago = |days: i32, window: u32| day - days < window as i32;
        now = Some(if !ago(last, windows.lost + 1) {
            State::Lost
        } else if !ago(last, windows.dormant + 1) {
            State::Dormant
        } else if back.is_some_and(|back| ago(back, windows.returned)) {
            State::Returned
        } else if ago(first, windows.new) {
            State::New
        } else if loyal >= windows.loyal_days as usize {
            State::Loyal
        } else {
            State::Active
        });
    }
    now
}

fn windows() -> impl Strategy<Value = Windows> {
    let days = (1u32..12, 1u32..5, 5u32..15, 1u32..12, 1u32..20, 1u32..12);
    days.prop_map(|(new, loyal_days, loyal_window, dormant, more, returned)| Windows {
        new,
        loyal_days,
        loyal_window,
        dormant,
        lost: dormant + more,
        returned,
    })
}

fn days() -> impl Strategy<Value = Vec<i32>> {
    vec(0i32..90, 0..20).prop_map(|mut days| {
        days.sort_unstable();
        days
    })
}

proptest! {
    #[test]
    fn the_state_agrees_with_a_machine_that_walks(bought in days(), windows in windows()) {
        let mut before = None;
        for day in 0..100 {
            let now = state(Some(0), &bought, day, &windows).unwrap();
            prop_assert_eq!(now, walk(&bought, day, &windows).or(Some(State::Contact)), "day {}", day);
            // What happens later changes nothing, and no state follows that the machine does not know.
            let known: Vec<i32> = bought.iter().copied().filter(|bought| *bought <= day).collect();
            prop_assert_eq!(now, state(Some(0), &known, day, &windows).unwrap());
            prop_assert!(before.zip(now).is_none_or(|(before, now): (State, State)| before.may_become(now)));
            before = now;
        }
    }

    #[test]
    fn states_partition_people_and_transitions_add_up(
        people in vec((proptest::option::of(0i32..90), days()), 0..30),
        windows in windows(),
        (first, second) in (0i32..100, 0i32..100),
    ) {
        let states = |day| {
            let state = |(since, bought): &(Option<i32>, Vec<i32>)| state(*since, bought, day, &windows).unwrap();
            people.iter().map(state).collect::<Vec<_>>()
        };
        let (before, after) = (states(first), states(second));
        let flow = transitions(&before, &after).unwrap();
        let count = |states: &[Option<State>], label: usize| {
            let wanted = State::ALL.get(label).copied();
            states.iter().filter(|state| **state == wanted).count() as u64
        };
        for label in 0..=UNKNOWN {
            prop_assert_eq!(flow.before()[label], count(&before, label));
            prop_assert_eq!(flow.after()[label], count(&after, label));
        }
        prop_assert_eq!(flow.before().iter().sum::<u64>(), people.len() as u64);
        let stayed = before.iter().zip(&after).filter(|(before, after)| before == after).count() as u64;
        prop_assert_eq!(flow.moved(), people.len() as u64 - stayed);
    }

    #[test]
    fn periods_add_up(people in vec(days(), 0..20), bounds in proptest::collection::btree_set(0i32..95, 0..8)) {
        let bounds: Vec<i32> = bounds.into_iter().collect();
        let bought: Vec<&[i32]> = people.iter().map(Vec::as_slice).collect();
        let found = periods(&bought, &bounds).unwrap();
        prop_assert_eq!(found.len(), bounds.len().saturating_sub(1));
        for (at, period) in found.iter().enumerate() {
            let within = |from: i32, to: i32| {
                people.iter().filter(|days| days.iter().any(|day| (from..to).contains(day))).count() as u64
            };
            prop_assert_eq!(period.new + period.retained + period.returned, within(bounds[at], bounds[at + 1]));
            let seen = within(bounds[0], bounds[at + 1]);
            prop_assert_eq!(period.new + period.retained + period.returned + period.absent, seen);
            let new_until = found[..=at].iter().map(|period| period.new).sum::<u64>();
            prop_assert_eq!(new_until, seen);
        }
    }
}
