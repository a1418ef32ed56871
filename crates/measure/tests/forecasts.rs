//! Drift, calibration and significance beside published values and slow twins.
#![allow(clippy::unwrap_used)]

use lookalike_measure::{
    Error, Method, PSI_FLOOR, auc, benjamini_hochberg, brier, calibration_error, normal_two_sided, psi, psi_of_numbers,
    reliability, student_two_sided, two_shares, welch,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Equal to a part of `within`, however small the numbers.
#[track_caller]
fn near(a: f64, b: f64, within: f64) {
    assert!((a - b).abs() <= within * b.abs(), "{a} is not {b}");
}

#[test]
fn chances_as_scipy_gives_them() {
    let normal =
        [(0.0, 1.0), (1.0, 0.31731050786291415), (10.0, 1.523970604832094e-23), (-37.5, 9.210706019163908e-308)];
    normal.into_iter().for_each(|(z, p)| near(normal_two_sided(z), p, 1e-12));
    for (t, freedom, p) in [
        (2.0, 3.0, 0.13932596855884305),
        (12.7062047, 1.0, 0.05000000014176587),
        (-5.5, 7.3, 0.0007860631026994812),
        (40.0, 2000.0, 1.4278618533562838e-257),
        (0.0, 5.0, 1.0),
        (1e-9, 4.2, 0.9999999992478247),
        (1.959963984540054, 1e9, 0.05000000027729512),
    ] {
        near(student_two_sided(t, freedom), p, 1e-8);
    }
}

#[test]
fn two_shares_as_scipy_compares_them() {
    let exact = [
        ([8, 1], [10, 6], 0.034965034965034975),
        // Fisher's lady and her tea.
        ([3, 1], [4, 4], 34.0 / 70.0),
        ([0, 3], [12, 12], 0.21739130434782605),
        ([2, 9], [1000, 200], 3.4311254342753545e-06),
    ];
    for (hits, n, p) in exact {
        let found = two_shares(hits, n).unwrap().unwrap();
        assert_eq!(found.method, Method::FisherExact);
        near(found.p, p, 1e-9);
        near(two_shares([hits[1], hits[0]], [n[1], n[0]]).unwrap().unwrap().p, p, 1e-9);
    }
    let by_z = [([15, 30], [100, 100], 0.011085166380602708), ([578, 770], [7306, 7306], 4.047762496342081e-08)];
    for (hits, n, p) in by_z {
        let found = two_shares(hits, n).unwrap().unwrap();
        assert_eq!(found.method, Method::PooledZ);
        near(found.p, p, 1e-9);
        near(found.difference, hits[0] as f64 / n[0] as f64 - hits[1] as f64 / n[1] as f64, 1e-12);
    }
    // Nobody or everybody in both groups: no difference, and no division by 0.
    assert_eq!(two_shares([0, 0], [900, 800]).unwrap().unwrap().p, 1.0);
    assert_eq!(two_shares([900, 800], [900, 800]).unwrap().unwrap().p, 1.0);
    assert_eq!(two_shares([0, 0], [0, 8]).unwrap(), None);
    assert_eq!(two_shares([9, 0], [8, 8]).unwrap_err(), Error::MoreThanAll { part: 9, whole: 8 });
}

#[test]
fn two_means_as_scipy_compares_them() {
    let a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
    let b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 30.5];
    let found = welch(&a, &b).unwrap().unwrap();
    near(found.t, -2.9638239607833055, 1e-12);
    near(found.freedom, 27.587908219574604, 1e-12);
    near(found.p, 0.006196483060550599, 1e-10);
    assert_eq!(welch(&[1.0], &b).unwrap(), None);
    assert_eq!(welch(&[2.0; 3], &[2.0; 4]).unwrap().unwrap().p, 1.0);
    assert_eq!(welch(&[1.0; 3], &[2.0; 4]).unwrap().unwrap().p, 0.0);
    assert_eq!(welch(&[1e300, -1e300], &[1.0, 2.0]).unwrap(), None);
    assert!(matches!(welch(&[f64::NAN], &b), Err(Error::NotFinite { at: 0, .. })));
}

