//! What an ingest did, in numbers that add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The result of an ingest; as JSON it is what `lookalike ingest --json` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What became of the lines of each source.
    pub sources: BTreeMap<String, SourceReport>,
    /// Rows of each of the four tables.
    pub tables: BTreeMap<String, u64>,
    /// Which ids were found to be one person, where that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityReport>,
    /// What the consent ledger holds, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<ConsentReport>,
}

/// Which ids were found to be one person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityReport {
    /// Edges that link two ids.
    pub links: u64,
    /// Edges that were not believed, because one of their ids names nobody.
    pub rejected: u64,
    /// People with more than one id.
    pub people: u64,
    /// The ids of these people.
    pub ids: u64,
    /// Groups of ids that are too large to be one person, and were left apart.
    pub too_large: u64,
    /// The ids of these groups.
    pub ids_apart: u64,
}

/// What the consent ledger of a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentReport {
    /// Rows of the ledger.
    pub lines: u64,
    /// People with such a row.
    pub people: u64,
    /// Those of them of whom nothing else is known.
    pub unknown: u64,
}

/// What became of the lines of one source: `lines = kept + fixed + quarantined`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceReport {
    /// Lines read.
    #[serde(rename = "in")]
    pub lines: u64,
    /// Lines that went into the store as they were.
    pub kept: u64,
    /// Lines that were repaired and went into the store.
    pub fixed: u64,
    /// Lines that were set aside in `quarantine.parquet`.
    pub quarantined: u64,
    /// How often each repair and each reason for quarantine occurred; they add up to `fixed + quarantined`.
    pub reasons: BTreeMap<String, u64>,
    /// Lines in the store that have a gap in a column whose gaps are declared to be kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gaps: BTreeMap<String, u64>,
    /// What became of returns, where such are declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns: Option<ReturnsReport>,
}

/// What became of the returns of a source: `lines = matched + partly + unmatched`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnsReport {
    /// Lines that are returns. They are in the store, as events of their own kind.
    pub lines: u64,
    /// Returns for which everything they take back was found.
    pub matched: u64,
    /// Returns that take back more than was found.
    pub partly: u64,
    /// Returns for which nothing was found.
    pub unmatched: u64,
    /// Lines that were taken back whole; they are in quarantine.
    pub withdrawn: u64,
    /// Lines that were taken back in part; they are in the store with what is left.
    pub reduced: u64,
}

impl SourceReport {
    /// A line that goes into the store, perhaps repaired.
    pub(crate) fn accept(&mut self, fixed: Option<&str>) {
        self.lines += 1;
        match fixed {
            None => self.kept += 1,
            Some(rule) => {
                self.fixed += 1;
                self.count(rule);
            }
        }
    }

    /// A line that goes to quarantine.
    pub(crate) fn refuse(&mut self, rule: &str) {
        self.lines += 1;
        self.quarantined += 1;
        self.count(rule);
    }

    /// A line that was accepted turns out to be refused.
    pub(crate) fn withdraw(&mut self, fixed: Option<&str>, rule: &str) {
        match fixed {
            None => self.kept -= 1,
            Some(repair) => {
                self.fixed -= 1;
                if let Some(count) = self.reasons.get_mut(repair) {
                    *count -= 1;
                }
                self.reasons.retain(|_, count| *count > 0);
            }
        }
        self.lines -= 1;
        self.refuse(rule);
    }

    /// A line that was accepted turns out to need a repair; one that it had before stays what is told.
    pub(crate) fn repair(&mut self, fixed: Option<&str>, rule: &str) {
        if fixed.is_none() {
            self.kept -= 1;
            self.fixed += 1;
            self.count(rule);
        }
    }

    /// The commonest reason, the first by name among equals.
    pub(crate) fn commonest(&self) -> Option<&str> {
        let best = self.reasons.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
        best.map(|(reason, _)| reason.as_str())
    }

    fn count(&mut self, rule: &str) {
        match self.reasons.get_mut(rule) {
            Some(count) => *count += 1,
            None => drop(self.reasons.insert(rule.to_owned(), 1)),
        }
    }
}
