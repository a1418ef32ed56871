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
