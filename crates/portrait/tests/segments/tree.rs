//! Trees: their rules, and that no cut is better than the one that was made.

use lookalike_portrait::segment::Error;
use lookalike_portrait::segment::tree::{Condition, Limits, grow};
use proptest::collection::vec;
use proptest::prelude::*;

/// Days since a purchase, and dollars.
const NUMBERS: [f64; 16] =
    [3.0, 100.0, 12.0, 280.0, 5.0, 400.0, 11.0, 900.0, 13.0, 50.0, 40.0, 70.0, 90.0, 800.0, 60.0, 60.0];
const LABELS: [u32; 8] = [1, 1, 2, 2, 0, 0, 0, 0];

#[test]
fn rules_read_as_they_are_applied() {
    let tree = grow(&NUMBERS, 2, &LABELS, Limits { depth: 3, least: 1 }).unwrap();
    let rules = tree.rules();
    let said: Vec<String> =
        rules.iter().map(|rule| rule.sentence(&["days_since", "spend"], |label| format!("cluster {label}"))).collect();
    assert_eq!(
        said,
        [
            "days_since <= 12 and spend <= 300 → cluster 1 (2 people, purity 1.00)",
            "days_since <= 12 and spend > 300 → cluster 2 (2 people, purity 1.00)",
            "days_since > 12 → cluster 0 (4 people, purity 1.00)",
        ]
    );
    assert_eq!(rules[0].conditions[1], Condition { column: 1, above: None, up_to: Some(300.0) });
    assert_eq!(tree.predict(&NUMBERS).unwrap(), LABELS);
    assert_eq!(tree.predict(&[12.0, 300.0, 12.5, 300.0]).unwrap(), [1, 0]);
    assert_eq!(tree.fidelity(&NUMBERS, &LABELS).unwrap(), 1.0);
    let unnamed = rules[2].sentence(&[], |label| label.to_string());
    assert_eq!(unnamed, "0 > 12 → 0 (4 people, purity 1.00)");
}

#[test]
fn limits_hold() {
    let stump = grow(&NUMBERS, 2, &LABELS, Limits { depth: 1, least: 1 }).unwrap();
    assert_eq!(stump.rules().len(), 2);
    assert_eq!(stump.fidelity(&NUMBERS, &LABELS).unwrap(), 0.75);
    let rules = grow(&NUMBERS, 2, &LABELS, Limits { depth: 3, least: 4 }).unwrap().rules();
    assert!(rules.iter().all(|rule| rule.people >= 4));
    let nothing = grow(&NUMBERS, 2, &LABELS, Limits { depth: 0, least: 1 }).unwrap().rules();
    assert_eq!((nothing.len(), nothing[0].label, nothing[0].purity), (1, 0, 0.5));
    assert_eq!(nothing[0].sentence(&[], |label| label.to_string()), "always → 0 (8 people, purity 0.50)");
    let same = grow(&[7.0; 4], 1, &[3, 5, 5, 3], Limits { depth: 9, least: 1 }).unwrap().rules();
    assert_eq!((same.len(), same[0].label), (1, 3));
}

#[test]
fn bad_tables_are_named() {
    let limits = Limits { depth: 2, least: 1 };
    let said = |numbers: &[f64], columns, labels: &[u32], limits| {
        grow(numbers, columns, labels, limits).unwrap_err().to_string()
    };
    assert_eq!(said(&[], 1, &[], limits), "there is nobody to divide");
    assert_eq!(said(&[1.0, 2.0], 1, &[1], limits), "2 numbers are no rows of 1 columns for 1 people");
    assert_eq!(said(&[f64::NAN], 1, &[1], limits), "column 0 of row 0 is NaN, which is not finite");
    assert_eq!(said(&[1.0], 1, &[1], Limits { least: 0, ..limits }), "`least` is 0, not at least 1");
    let tree = grow(&[1.0, 2.0], 1, &[0, 1], limits).unwrap();
    assert!(matches!(tree.fidelity(&[1.0], &[]), Err(Error::Shape { .. })));
    assert!(matches!(tree.predict(&[]), Err(Error::Nobody)));
}

/// Gini's impurity of both sides of a cut, by their sizes.
fn impurity(rows: &[(Vec<f64>, u32)], column: usize, at: f64) -> f64 {
    let side = |low: bool| {
        let labels: Vec<u32> = rows.iter().filter(|row| (row.0[column] <= at) == low).map(|row| row.1).collect();
        let n = labels.len() as f64;
        let share = |label: u32| labels.iter().filter(|other| **other == label).count() as f64 / n;
        if labels.is_empty() { 0.0 } else { n * (1.0 - (0..4).map(|label| share(label).powi(2)).sum::<f64>()) }
    };
    side(true) + side(false)
}

proptest! {
    #[test]
    fn a_stump_is_the_best_cut(rows in vec((vec(-1e3f64..1e3, 3), 0u32..4), 1..40), least in 1usize..5) {
        let numbers: Vec<f64> = rows.iter().flat_map(|row| row.0.clone()).collect();
        let labels: Vec<u32> = rows.iter().map(|row| row.1).collect();
        let rules = grow(&numbers, 3, &labels, Limits { depth: 1, least }).unwrap().rules();
        let Some(cut) = rules[0].conditions.first() else { return Ok(()) };
        let made = impurity(&rows, cut.column, cut.up_to.unwrap());
        for (column, (row, _)) in (0..3).flat_map(|column| rows.iter().map(move |row| (column, row))) {
            let low = rows.iter().filter(|other| other.0[column] <= row[column]).count();
            if low >= least && rows.len() - low >= least {
                prop_assert!(impurity(&rows, column, row[column]) >= made - 1e-9);
            }
        }
    }

    #[test]
    fn exactly_one_rule_holds_and_counts_are_right(
        rows in vec((vec(prop_oneof![(-9i8..9).prop_map(f64::from), -1e-3f64..1e-3, -1e12f64..1e12], 2), 0u32..3), 1..60),
        depth in 0usize..5,
    ) {
        let numbers: Vec<f64> = rows.iter().flat_map(|row| row.0.clone()).collect();
        let labels: Vec<u32> = rows.iter().map(|row| row.1).collect();
        let tree = grow(&numbers, 2, &labels, Limits { depth, least: 1 }).unwrap();
        let (rules, predicted) = (tree.rules(), tree.predict(&numbers).unwrap());
        prop_assert!(rules.len() <= 1 << depth);
        let holds = |conditions: &[Condition], row: &[f64]| conditions.iter().all(|condition| {
            condition.above.is_none_or(|above| row[condition.column] > above)
                && condition.up_to.is_none_or(|up_to| row[condition.column] <= up_to)
        });
        let mut seen = vec![(0, 0); rules.len()];
        for ((row, label), predicted) in rows.iter().zip(predicted) {
            let held: Vec<usize> = (0..rules.len()).filter(|&rule| holds(&rules[rule].conditions, row)).collect();
            prop_assert_eq!(held.len(), 1);
            prop_assert_eq!(rules[held[0]].label, predicted);
            seen[held[0]].0 += 1;
            seen[held[0]].1 += usize::from(*label == predicted);
        }
        for (rule, (people, right)) in rules.iter().zip(&seen) {
            prop_assert_eq!((rule.people, rule.purity), (*people, *right as f64 / *people as f64));
        }
        let right: usize = seen.iter().map(|seen| seen.1).sum();
        prop_assert_eq!(tree.fidelity(&numbers, &labels).unwrap(), right as f64 / rows.len() as f64);
        prop_assert_eq!(grow(&numbers, 2, &labels, Limits { depth, least: 1 }).unwrap(), tree);
    }
}
