//! Agreement, silhouettes and quantiles beside published values and slow twins.
#![allow(clippy::unwrap_used)]

use lookalike_measure::{
    Error, accuracy, adjusted_rand, average_ranks, pearson, quantile, silhouette, silhouette_sampled, spearman,
    split_half,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[track_caller]
fn close(a: Option<f64>, b: f64) {
    let a = a.unwrap();
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn published_values() {
    // The examples of scikit-learn's `adjusted_rand_score`.
    close(adjusted_rand(&[0, 0, 1, 1], &[0, 0, 1, 2]).unwrap(), 4.0 / 7.0);
    close(adjusted_rand(&[0, 0, 1, 1], &[0, 1, 0, 1]).unwrap(), -0.5);
    close(adjusted_rand(&[0, 0, 0, 1, 1, 1], &[0, 0, 1, 1, 2, 2]).unwrap(), 8.0 / 33.0);
    // IQ and hours of television, the worked example of many textbooks: ρ = -29/165.
    let iq = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
    let hours = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
    close(spearman(&iq, &hours).unwrap(), -29.0 / 165.0);
    // Computed with scikit-learn and numpy.
    let rows = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 5.0, 5.0, 5.0, 6.0, 9.0, 0.0];
    close(silhouette(&rows, 2, &[0, 0, 0, 1, 1, 2]).unwrap(), 0.70237518778043);
    let shares = [0.0, 0.1, 0.25, 0.5, 0.77, 1.0];
    let found = quantile(&[3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0], &shares).unwrap().unwrap();
    for (found, expected) in found.into_iter().zip([1.0, 1.0, 1.75, 3.5, 5.39, 9.0]) {
        close(Some(found), expected);
    }
}

#[test]
fn names_of_labels_do_not_matter_and_places_do() {
    close(adjusted_rand(&[7, 7, 9, 2], &[1, 1, 0, 5]).unwrap(), 1.0);
    close(accuracy(&[7, 7, 9, 2], &[7, 1, 9, 5]).unwrap(), 0.5);
    close(adjusted_rand(&[3; 5], &[4; 5]).unwrap(), 1.0);
    close(adjusted_rand(&[0, 1, 2], &[2, 1, 0]).unwrap(), 1.0);
    close(adjusted_rand(&[0, 1, 2], &[0, 0, 0]).unwrap(), 0.0);
}

#[test]
fn the_whole_is_more_reliable_than_a_half() {
    let (first, second) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 3.0, 5.0, 4.0]);
    let found = split_half(&first, &second).unwrap().unwrap();
    close(Some(found.halves), 0.8);
    close(Some(found.whole), 1.6 / 1.8);
    assert_eq!(found.people, 5);
    let against = split_half(&first, &[5.0, 4.0, 3.0, 2.0, 1.0]).unwrap().unwrap();
    close(Some(against.halves), -1.0);
    assert_eq!(against.whole, 0.0);
    assert_eq!(split_half(&first, &[1.0; 5]).unwrap(), None);
}

#[test]
fn nothing_and_nonsense_have_no_figure() {
    assert_eq!(adjusted_rand(&[], &[]).unwrap(), None);
    assert_eq!(adjusted_rand(&[1], &[1]).unwrap(), None);
    assert_eq!(accuracy(&[], &[]).unwrap(), None);
    assert_eq!(pearson(&[1.0], &[2.0]).unwrap(), None);
    assert_eq!(spearman(&[], &[]).unwrap(), None);
    assert_eq!(quantile(&[], &[0.5]).unwrap(), None);
    assert_eq!(silhouette(&[], 2, &[]).unwrap(), None);
    assert_eq!(silhouette(&[1.0, 2.0], 1, &[3, 3]).unwrap(), None);
    assert_eq!(adjusted_rand(&[1], &[]).unwrap_err(), Error::Lengths { left: 1, right: 0 });
    assert_eq!(silhouette(&[1.0; 5], 2, &[0, 1]).unwrap_err(), Error::Shape { numbers: 5, rows: 2, columns: 2 });
    assert!(matches!(silhouette(&[], 0, &[]), Err(Error::Nothing { .. })));
    assert!(matches!(silhouette_sampled(&[], 1, &[], 0, 1), Err(Error::Nothing { .. })));
    assert!(matches!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), Err(Error::NotFinite { at: 1, .. })));
    assert!(matches!(silhouette(&[f64::INFINITY, 0.0], 1, &[0, 1]), Err(Error::NotFinite { at: 0, .. })));
    assert!(matches!(quantile(&[1.0], &[1.5]), Err(Error::NoProbability { at: 0, .. })));
}

/// All pairs of things, as Hubert and Arabie count them.
fn slow_rand(left: &[u32], right: &[u32]) -> f64 {
    let (mut both, mut in_left, mut in_right, mut all) = (0.0, 0.0, 0.0, 0.0);
    for i in 0..left.len() {
        for j in 0..i {
            let (a, b) = (f64::from(left[i] == left[j]), f64::from(right[i] == right[j]));
            both += a * b;
            in_left += a;
            in_right += b;
            all += 1.0;
        }
    }
    let expected = in_left * in_right / all;
    let most = (in_left + in_right) / 2.0;
    if most == expected { 1.0 } else { (both - expected) / (most - expected) }
}

