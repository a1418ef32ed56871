//! What a source is held to by `check data`: ranges, shares, age and drift. None of it changes what is ingested.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::settings::{Entry, Section};

/// What a source promises about its lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    /// Canonical column of numbers → smallest and largest value.
    pub ranges: BTreeMap<String, (f64, f64)>,
    /// The largest share of events whose item may have no row of its own.
    pub unknown_items: f64,
    /// The largest share of lines that may be set aside.
    pub max_quarantined: Option<f64>,
    /// How old the newest event may be, in seconds.
    pub max_age: Option<i64>,
    /// How much a column may drift, as population stability index.
    pub max_psi: Option<f64>,
}

impl Expected {
    /// Takes the keys of `contract` that are checked and not enforced; `numbers` are the columns of numbers.
    pub(crate) fn contract(&mut self, typed: &mut Section<'_>, numbers: &[String]) -> Result<()> {
        if let Some(entry) = typed.take("range") {
            for (name, entry) in entry.section()?.rest() {
                if !numbers.contains(&name) {
                    return Err(entry.unknown("column of numbers", &name, numbers));
                }
                let mut typed = entry.section()?;
                let mut bound = |key| typed.take(key).map(|entry| entry.finite()).transpose();
                let (min, max) = (bound("min")?, bound("max")?);
                typed.finish()?;
                if min.is_none() && max.is_none() {
                    return Err(entry.error("lacks both `min` and `max`"));
                }
                let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
                if min > max {
                    return Err(entry.error(format_args!("holds nothing: {min} is above {max}")));
                }
                self.ranges.insert(name, (min, max));
            }
        }
        if let Some(entry) = typed.take("unknown_items") {
            self.unknown_items = share(&entry)?;
        }
        self.max_quarantined = typed.take("max_quarantined").map(|entry| share(&entry)).transpose()?;
        Ok(())
    }

    pub(crate) fn freshness(&mut self, entry: &Entry<'_>, has_time: bool) -> Result<()> {
        let mut typed = timed(entry, has_time)?;
        self.max_age = Some(seconds(&typed.require("max_age")?)?);
        typed.finish()
    }

    pub(crate) fn drift(&mut self, entry: &Entry<'_>, has_time: bool) -> Result<()> {
        let mut typed = timed(entry, has_time)?;
        let max = typed.require("max_psi")?;
        self.max_psi = Some(max.finite()?);
        if self.max_psi < Some(0.0) {
            return Err(max.error("is below 0, which no such index can be"));
        }
        typed.finish()
    }
}

fn timed<'a>(entry: &Entry<'a>, has_time: bool) -> Result<Section<'a>> {
    if has_time { entry.section() } else { Err(entry.error("needs a source whose lines have a time")) }
}

fn share(entry: &Entry<'_>) -> Result<f64> {
    let share = entry.finite()?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err(entry.error(format_args!("is {share}, not a share from 0 to 1")))
    }
}

/// A length of time such as `12h`, `2d` or `3w`.
fn seconds(entry: &Entry<'_>) -> Result<i64> {
    let text = entry.text()?;
    let wrong = || entry.error(format_args!("is `{text}`, not a length of time such as `12h`, `2d` or `3w`"));
    let unit = match text.chars().last() {
        Some('h') => 3600,
        Some('d') => 86_400,
        Some('w') => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].trim().parse().map_err(|_| wrong())?;
    Ok(i64::from(number) * unit)
}
