//! How the parts of a tag are typed: readers of entries, each with what it refuses.

use std::collections::BTreeMap;

use lookalike_store::settings::{Entry, Section};

use super::{Body, Class, Measure, Over, Rank, Title, Window};
use crate::error::Result;

pub(super) fn declared(typed: &mut Section<'_>, name: &str) -> Result<Body> {
    let own = name.rsplit('/').next().unwrap_or_default().to_owned();
    let column = optional_text(typed.take("column"))?.unwrap_or(own);
    let number = match typed.take("as") {
        None => false,
        Some(entry) => match entry.text()?.as_str() {
            "number" => true,
            "text" => false,
            other => return Err(entry.unknown("type", other, &["number", "text"]).into()),
        },
    };
    Ok(Body::Declared { column, number })
}

pub(super) fn first_last(typed: &mut Section<'_>) -> Result<Body> {
    let entry = typed.require("of")?;
    let (function, mut arguments) = call(&entry)?;
    let last = match function.as_str() {
        "first" => false,
        "last" => true,
        other => return Err(entry.unknown("function", other, &["first", "last"]).into()),
    };
    match (arguments.pop(), arguments.is_empty()) {
        (Some(value), true) => Ok(Body::FirstLast { last, value, over: over(typed)? }),
        _ => Err(entry.error("takes one expression, as in \"last(channel)\"").into()),
    }
}

pub(super) fn preference(typed: &mut Section<'_>) -> Result<Body> {
    let rank = match typed.take("rank") {
        None => Rank::Affinity,
        Some(entry) => match entry.text()?.as_str() {
            "share" => Rank::Share,
            "affinity" => Rank::Affinity,
            other => return Err(entry.unknown("order", other, &["share", "affinity"]).into()),
        },
    };
    Ok(Body::Preference {
        by: typed.require("by")?.text()?,
        weight: optional_text(typed.take("weight"))?,
        top: typed.take("top").map(|entry| entry.whole(1)).transpose()?.unwrap_or(3) as usize,
        rank,
        min_share: typed.take("min_share").map(|entry| at_least_zero(&entry)).transpose()?.unwrap_or(0.0),
        min_affinity: typed.take("min_affinity").map(|entry| at_least_zero(&entry)).transpose()?.unwrap_or(0.0),
        over: over(typed)?,
    })
}

pub(super) fn sequence(typed: &mut Section<'_>) -> Result<Body> {
    let steps = typed.require("steps")?;
    let mut named = Vec::new();
    for (name, condition) in steps.section()?.rest() {
        named.push((name, condition.text()?));
    }
    if named.len() < 2 {
        return Err(steps.error("has fewer than two steps").into());
    }
    let within = typed.require("within")?;
    let within = length(&within)?;
    Ok(Body::Sequence { steps: named, within, over: over(typed)? })
}

pub(crate) fn from(typed: &mut Section<'_>) -> Result<BTreeMap<String, String>> {
    let entry = typed.require("from")?;
    let named = entry.section()?.rest().into_iter().map(|(name, entry)| Ok((name, entry.text()?)));
    let from: BTreeMap<_, _> = named.collect::<Result<_>>()?;
    if from.is_empty() { Err(entry.error("names no tag").into()) } else { Ok(from) }
}

pub(crate) fn over(typed: &mut Section<'_>) -> Result<Over> {
    let events = typed.take("events").map(|entry| entry.texts()).transpose()?.unwrap_or_default();
    let condition = optional_text(typed.take("where"))?;
    let window = typed.take("window").map(|entry| window(&entry)).transpose()?;
    Ok(Over { events, condition, window })
}

pub(crate) fn title(entry: Option<Entry<'_>>) -> Result<Title> {
    let Some(entry) = entry else { return Ok(Title::default()) };
    if entry.is_text() {
        return Ok(Title { zh: String::new(), en: entry.text()? });
    }
    let mut typed = entry.section()?;
    let mut part = |name| optional_text(typed.take(name)).map(Option::unwrap_or_default);
    let title = Title { zh: part("zh")?, en: part("en")? };
    typed.finish()?;
    Ok(title)
}

pub(crate) fn optional_text(entry: Option<Entry<'_>>) -> Result<Option<String>> {
    Ok(entry.map(|entry| entry.text()).transpose()?)
}

pub(super) fn class(entry: &Entry<'_>) -> Result<Class> {
    match entry.text()?.as_str() {
        "public" => Ok(Class::Public),
        "internal" => Ok(Class::Internal),
        "personal" => Ok(Class::Personal),
        "sensitive" => Ok(Class::Sensitive),
        other => Err(entry.unknown("class", other, &["public", "internal", "personal", "sensitive"]).into()),
    }
}