#[test]
fn the_example_of_benjamini_and_hochberg() {
    let p = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.0,
    ];
    let adjusted = benjamini_hochberg(&p).unwrap();
    // Their paper: controlling at 5 % rejects the first four.
    assert_eq!(adjusted.iter().filter(|p| **p <= 0.05).count(), 4);
    near(adjusted[3], 0.035625, 1e-12);
    near(adjusted[5], 0.447 / 7.0, 1e-12);
    assert_eq!(benjamini_hochberg(&[]).unwrap(), Vec::<f64>::new());
    assert!(matches!(benjamini_hochberg(&[0.1, f64::NAN]), Err(Error::NoProbability { at: 1, .. })));
}

#[test]
fn forecasts_as_scikit_learn_judges_them() {
    near(brier(&[0.1, 0.9, 0.8, 0.3], &[false, true, true, false]).unwrap().unwrap(), 0.0375, 1e-12);
    near(auc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).unwrap().unwrap(), 0.75, 1e-12);
    near(auc(&[2.0; 4], &[false, true, true, true]).unwrap().unwrap(), 0.5, 1e-12);
    assert_eq!(brier(&[], &[]).unwrap(), None);
    assert_eq!(auc(&[1.0, 2.0], &[true, true]).unwrap(), None);
    assert!(matches!(brier(&[1.5], &[true]), Err(Error::NoProbability { at: 0, .. })));
    assert!(matches!(auc(&[f64::NAN, 1.0], &[true, false]), Err(Error::NotFinite { at: 0, .. })));
    assert_eq!(auc(&[1.0], &[]).unwrap_err(), Error::Lengths { left: 1, right: 0 });
}

#[test]
fn a_forecast_on_a_bound_belongs_below_it() {
    let bins = reliability(&[0.0, 0.2, 0.2, 0.21, 1.0], &[false, true, false, true, true], 5).unwrap();
    assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [3, 1, 0, 0, 1]);
    near(bins[0].forecast.unwrap(), 0.4 / 3.0, 1e-12);
    near(bins[0].came.unwrap(), 1.0 / 3.0, 1e-12);
    assert_eq!((bins[2].forecast, bins[2].came), (None, None));
    near(calibration_error(&bins).unwrap(), (0.6 + 0.79) / 5.0, 1e-12);
    assert_eq!(calibration_error(&reliability(&[], &[], 3).unwrap()), None);
    assert!(matches!(reliability(&[], &[], 0), Err(Error::Nothing { .. })));
}

#[test]
fn drift_by_hand() {
    let by_hand = 0.1 * (0.6f64 / 0.5).ln() - 0.1 * (0.2f64 / 0.3).ln();
    near(psi(&[50, 30, 20], &[600, 200, 200]).unwrap().unwrap(), by_hand, 1e-12);
    // A cell that is empty counts as the floor.
    let floored = (0.5 - PSI_FLOOR) * (0.5 / PSI_FLOOR).ln() - 0.5 * 0.5f64.ln();
    near(psi(&[10, 0], &[5, 5]).unwrap().unwrap(), floored, 1e-12);
    assert_eq!(psi(&[1, 2], &[0, 0]).unwrap(), None);
    assert_eq!(psi(&[], &[]).unwrap(), None);
    assert_eq!(psi(&[1], &[]).unwrap_err(), Error::Lengths { left: 1, right: 0 });
    // 0..100 in four cells; all of the later values lie in the third, whose upper bound belongs to it.
    let before: Vec<f64> = (0..=100).map(f64::from).collect();
    let shares: [f64; 4] = [26.0, 25.0, 25.0, 25.0].map(|count| count / 101.0);
    let term = |(share, later): (f64, f64)| (later - share) * (later / share).ln();
    let expected: f64 = shares.into_iter().zip([PSI_FLOOR, PSI_FLOOR, 1.0, PSI_FLOOR]).map(term).sum();
    near(psi_of_numbers(&before, &[50.5, 75.0], 4).unwrap().unwrap(), expected, 1e-12);
    assert_eq!(psi_of_numbers(&before, &[], 4).unwrap(), None);
    assert_eq!(psi_of_numbers(&[7.0; 9], &[7.0; 4], 10).unwrap(), Some(0.0));
    assert!(matches!(psi_of_numbers(&before, &before, 0), Err(Error::Nothing { .. })));
    assert!(matches!(psi_of_numbers(&[f64::NAN], &before, 2), Err(Error::NotFinite { at: 0, .. })));
}

/// n over k, exactly.
fn choose(n: u64, k: u64) -> f64 {
    (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64)
}

