//! Clusters of numbers whose groups are known, and the laws of k-means.

use lookalike_portrait::segment::Error;
use lookalike_portrait::segment::cluster::{Scaling, Search, choose, kmeans, place};
use proptest::collection::vec;
use proptest::prelude::*;

/// Three rings of 30, 20 and 10 rows of two columns, far from each other. A ring can be halved in any direction, so that
/// nothing says how a fourth cluster should be made.
fn groups() -> (Vec<f64>, Vec<u32>) {
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for (group, (count, x, y)) in [(30, 0.0, 0.0), (20, 10.0, 0.0), (10, 0.0, 12.0)].into_iter().enumerate() {
        for at in 0..count {
            let angle = f64::from(at) / f64::from(count) * std::f64::consts::TAU;
            rows.extend([x + 0.5 * angle.cos(), y + 0.5 * angle.sin()]);
            labels.push(group as u32);
        }
    }
    (rows, labels)
}

#[test]
fn groups_that_are_there_are_found_and_numbered_by_size() {
    let (rows, labels) = groups();
    let found = kmeans(&rows, 2, 3, 5, 7).unwrap();
    assert_eq!(found.labels, labels);
    assert_eq!(found.sizes, [30, 20, 10]);
    assert_eq!(place(&rows, 2, &found.centres).unwrap(), labels);
    assert_eq!(found, kmeans(&rows, 2, 3, 5, 7).unwrap());
    assert_eq!(place(&[9.0, 1.0, -1.0, 20.0], 2, &found.centres).unwrap(), [1, 2]);
    let centre = &found.centres[4..];
    assert!(centre[0].abs() < 1e-5 && (centre[1] - 12.0).abs() < 1e-5, "{centre:?}");
}

#[test]
fn as_many_clusters_as_there_are_groups_hold() {
    let (rows, labels) = groups();
    let search = Search { clusters: 1..=5, starts: 5, parts: 5, ..Search::default() };
    let found = choose(&rows, 2, &search).unwrap();
    assert!(found.holds);
    let best = &found.tried[found.chosen];
    assert_eq!((best.clusters.sizes.len(), &best.clusters.labels), (3, &labels));
    assert_eq!((best.stability, best.least_stability), (1.0, 1.0));
    assert!(best.silhouette.unwrap() > 0.9);
    assert_eq!(found.tried[0].silhouette, None);
    // Nothing reaches a floor above 1: the most stable is taken, the smallest of equals, and said not to hold.
    let found = choose(&rows, 2, &Search { floor: 1.1, ..search }).unwrap();
    assert_eq!((found.chosen, found.holds), (0, false));
}

#[test]
fn numbers_of_clusters_above_that_of_rows_are_not_tried() {
    let rows = [1.0, 1.0, 2.0, 2.0, 5.0];
    let search = Search { clusters: 2..=9, starts: 3, parts: 3, ..Search::default() };
    assert_eq!(choose(&rows, 1, &search).unwrap().tried.len(), 2);
    let error = choose(&[4.0; 9], 1, &search).unwrap_err();
    assert_eq!(error, Error::TooManyClusters { clusters: 2, distinct: 1 });
    assert_eq!(error.to_string(), "2 clusters cannot be made of 1 different rows");
    assert!(matches!(kmeans(&[0.0, -0.0], 1, 2, 1, 1), Err(Error::TooManyClusters { distinct: 1, .. })));
}