/// One more than how many are smaller, and half of how many others are equal.
fn slow_ranks(values: &[f64]) -> Vec<f64> {
    let count = |test: &dyn Fn(&f64) -> bool| values.iter().filter(|value| test(value)).count() as f64;
    values.iter().map(|own| 0.5 + count(&|other| other < own) + count(&|other| other == own) / 2.0).collect()
}

fn slow_silhouette(rows: &[f64], columns: usize, labels: &[u32], row: usize) -> f64 {
    let at = |row: usize| &rows[row * columns..(row + 1) * columns];
    let distance = |other: usize| at(row).iter().zip(at(other)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let to = |label: u32| {
        let others: Vec<f64> =
            (0..labels.len()).filter(|&other| other != row && labels[other] == label).map(distance).collect();
        others.iter().sum::<f64>() / others.len() as f64
    };
    if labels.iter().filter(|label| **label == labels[row]).count() == 1 {
        return 0.0;
    }
    let others = labels.iter().filter(|label| **label != labels[row]);
    let (a, b) = (to(labels[row]), others.map(|&label| to(label)).fold(f64::INFINITY, f64::min));
    if a.max(b) == 0.0 { 0.0 } else { (b - a) / a.max(b) }
}

proptest! {
    #[test]
    fn rand_agrees_with_counting_pairs(labels in vec((0u32..4, 0u32..5), 2..60)) {
        let (left, right): (Vec<u32>, Vec<u32>) = labels.into_iter().unzip();
        let found = adjusted_rand(&left, &right).unwrap().unwrap();
        prop_assert!((found - slow_rand(&left, &right)).abs() < 1e-12);
        prop_assert!((found - adjusted_rand(&right, &left).unwrap().unwrap()).abs() < 1e-12);
        prop_assert!(found <= 1.0 + 1e-12);
    }

    #[test]
    fn ranks_agree_with_counting(values in vec((-9i8..9).prop_map(f64::from), 0..50)) {
        prop_assert_eq!(average_ranks(&values).unwrap(), slow_ranks(&values));
    }

    #[test]
    fn correlations_have_no_direction_and_no_scale(pairs in vec((-1e3f64..1e3, -1e3f64..1e3), 0..40)) {
        let (left, right): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let found = spearman(&left, &right).unwrap();
        prop_assert_eq!(found, spearman(&right, &left).unwrap());
        let cubes: Vec<f64> = left.iter().map(|value| value.powi(3)).collect();
        prop_assert_eq!(found, spearman(&cubes, &right).unwrap());
        prop_assert!(found.is_none_or(|r| (-1.0..=1.0).contains(&r)));
    }

    #[test]
    fn silhouettes_agree_with_the_definition(
        columns in 1usize..4,
        cells in vec((vec((-5i8..5).prop_map(f64::from), 3), 0u32..4), 2..40),
    ) {
        let labels: Vec<u32> = cells.iter().map(|(_, label)| *label).collect();
        let rows: Vec<f64> = cells.iter().flat_map(|(row, _)| row[..columns].to_vec()).collect();
        let slow: f64 = (0..labels.len()).map(|row| slow_silhouette(&rows, columns, &labels, row)).sum();
        match silhouette(&rows, columns, &labels).unwrap() {
            Some(found) => prop_assert!((found - slow / labels.len() as f64).abs() < 1e-12),
            None => prop_assert!(labels.iter().all(|label| *label == labels[0])),
        }
        let all = silhouette_sampled(&rows, columns, &labels, labels.len(), 3).unwrap();
        prop_assert_eq!(all, silhouette(&rows, columns, &labels).unwrap());
        let few = silhouette_sampled(&rows, columns, &labels, 3, 3).unwrap();
        prop_assert_eq!(few, silhouette_sampled(&rows, columns, &labels, 3, 3).unwrap());
        prop_assert_eq!(few.is_some(), all.is_some());
    }

    #[test]
    fn quantiles_rise_and_stay_within(values in vec(-1e6f64..1e6, 1..40), shares in vec(0.0f64..=1.0, 0..9)) {
        let mut shares = shares;
        shares.sort_by(f64::total_cmp);
        let found = quantile(&values, &shares).unwrap().unwrap();
        prop_assert!(found.is_sorted());
        let ends = quantile(&values, &[0.0, 1.0]).unwrap().unwrap();
        prop_assert!(found.iter().all(|value| (ends[0]..=ends[1]).contains(value)));
        prop_assert_eq!(ends[0], values.iter().copied().fold(f64::INFINITY, f64::min));
    }
}

#[test]
fn a_sample_comes_near_the_whole() {
    let rows: Vec<f64> = (0..900).map(|row| f64::from(row % 3) * 4.0 + f64::from(row % 7) * 0.3).collect();
    let labels: Vec<u32> = (0..900).map(|row| row % 3).collect();
    let whole = silhouette(&rows, 1, &labels).unwrap().unwrap();
    let part = silhouette_sampled(&rows, 1, &labels, 200, 5).unwrap().unwrap();
    assert!(whole != part && (whole - part).abs() < 0.02, "{part} of {whole}");
}
