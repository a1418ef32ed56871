//! Declarations of tags whose values divide the users: rules, scores, states and clusters.

use lookalike_store::settings::{Entry, Section};

use crate::error::Result;
use crate::segment::lifecycle::{State, Windows};
use crate::segment::rfm;
use crate::tag::{Body, Value, days, from, optional_text, over, title};

/// Reads `values`: of each what `own` reads of its section, beside title and treatment.
pub(crate) fn values<T>(
    entry: &Entry<'_>,
    described: &mut Vec<Value>,
    own: impl Fn(&str, &mut Section<'_>) -> Result<T>,
) -> Result<Vec<(String, T)>> {
    let mut read = Vec::new();
    for (name, entry) in entry.section()?.rest() {
        let mut typed = entry.section()?;
        read.push((name.clone(), own(&name, &mut typed)?));
        let (title, treatment) = (title(typed.take("title"))?, optional_text(typed.take("treatment"))?);
        typed.finish()?;
        described.push(Value { name, title, treatment });
    }
    if read.is_empty() { Err(entry.error("names no value").into()) } else { Ok(read) }
}

fn otherwise(typed: &mut Section<'_>, described: &mut Vec<Value>) -> Result<Option<String>> {
    let otherwise = optional_text(typed.take("otherwise"))?;
    let treatment = optional_text(typed.take("otherwise_treatment"))?;
    if let Some(name) = &otherwise {
        described.push(Value { name: name.clone(), title: title(None)?, treatment });
    }
    Ok(otherwise)
}

pub(crate) fn rules(typed: &mut Section<'_>, described: &mut Vec<Value>) -> Result<Body> {
    let rules = values(&typed.require("values")?, described, |_, typed| Ok(typed.require("when")?.text()?))?;
    let contradiction = typed.take("contradiction").map(|entry| entry.truth()).transpose()?.unwrap_or(false);
    Ok(Body::Rules { rules, otherwise: otherwise(typed, described)?, from: from(typed)?, contradiction })
}

pub(crate) fn rfm(typed: &mut Section<'_>, described: &mut Vec<Value>) -> Result<Body> {
    let [recency, frequency, money] = ["recency", "frequency", "money"].map(|name| typed.require(name));
    let from = [recency?.text()?, frequency?.text()?, money?.text()?];
    let scores = match typed.take("scores") {
        Some(entry) => u8::try_from(entry.whole(2)?).map_err(|_| entry.error("is more than 255"))?,
        None => 5,
    };
    let range = |typed: &mut Section<'_>, name: &'static str| -> Result<(u8, u8)> {
        let Some(entry) = typed.take(name) else { return Ok((1, scores)) };
        let wrong = || entry.error(format_args!("is no range of scores such as [1, {scores}]"));
        let ends = entry.entries()?.iter().map(|end| end.whole(1)).collect::<Result<Vec<u32>, _>>()?;
        match ends[..] {
            [least, most] if least <= most && most <= u32::from(scores) => Ok((least as u8, most as u8)),
            _ => Err(wrong().into()),
        }
    };
    let ranges = match typed.take("values") {
        Some(entry) => values(&entry, described, |_, typed| {
            Ok([range(typed, "recency")?, range(typed, "frequency")?, range(typed, "money")?])
        })?,
        None => {
            let usual = rfm::usual_ranges().into_iter();
            usual.map(|range| (range.name, [range.recency, range.frequency, range.money])).collect()
        }
    };
    Ok(Body::Rfm { from, scores, ranges, otherwise: otherwise(typed, described)? })
}

pub(crate) fn lifecycle(kind: &Entry<'_>, typed: &mut Section<'_>, described: &mut Vec<Value>) -> Result<Body> {
    let mut length = |name: &'static str, usual: u32| -> Result<u32> {
        Ok(typed.take(name).map(|entry| days(&entry)).transpose()?.unwrap_or(usual))
    };
    let (new, loyal_window, dormant) = (length("new", 30)?, length("loyal_window", 90)?, length("dormant", 90)?);
    let (lost, returned) = (length("lost", 180)?, length("returned", 30)?);
    let loyal = typed.take("loyal_days");
    let loyal_days = loyal.as_ref().map(|entry| entry.whole(1)).transpose()?.unwrap_or(6);
    let windows = Windows { new, loyal_days, loyal_window, dormant, lost, returned };
    windows.check().map_err(|error| kind.error(format_args!("is given windows that do not fit together: {error}")))?;
    if let Some(entry) = typed.take("values") {
        let names = State::ALL.map(State::name);
        for (name, entry) in entry.section()?.rest() {
            if !names.contains(&name.as_str()) {
                return Err(entry.unknown("state", &name, &names).into());
            }
        }
        values(&entry, described, |_, _| Ok(()))?;
    }
    for state in State::ALL {
        if described.iter().all(|value| value.name != state.name()) {
            described.push(Value { name: state.name().to_owned(), title: title(None)?, treatment: None });
        }
    }
    Ok(Body::Lifecycle { windows, over: over(typed)? })
}

pub(crate) fn cluster(typed: &mut Section<'_>, described: &mut Vec<Value>) -> Result<Body> {
    let from = from(typed)?;
    let numbers = |entry: &Entry<'_>| -> Result<Vec<f64>> {
        let numbers = entry.entries()?.iter().map(Entry::finite).collect::<Result<Vec<f64>, _>>()?;
        match numbers.len() == from.len() {
            true => Ok(numbers),
            false => Err(entry.error(format_args!("has {} numbers, not one for each of `from`", numbers.len())).into()),
        }
    };
    let (means, deviations) = (numbers(&typed.require("means")?)?, typed.require("deviations")?);
    let scales = numbers(&deviations)?;
    if scales.iter().any(|scale| *scale <= 0.0) {
        return Err(deviations.error("has a number that is not above 0").into());
    }
    let centres = values(&typed.require("values")?, described, |_, typed| numbers(&typed.require("centre")?))?;
    Ok(Body::Cluster { from, means, deviations: scales, centres })
}