proptest! {
    #[test]
    fn fisher_agrees_with_all_tables(a in 0u64..9, more_a in 0u64..9, b in 0u64..9, more_b in 0u64..9) {
        let (n_a, n_b, all) = (a + more_a, b + more_b, a + b);
        prop_assume!(n_a > 0 && n_b > 0);
        let found = two_shares([a, b], [n_a, n_b]).unwrap().unwrap();
        prop_assume!(found.method == Method::FisherExact);
        let chance = |hits: u64| if hits > n_a || all - hits > n_b { 0.0 } else {
            choose(n_a, hits) * choose(n_b, all - hits) / choose(n_a + n_b, all)
        };
        let unlikely = (0..=all).map(chance).filter(|p| *p <= chance(a) * (1.0 + 1e-7));
        prop_assert!((found.p - unlikely.sum::<f64>()).abs() < 1e-9);
    }

    #[test]
    fn auc_agrees_with_counting_pairs(cases in vec(((0u8..6).prop_map(f64::from), any::<bool>()), 0..40)) {
        let (scores, came): (Vec<f64>, Vec<bool>) = cases.into_iter().unzip();
        let (mut right, mut pairs) = (0.0, 0.0);
        for (i, j) in (0..came.len()).flat_map(|i| (0..came.len()).map(move |j| (i, j))) {
            if came[i] && !came[j] {
                pairs += 1.0;
                right += f64::from(u8::from(scores[i] > scores[j])) + f64::from(u8::from(scores[i] == scores[j])) / 2.0;
            }
        }
        let found = auc(&scores, &came).unwrap();
        prop_assert_eq!(found.is_some(), pairs > 0.0);
        prop_assert!(found.is_none_or(|auc| (auc - right / pairs).abs() < 1e-12));
    }

    #[test]
    fn every_forecast_is_in_one_bin(cases in vec((0.0f64..=1.0, any::<bool>()), 0..60), bins in 1usize..13) {
        let (forecast, came): (Vec<f64>, Vec<bool>) = cases.into_iter().unzip();
        let found = reliability(&forecast, &came, bins).unwrap();
        prop_assert_eq!(found.len(), bins);
        for (at, bin) in found.iter().enumerate() {
            let inside = |p: &&f64| (at == 0 || **p > bin.above) && **p <= bin.up_to;
            prop_assert_eq!(bin.count, forecast.iter().filter(inside).count() as u64);
        }
        let whole: f64 = found.iter().filter_map(|bin| Some(bin.count as f64 * bin.forecast?)).sum();
        prop_assert!((whole - forecast.iter().sum::<f64>()).abs() < 1e-9);
    }

    #[test]
    fn adjusted_chances_agree_with_their_definition(p in vec(0.0f64..=1.0, 0..30)) {
        let adjusted = benjamini_hochberg(&p).unwrap();
        for (own, found) in p.iter().zip(&adjusted) {
            let scaled = |other: &&f64| *other * p.len() as f64 / p.iter().filter(|p| *p <= *other).count() as f64;
            let least = p.iter().filter(|other| *other >= own).map(|other| scaled(&other)).fold(1.0, f64::min);
            prop_assert!((found - least).abs() < 1e-12, "{} is not {}", found, least);
        }
    }

    #[test]
    fn drift_is_symmetric_and_never_negative(counts in vec((0u64..50, 0u64..50), 0..12)) {
        let (before, after): (Vec<u64>, Vec<u64>) = counts.into_iter().unzip();
        let found = psi(&before, &after).unwrap();
        prop_assert!(found.is_none_or(|psi| psi >= 0.0));
        let back = psi(&after, &before).unwrap();
        prop_assert!(found.zip(back).is_none_or(|(a, b)| (a - b).abs() < 1e-12));
        prop_assert_eq!(psi(&before, &before).unwrap().unwrap_or(0.0), 0.0);
    }

    #[test]
    fn chances_are_chances(t in -50f64..50.0, freedom in 0.5f64..1e9, left in vec(-1e3f64..1e3, 0..9)) {
        prop_assert!((0.0..=1.0).contains(&student_two_sided(t, freedom)));
        let found = welch(&left, &[t, freedom, 1.0]).unwrap();
        prop_assert!(found.is_none_or(|found| (0.0..=1.0).contains(&found.p)));
    }
}