pub(super) fn at_least_zero(entry: &Entry<'_>) -> Result<f64> {
    match entry.number()? {
        number if number.is_finite() && number >= 0.0 => Ok(number),
        number => Err(entry.error(format_args!("is {number}, not a number from 0")).into()),
    }
}

/// Microseconds of a length with a unit, such as `30m`, `2h`, `7d`, `4w` or `1y`.
fn length(entry: &Entry<'_>) -> Result<i64> {
    let parsed = if entry.is_text() { parse_length(&entry.text()?) } else { None };
    let wrong = || entry.error("is no length with a unit, such as \"30m\", \"2h\", \"7d\", \"4w\" or \"1y\"");
    Ok(parsed.filter(|length| *length > 0).ok_or_else(wrong)?)
}

fn parse_length(text: &str) -> Option<i64> {
    const MINUTE: i64 = 60_000_000;
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "m" => MINUTE,
        "h" => 60 * MINUTE,
        "d" => 24 * 60 * MINUTE,
        "w" => 7 * 24 * 60 * MINUTE,
        "y" => 365 * 24 * 60 * MINUTE,
        _ => return None,
    };
    digits.parse::<u32>().ok().and_then(|count| i64::from(count).checked_mul(unit))
}

const DAY: i64 = 86_400_000_000;

fn whole_days(text: &str) -> Option<u32> {
    parse_length(text).filter(|length| length % DAY == 0).and_then(|length| u32::try_from(length / DAY).ok())
}

pub(crate) fn days(entry: &Entry<'_>) -> Result<u32> {
    let length = length(entry)?;
    let wrong = || entry.error("is no whole number of days, such as \"30d\", \"4w\" or \"1y\"");
    Ok(u32::try_from(length / DAY).ok().filter(|_| length % DAY == 0).ok_or_else(wrong)?)
}

/// `90d`, or `180d..90d` for the 90 days before the last 90.
fn window(entry: &Entry<'_>) -> Result<Window> {
    let wrong = "is no span of days with a unit, such as \"90d\", or \"180d..90d\" for the 90 days before those";
    let parsed = match entry.is_text().then(|| entry.text()).transpose()? {
        None => None,
        Some(text) => match text.split_once("..") {
            Some((from, to)) => whole_days(from.trim()).zip(whole_days(to.trim())),
            None => whole_days(&text).map(|from| (from, 0)),
        },
    };
    let window = parsed.filter(|(from, to)| from > to).map(|(from, to)| Window { from, to });
    Ok(window.ok_or_else(|| entry.error(wrong))?)
}

/// The function and the arguments of `function(argument, …)`; a bare word has none.
fn call(entry: &Entry<'_>) -> Result<(String, Vec<String>)> {
    let text = entry.text()?;
    let Some((function, rest)) = text.split_once('(') else { return Ok((text.trim().to_owned(), Vec::new())) };
    let wrong = || entry.error("is no function with arguments in brackets, such as \"sum(value)\"");
    let inner = rest.trim_end().strip_suffix(')').ok_or_else(wrong)?;
    let (mut depth, mut quoted, mut start) = (0_i32, false, 0);
    let mut arguments = Vec::new();
    for (at, letter) in inner.char_indices() {
        match letter {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(inner[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
        if depth < 0 {
            return Err(wrong().into());
        }
    }
    arguments.push(inner[start..].trim().to_owned());
    match depth == 0 && !quoted && arguments.iter().all(|argument| !argument.is_empty()) {
        true => Ok((function.trim().to_owned(), arguments)),
        false => Err(wrong().into()),
    }
}

pub(super) fn measure(entry: &Entry<'_>) -> Result<Measure> {
    const ALL: [&str; 12] =
        ["count", "sum", "mean", "min", "max", "distinct", "ratio", "share", "recency", "age", "interval", "opening"];
    let (function, arguments) = call(entry)?;
    let mut arguments = arguments.into_iter();
    let mut next = || arguments.next().ok_or_else(|| entry.error("lacks an argument, as in \"sum(value)\""));
    let measure = match function.as_str() {
        "count" => Measure::Count,
        "recency" => Measure::Recency,
        "age" => Measure::Age,
        "interval" => Measure::Interval,
        "sum" => Measure::Sum(next()?),
        "opening" => Measure::Opening(next()?),
        "mean" => Measure::Mean(next()?),
        "min" => Measure::Min(next()?),
        "max" => Measure::Max(next()?),
        "distinct" => Measure::Distinct(next()?),
        "share" => Measure::Share(next()?),
        "ratio" => Measure::Ratio(next()?, next()?),
        other => return Err(entry.unknown("function", other, &ALL).into()),
    };
    match arguments.next() {
        Some(extra) => Err(entry.error(format_args!("has an argument too many: `{extra}`")).into()),
        None => Ok(measure),
    }
}
