//! What sets a segment apart from everybody, and how segments overlap.
//!
//! The index of a tag value is 100 · share in the segment / share in the base, known in market research as TGI (target
//! group index): 100 is as in the base, 150 half as many again. The base is everybody, the segment included. Whether a
//! difference may be chance is asked of the segment and those outside of it, since these are two groups; the p-values of
//! all tag values are adjusted together (Benjamini and Hochberg).

use std::cmp::Ordering;

use lookalike_measure::{benjamini_hochberg, two_shares};

use super::error::{Error, Result};

/// Counts of one value of one tag. A person may have several values of a tag, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// People of the segment with this value.
    pub in_segment: u64,
    /// People of the segment for whom the tag is known.
    pub segment: u64,
    /// People of the base with this value, those of the segment included.
    pub in_base: u64,
    /// People of the base for whom the tag is known, those of the segment included.
    pub base: u64,
}

/// What a value says of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// Position of the value in what was given.
    pub value: usize,
    /// Share of the segment that has it.
    pub share: f64,
    /// Share of the base that has it.
    pub base_share: f64,
    /// 100 · share / base share.
    pub index: f64,
    /// Chance of such a difference between segment and the others if there were none; `None` where nobody is outside of
    /// the segment, or nobody in it.
    pub p: Option<f64>,
    /// The same, adjusted for having looked at all values.
    pub adjusted: Option<f64>,
}

/// All values, the most certain differences first: by adjusted p (none last), then by how far the index is from 100 as a
/// factor, then in the order given. Values that nobody in the base has are left out.
pub fn compare(values: &[Counts]) -> Result<Vec<Finding>> {
    let mut findings = Vec::with_capacity(values.len());
    for (value, counts) in values.iter().enumerate() {
        findings.extend(finding(value, *counts)?);
    }
    let tested: Vec<usize> = (0..findings.len()).filter(|&at| findings[at].p.is_some()).collect();
    let p: Vec<f64> = findings.iter().filter_map(|finding| finding.p).collect();
    for (at, adjusted) in tested.into_iter().zip(benjamini_hochberg(&p)?) {
        findings[at].adjusted = Some(adjusted);
    }
    let certain = |finding: &Finding| finding.adjusted.unwrap_or(f64::INFINITY);
    let far = |finding: &Finding| (finding.index / 100.0).ln().abs();
    findings.sort_by(|a, b| certain(a).total_cmp(&certain(b)).then_with(|| far(b).total_cmp(&far(a))));
    Ok(findings)
}

fn finding(value: usize, counts: Counts) -> Result<Option<Finding>> {
    let Counts { in_segment, segment, in_base, base } = counts;
    for (part, whole) in [(in_segment, segment), (in_base, base), (in_segment, in_base), (segment, base)] {
        if part > whole {
            return Err(Error::Count { at: value, part, whole });
        }
    }
    let (outside, in_outside) = (base - segment, in_base - in_segment);
    if in_outside > outside {
        return Err(Error::Count { at: value, part: in_outside, whole: outside });
    }
    if in_base == 0 {
        return Ok(None);
    }
    let share = if segment == 0 { 0.0 } else { in_segment as f64 / segment as f64 };
    let base_share = in_base as f64 / base as f64;
    let p = two_shares([in_segment, in_outside], [segment, outside])?.map(|test| test.p);
    Ok(Some(Finding { value, share, base_share, index: 100.0 * share / base_share, p, adjusted: None }))
}

/// How two segments overlap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Position of the first segment.
    pub left: usize,
    /// Position of the second, which is after the first.
    pub right: usize,
    /// People in both.
    pub both: u64,
    /// People in both over people in either (Jaccard); `None` if both are empty.
    pub jaccard: Option<f64>,
    /// People in both over what chance would give, with `people` in all; `None` if either is empty.
    pub lift: Option<f64>,
}

/// The overlap of every pair of segments: `members` are numbers of people, ascending and each once, and `people` is how
/// many there are in all. Pairs in ascending order.
pub fn overlaps(members: &[&[u32]], people: u64) -> Result<Vec<Overlap>> {
    for (segment, members) in members.iter().enumerate() {
        if let Some(at) = members.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(Error::MembersNotAscending { segment, at: at + 1 });
        }
        if let Some(&person) = members.last().filter(|last| u64::from(**last) >= people) {
            return Err(Error::UnknownPerson { segment, person, people });
        }
    }
    let mut overlaps = Vec::new();
    for (left, first) in members.iter().enumerate() {
        for (right, second) in members.iter().enumerate().skip(left + 1) {
            let both = common(first, second);
            let (a, b) = (first.len() as u64, second.len() as u64);
            let either = a + b - both;
            let jaccard = (either > 0).then(|| both as f64 / either as f64);
            let lift = (a > 0 && b > 0).then(|| both as f64 / (a as f64 * b as f64 / people as f64));
            overlaps.push(Overlap { left, right, both, jaccard, lift });
        }
    }
    Ok(overlaps)
}

/// How many numbers two ascending lists share.
fn common(left: &[u32], right: &[u32]) -> u64 {
    let (mut i, mut j, mut both) = (0, 0, 0);
    while let (Some(a), Some(b)) = (left.get(i), right.get(j)) {
        match a.cmp(b) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => (i, j, both) = (i + 1, j + 1, both + 1),
        }
    }
    both
}