#[test]
fn bad_numbers_and_settings_are_named() {
    let said = |result: Result<_, Error>| result.map(|_: Vec<f64>| ()).unwrap_err().to_string();
    let kmeans = |rows: &[f64], columns, k, starts| kmeans(rows, columns, k, starts, 1).map(|found| found.centres);
    assert_eq!(said(kmeans(&[], 2, 2, 1)), "there is nobody to divide");
    assert_eq!(said(kmeans(&[1.0], 0, 2, 1)), "`columns` is 0, not at least 1");
    assert_eq!(said(kmeans(&[1.0], 1, 0, 1)), "`clusters` is 0, not at least 1");
    assert_eq!(said(kmeans(&[1.0], 1, 1, 0)), "`starts` is 0, not at least 1");
    assert_eq!(said(kmeans(&[1.0; 5], 2, 1, 1)), "5 numbers are no rows of 2 columns for 2 people");
    assert_eq!(said(kmeans(&[1.0, f64::NAN], 2, 1, 1)), "column 1 of row 0 is NaN, which is not finite");
    assert_eq!(said(kmeans(&[1e308, -1e308, 1e308, 0.0], 1, 2, 1)), "k-means with 2 clusters failed");
    assert!(matches!(Scaling::of(&[f64::INFINITY], 1), Err(Error::NotFinite { row: 0, column: 0, .. })));
    assert!(matches!(place(&[1.0, 2.0], 2, &[1.0]), Err(Error::Shape { .. })));
    let wrong = |search: Search| choose(&[1.0, 2.0], 1, &search).unwrap_err().to_string();
    let search = Search::default();
    assert_eq!(
        wrong(Search { clusters: 0..=3, ..search.clone() }),
        "`clusters` is 0 to 3, not an ascending range from 1 on"
    );
    assert_eq!(wrong(Search { share: f64::NAN, ..search.clone() }), "`share` is NaN, not above 0 and at most 1");
    assert_eq!(wrong(Search { parts: 0, ..search.clone() }), "`parts` is 0, not at least 1");
    assert_eq!(wrong(Search { silhouettes: 0, ..search }), "`silhouettes` is 0, not at least 1");
}

#[test]
fn features_have_mean_0_and_deviation_1() {
    let numbers = [0.0, 7.0, 1.0, 7.0, 100.0, 7.0, -100.0, 7.0];
    let found = Scaling::of(&numbers, 2).unwrap();
    let features = found.apply(&numbers).unwrap();
    let (first, second): (Vec<f64>, Vec<f64>) = features.chunks(2).map(|row| (row[0], row[1])).unzip();
    assert!(first.iter().sum::<f64>().abs() < 1e-12);
    assert!((first.iter().map(|value| value * value).sum::<f64>() - 4.0).abs() < 1e-12);
    assert_eq!((second, found.deviations[1]), (vec![0.0; 4], 1.0));
    assert!((found.means[1] - 8f64.ln()).abs() < 1e-15);
    assert_eq!(found.apply(&numbers[2..4]).unwrap(), features[2..4]);
    assert!(matches!(found.apply(&numbers[..3]), Err(Error::Shape { .. })));
    // As far below as above.
    assert!(((first[2] - first[0]) + (first[3] - first[0])).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn nobody_is_nearer_to_another_centre(
        columns in 1usize..4,
        numbers in vec((-20i8..20).prop_map(f64::from), 6..90),
        k in 1usize..5,
        seed: u64,
    ) {
        let rows = &numbers[..numbers.len() / columns * columns];
        let Ok(found) = kmeans(rows, columns, k, 3, seed) else { return Ok(()) };
        let distance = |row: &[f64], centre: &[f64]| row.iter().zip(centre).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let mut inertia = 0.0;
        for (row, label) in rows.chunks(columns).zip(&found.labels) {
            let own = distance(row, &found.centres[*label as usize * columns..][..columns]);
            prop_assert!(found.centres.chunks(columns).all(|centre| distance(row, centre) >= own));
            inertia += own;
        }
        prop_assert!((found.inertia - inertia).abs() < 1e-9 * (1.0 + inertia));
        prop_assert!(found.sizes.is_sorted_by(|a, b| a >= b));
        for (cluster, size) in found.sizes.iter().enumerate() {
            let members = rows.chunks(columns).zip(&found.labels).filter(|(_, label)| **label as usize == cluster);
            prop_assert_eq!(*size, members.count());
        }
        let more = kmeans(rows, columns, k, 6, seed).unwrap();
        prop_assert!(more.inertia <= found.inertia);
    }
}
