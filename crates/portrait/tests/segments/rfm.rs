//! Scores beside those of the R package `rfm`.

use lookalike_portrait::segment::Error;
use lookalike_portrait::segment::rfm::{Cuts, Range, Scores, Thresholds, segment, usual_ranges};
use proptest::collection::vec;
use proptest::prelude::*;

/// The first ten customers of the package's example (analysis date 2006-12-31): days, orders, revenue, and the score that
/// its documentation prints.
const EXAMPLE: [(f64, f64, f64, u32); 10] = [
    (205.0, 6.0, 472.0, 343),
    (140.0, 3.0, 340.0, 412),
    (194.0, 4.0, 405.0, 323),
    (132.0, 5.0, 448.0, 433),
    (90.0, 9.0, 843.0, 555),
    (84.0, 9.0, 763.0, 555),
    (281.0, 8.0, 699.0, 355),
    (246.0, 4.0, 157.0, 321),
    (349.0, 3.0, 363.0, 212),
    (619.0, 4.0, 196.0, 121),
];

fn example() -> Vec<Scores> {
    // The thresholds that the help page of `rfm_table_order` declares.
    let thresholds = Thresholds {
        days_since: Cuts::declared(&[115.0, 181.0, 297.0, 482.0]).unwrap(),
        purchases: Cuts::declared(&[4.0, 5.0, 6.0, 8.0]).unwrap(),
        money: Cuts::declared(&[256.0, 382.0, 506.0, 666.0]).unwrap(),
    };
    EXAMPLE.iter().map(|(days, orders, revenue, _)| thresholds.scores(*days, *orders, *revenue)).collect()
}

#[test]
fn the_example_of_the_package() {
    for (scores, (.., expected)) in example().into_iter().zip(EXAMPLE) {
        let found = u32::from(scores.recency) * 100 + u32::from(scores.frequency) * 10 + u32::from(scores.money);
        assert_eq!(found, expected);
    }
}

#[test]
fn the_bins_of_the_package() {
    // Its test of `bins`: miles per gallon of `mtcars` in five bins.
    let mpg = [
        21.0, 21.0, 22.8, 21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3, 15.2, 10.4, 10.4, 14.7, 32.4,
        30.4, 33.9, 21.5, 15.5, 15.2, 13.3, 19.2, 27.3, 26.0, 30.4, 15.8, 19.7, 15.0, 21.4,
    ];
    let cuts = Cuts::of(&mpg, 5).unwrap();
    for (found, expected) in cuts.points().iter().zip([16.20, 18.92, 22.00, 25.08]) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }
    assert_eq!([10.4, 16.19, 16.2, 21.9, 22.0, 33.9].map(|mpg| cuts.rising(mpg)), [1, 1, 2, 3, 4, 5]);
}

#[test]
fn the_segments_of_the_package() {
    // Its test of `rfm_segment`, with ranges of which several may hold: the first counts.
    let names = [
        "Champions",
        "Loyal Customers",
        "Potential Loyalist",
        "New Customers",
        "Promising",
        "Need Attention",
        "About To Sleep",
        "At Risk",
        "Can't Lose Them",
        "Lost",
    ];
    let recency = [(4, 5), (2, 5), (3, 5), (4, 5), (3, 4), (2, 3), (2, 3), (1, 2), (1, 1), (1, 2)];
    let other = [(4, 5), (3, 5), (1, 3), (1, 1), (1, 1), (2, 3), (1, 2), (2, 5), (4, 5), (1, 2)];
    let range =
        |at: usize| Range { name: names[at].to_owned(), recency: recency[at], frequency: other[at], money: other[at] };
    let ranges: Vec<Range> = (0..10).map(range).collect();
    let found: Vec<&str> = example().into_iter().map(|scores| names[segment(&ranges, scores).unwrap()]).collect();
    let loyal = "Loyal Customers";
    let potential = "Potential Loyalist";
    let expected =
        [loyal, potential, potential, loyal, "Champions", "Champions", loyal, potential, "About To Sleep", "Lost"];
    assert_eq!(found, expected);
    assert_eq!(segment(&ranges, Scores { recency: 5, frequency: 5, money: 1 }), None);
}

#[test]
fn ties_stay_together_and_scores_between_equal_cuts_are_empty() {
    // Half of the people bought once: three cuts are equal, and nobody gets 2 or 3.
    let bought = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 9.0];
    let cuts = Cuts::of(&bought, 5).unwrap();
    assert_eq!(bought.map(|value| cuts.rising(value)), [1, 1, 1, 1, 1, 1, 1, 4, 4, 5]);
    assert_eq!(bought.map(|value| cuts.falling(value)), [5, 5, 5, 5, 5, 5, 5, 2, 2, 1]);
}

#[test]
fn bad_cuts_are_named() {
    assert_eq!(Cuts::declared(&[1.0, 3.0, 3.0]).unwrap_err(), Error::CutsNotAscending { at: 2 });
    assert!(matches!(Cuts::declared(&[f64::NAN]), Err(Error::NotFinite { row: 0, .. })));
    assert_eq!(Cuts::of(&[], 5).unwrap_err(), Error::Nobody);
    assert!(matches!(Cuts::of(&[1.0], 0), Err(Error::Setting { setting: "scores", .. })));
    let error = Thresholds::of(&[1.0], &[1.0, 2.0], &[1.0], 5).unwrap_err();
    assert_eq!(error.to_string(), "1 values stand beside 2");
    assert_eq!(Cuts::declared(&[]).unwrap().rising(4.0), 1);
}

#[test]
fn the_usual_ranges_are_within_the_scores() {
    let ranges = usual_ranges();
    assert_eq!(ranges.len(), 10);
    for range in &ranges {
        for (least, most) in [range.recency, range.frequency, range.money] {
            assert!(1 <= least && least <= most && most <= 5, "{}", range.name);
        }
    }
    assert_eq!(segment(&ranges, Scores { recency: 5, frequency: 5, money: 5 }), Some(0));
    assert_eq!(segment(&ranges, Scores { recency: 1, frequency: 1, money: 1 }), Some(9));
}

/// The loop of the package: each bin in turn writes its score.
fn slow(values: &[f64], cuts: &[f64], falling: bool) -> Vec<Option<u8>> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lower: Vec<f64> = [least].into_iter().chain(cuts.iter().copied()).collect();
    let upper: Vec<f64> = cuts.iter().copied().chain([most + 1.0]).collect();
    let mut scores = vec![None; values.len()];
    for bin in 0..lower.len() {
        let score = if falling { lower.len() - bin } else { bin + 1 };
        for (score_of, value) in scores.iter_mut().zip(values) {
            if *value >= lower[bin] && *value < upper[bin] {
                *score_of = Some(score as u8);
            }
        }
    }
    scores
}

proptest! {
    #[test]
    fn scores_agree_with_the_loop_of_the_package(
        values in vec(prop_oneof![(0u8..9).prop_map(f64::from), 0.0f64..2000.0], 1..80),
        scores in 1u8..12,
    ) {
        let cuts = Cuts::of(&values, scores).unwrap();
        for falling in [false, true] {
            let score = |value: &f64| if falling { cuts.falling(*value) } else { cuts.rising(*value) };
            let found: Vec<Option<u8>> = values.iter().map(|value| Some(score(value))).collect();
            prop_assert!(found.iter().flatten().all(|score| (1..=scores).contains(score)));
            prop_assert_eq!(found, slow(&values, cuts.points(), falling));
        }
    }
}
