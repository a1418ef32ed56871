//! What sets a segment apart, by hand and by counting.

use lookalike_measure::two_shares;
use lookalike_portrait::segment::Error;
use lookalike_portrait::segment::insight::{Counts, compare, overlaps};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

#[test]
fn an_index_by_hand() {
    let counts = |in_segment, in_base| Counts { in_segment, segment: 200, in_base, base: 1000 };
    let found = compare(&[counts(20, 100), counts(0, 0), counts(120, 300), counts(200, 990), counts(0, 1)]).unwrap();
    // The one that nobody has is left out; the sure one comes first; the one as frequent as in the base is last.
    assert_eq!(found.iter().map(|finding| finding.value).collect::<Vec<_>>(), [2, 3, 4, 0]);
    assert_eq!((found[0].share, found[0].base_share), (0.6, 0.3));
    assert!((found[0].index - 200.0).abs() < 1e-9 && (found[3].index - 100.0).abs() < 1e-9);
    let p = two_shares([120, 180], [200, 800]).unwrap().unwrap().p;
    assert_eq!((found[0].p, found[0].adjusted), (Some(p), Some(p * 4.0)));
    assert_eq!((found[2].index, found[3].p, found[3].adjusted), (0.0, Some(1.0), Some(1.0)));
}

#[test]
fn everybody_and_nobody_are_not_tested() {
    let found = compare(&[Counts { in_segment: 5, segment: 9, in_base: 5, base: 9 }]).unwrap();
    assert_eq!((found[0].index, found[0].p, found[0].adjusted), (100.0, None, None));
    let found = compare(&[Counts { in_segment: 0, segment: 0, in_base: 5, base: 9 }]).unwrap();
    assert_eq!((found[0].index, found[0].p), (0.0, None));
    assert_eq!(compare(&[]).unwrap(), []);
}

#[test]
fn counts_that_contradict_each_other_are_named() {
    let fine = Counts { in_segment: 1, segment: 2, in_base: 3, base: 6 };
    for (wrong, part, whole) in [
        (Counts { in_segment: 3, ..fine }, 3, 2),
        (Counts { in_base: 7, ..fine }, 7, 6),
        (Counts { in_base: 0, ..fine }, 1, 0),
        (Counts { segment: 7, ..fine }, 7, 6),
        (Counts { in_base: 6, ..fine }, 5, 4),
    ] {
        assert_eq!(compare(&[fine, wrong]).unwrap_err(), Error::Count { at: 1, part, whole });
    }
    assert_eq!(
        overlaps(&[&[1][..], &[2, 2]], 9).unwrap_err().to_string(),
        "member 1 of segment 1 is not above the one before it"
    );
    assert_eq!(overlaps(&[&[9]], 9).unwrap_err().to_string(), "member 9 of segment 0 is not one of 9 people");
}

#[test]
fn overlaps_by_hand() {
    let found = overlaps(&[&[0, 1, 2, 3][..], &[2, 3, 4], &[]], 10).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!((found[0].left, found[0].right, found[0].both), (0, 1, 2));
    assert_eq!((found[0].jaccard, found[0].lift), (Some(0.4), Some(2.0 / 1.2)));
    assert_eq!((found[1].right, found[1].jaccard, found[1].lift), (2, Some(0.0), None));
    assert_eq!(overlaps(&[&[], &[]], 0).unwrap()[0].jaccard, None);
    assert_eq!(overlaps(&[], 3).unwrap(), []);
}

proptest! {
    #[test]
    fn overlaps_agree_with_counting(sets in vec(btree_set(0u32..30, 0..20), 0..5)) {
        let members: Vec<Vec<u32>> = sets.iter().map(|set| set.iter().copied().collect()).collect();
        let slices: Vec<&[u32]> = members.iter().map(Vec::as_slice).collect();
        let found = overlaps(&slices, 30).unwrap();
        prop_assert_eq!(found.len(), sets.len() * sets.len().saturating_sub(1) / 2);
        for overlap in found {
            let (left, right) = (&sets[overlap.left], &sets[overlap.right]);
            let (both, either) = (left.intersection(right).count(), left.union(right).count());
            prop_assert_eq!(overlap.both, both as u64);
            prop_assert_eq!(overlap.jaccard, (either > 0).then(|| both as f64 / either as f64));
            prop_assert_eq!(overlap.lift.is_some(), !left.is_empty() && !right.is_empty());
        }
    }

    #[test]
    fn findings_are_sorted_and_their_shares_are_right(people in vec((any::<bool>(), 0usize..4), 1..80)) {
        let count = |test: &dyn Fn(bool, usize) -> bool| people.iter().filter(|person| test(person.0, person.1)).count() as u64;
        let (segment, base) = (count(&|inside, _| inside), people.len() as u64);
        let counts = |value: usize| Counts {
            in_segment: count(&|inside, of| inside && of == value),
            segment,
            in_base: count(&|_, of| of == value),
            base,
        };
        let given: Vec<Counts> = (0..4).map(counts).collect();
        let found = compare(&given).unwrap();
        prop_assert_eq!(found.len(), given.iter().filter(|counts| counts.in_base > 0).count());
        prop_assert!(found.is_sorted_by_key(|finding| finding.adjusted));
        let shares: f64 = found.iter().map(|finding| finding.base_share).sum();
        prop_assert!((shares - 1.0).abs() < 1e-12);
        for finding in found {
            prop_assert_eq!(finding.index, 100.0 * finding.share / finding.base_share);
            prop_assert!(finding.adjusted >= finding.p);
        }
    }
}
