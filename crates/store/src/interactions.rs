//! The `[interactions]` section: what training counts as a signal, and how the history is divided.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::error::Result;
use crate::settings::Entry;
use crate::source::Source;

/// What training counts as a signal, and how its success is judged.
#[derive(Debug, Clone)]
pub struct Interactions {
    /// Weight per kind of event, finite and not negative; may be empty for a given split.
    pub kinds: BTreeMap<String, f64>,
    /// How the history is divided.
    pub split: Split,
}

/// How a history is divided into what is learned from and what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// By date.
    Time {
        /// The first instant of the test part: midnight in the project's zone.
        test_from: Timestamp,
        /// Length in days of the validation part that ends there.
        validation_days: u32,
    },
    /// The last item of each user is the test part, the last but one the validation part.
    LeaveLast,
    /// By files of pairs.
    Given {
        /// Pairs to learn from.
        train: PathBuf,
        /// Pairs to choose by, if set apart.
        validation: Option<PathBuf>,
        /// Pairs to be judged by.
        test: PathBuf,
    },
}

impl Split {
    /// The days at whose beginning parts end, of which each has what the one before it has: the training part without its
    /// last `stretches` stretches, and so on (each is as long as the validation part), the training part, and all that is
    /// before the test part. None unless the split is by time.
    pub fn ends(&self, zone: &TimeZone, stretches: usize) -> Option<Vec<Date>> {
        let Self::Time { test_from, validation_days } = self else { return None };
        let test = test_from.to_zoned_datetime(zone.clone()).date();
        // Days are calendar days of the zone, so a change of the clock does not move midnight.
        let before = |times: usize| {
            let days = (times as i64).saturating_mul(i64::from(*validation_days));
            Span::new().try_days(days).and_then(|days| test.checked_sub(days)).unwrap_or(Date::MIN)
        };
        Some((0..stretches + 2).rev().map(before).collect())
    }
}

impl Interactions {
    pub(crate) fn check(entry: &Entry<'_>, root: &Path, zone: &TimeZone, sources: &[Source]) -> Result<Self> {
        let mut typed = entry.section()?;
        let split = split(&typed.require("split")?, root, zone)?;
        let mut kinds = BTreeMap::new();
        if matches!(split, Split::Given { .. }) {
            if let Some(entry) = typed.take("kinds") {
                kinds = weights(&entry, sources)?;
            }
        } else {
            let entry = typed.require("kinds")?;
            kinds = weights(&entry, sources)?;
            if !kinds.values().any(|weight| *weight > 0.0) {
                return Err(entry.error("gives no kind a weight above 0"));
            }
        }
        typed.finish()?;
        Ok(Interactions { kinds, split })
    }
}

fn weights(entry: &Entry<'_>, sources: &[Source]) -> Result<BTreeMap<String, f64>> {
    // Kinds that are read from a column or computed are known only after the sources have been read.
    let known: Option<Vec<Vec<&str>>> = sources.iter().map(Source::kinds).collect();
    let known = known.map(|kinds| kinds.concat()).filter(|kinds| !kinds.is_empty());
    let mut weights = BTreeMap::new();
    for (name, entry) in entry.section()?.rest() {
        let weight = entry.number()?;
        if !weight.is_finite() || weight < 0.0 {
            return Err(entry.error(format_args!("is {weight}, not a finite weight from 0")));
        }
        if let Some(known) = known.as_ref().filter(|known| !known.contains(&name.as_str())) {
            return Err(entry.unknown("kind", &name, known));
        }
        weights.insert(name, weight);
    }
    Ok(weights)
}

const SPLITS: [&str; 3] = ["time", "leave-last", "given"];

fn split(entry: &Entry<'_>, root: &Path, zone: &TimeZone) -> Result<Split> {
    if entry.is_text() {
        return match entry.text()?.as_str() {
            "leave-last" => Ok(Split::LeaveLast),
            word if SPLITS.contains(&word) => {
                Err(entry.error(format_args!("needs more than a word: `{{ kind = \"{word}\", … }}`")))
            }
            word => Err(entry.unknown("split", word, &SPLITS)),
        };
    }
    let mut typed = entry.section()?;
    let kind = typed.require("kind")?;
    let split = match kind.text()?.as_str() {
        "leave-last" => Split::LeaveLast,
        "time" => Split::Time {
            test_from: midnight(&typed.require("test_from")?, zone)?,
            validation_days: typed.require("validation_days")?.whole(1)?,
        },
        "given" => Split::Given {
            train: file(&typed.require("train")?, root)?,
            validation: typed.take("validation").map(|entry| file(&entry, root)).transpose()?,
            test: file(&typed.require("test")?, root)?,
        },
        word => return Err(kind.unknown("split", word, &SPLITS)),
    };
    typed.finish()?;
    Ok(split)
}

fn midnight(entry: &Entry<'_>, zone: &TimeZone) -> Result<Timestamp> {
    let text = entry.date_text()?;
    let date: Result<Date, _> = text.parse();
    let start = date.and_then(|date| date.to_zoned_datetime(zone.clone()));
    start
        .map(|start| start.timestamp())
        .map_err(|_| entry.error(format_args!("is `{text}`, not a date as in 2017-11-27")))
}

fn file(entry: &Entry<'_>, root: &Path) -> Result<PathBuf> {
    let path = root.join(entry.text()?);
    if path.is_file() {
        Ok(path)
    } else {
        Err(entry.error(format_args!("names the missing file `{}`", path.display())))
    }
}
