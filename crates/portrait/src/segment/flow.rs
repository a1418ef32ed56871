//! Who went from where to where between two dates.

use super::error::{Error, Result};

/// A table of how many people had one label first and another one later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    segments: usize,
    /// `segments` rows of `segments` numbers: the row is the label before, the column the label after.
    counts: Vec<u64>,
}

impl Flow {
    /// Counts people by their labels at two dates; all labels are below `segments`. Who has no segment needs a label too,
    /// so that the table holds everybody.
    pub fn between(before: &[u32], after: &[u32], segments: usize) -> Result<Self> {
        if before.len() != after.len() {
            let (left, right) = (before.len(), after.len());
            return Err(lookalike_measure::Error::Lengths { left, right }.into());
        }
        for labels in [before, after] {
            if let Some(person) = labels.iter().position(|label| *label as usize >= segments) {
                return Err(Error::UnknownLabel { label: labels[person], person, segments });
            }
        }
        let mut counts = vec![0; segments * segments];
        for (from, to) in before.iter().zip(after) {
            counts[*from as usize * segments + *to as usize] += 1;
        }
        Ok(Self { segments, counts })
    }

    /// How many labels there are.
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// How many went from one label to another, or stayed; 0 for labels there are not.
    pub fn count(&self, from: usize, to: usize) -> u64 {
        if to < self.segments { self.counts.get(from * self.segments + to).copied().unwrap_or(0) } else { 0 }
    }

    /// How many had each label before: the sums of the rows.
    pub fn before(&self) -> Vec<u64> {
        (0..self.segments).map(|from| (0..self.segments).map(|to| self.count(from, to)).sum()).collect()
    }

    /// How many have each label after: the sums of the columns.
    pub fn after(&self) -> Vec<u64> {
        (0..self.segments).map(|to| (0..self.segments).map(|from| self.count(from, to)).sum()).collect()
    }

    /// How many changed their label.
    pub fn moved(&self) -> u64 {
        self.counts.iter().sum::<u64>() - (0..self.segments).map(|segment| self.count(segment, segment)).sum::<u64>()
    }
}
