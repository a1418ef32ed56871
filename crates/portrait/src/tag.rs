//! What a tag is: a named function of the history up to a day, as it was declared in a file.
//!
//! A file `tags/consumption/value.toml` with a section `[spend]` declares the tag `consumption/value/spend`: the
//! path is the hierarchy. `README.md` of the repository lists the kinds with their keys.

use std::collections::BTreeMap;
use std::path::Path;

use lookalike_store::settings::{Entry, Section};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Place, Result};
use crate::forecast::{self, Forecast};
use crate::opinion::Sentiment;
use crate::partition;
use crate::segment::lifecycle::Windows;

/// A declared tag, checked as far as that goes without the data.
#[derive(Debug, Clone)]
pub struct Tag {
    /// The path of its file and its section, with `/` between.
    pub name: String,
    /// Where it was typed.
    pub place: Place,
    /// Its title in Chinese and in English.
    pub title: Title,
    /// One line for the person who reads a portrait.
    pub meaning: String,
    /// Who may see it.
    pub class: Class,
    /// For what the data behind it may be used; people who did not consent to it are left out.
    pub purpose: String,
    /// Segments, models or campaigns that it is there for.
    pub used_for: Vec<String>,
    /// Days for which a value counts.
    pub expires: u32,
    /// Events that are as good as no prior knowledge: confidence = n / (n + prior).
    pub prior: f64,
    /// The least agreement between its halves that is promised; `check tags` fails where it is not kept.
    pub reliability: Option<f64>,
    /// How it is computed.
    pub body: Body,
    /// What its values are called and what is done for their users, where they divide the users. That may change without
    /// it being another tag.
    pub values: Vec<Value>,
}

/// A title in two languages; empty where it was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Title {
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

/// Who may see a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Anybody.
    Public,
    /// Those who work with the data.
    Internal,
    /// Says something about one person; leaves in groups alone.
    Personal,
    /// Never leaves, and enters no model, unless it is allowed by name.
    Sensitive,
}

/// How a tag is computed.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Body {
    /// What the user said: an attribute of the table of users.
    Declared {
        /// Name of the attribute.
        column: String,
        /// Whether it is to be read as a number.
        number: bool,
    },
    /// A number over the user's events.
    Metric {
        /// What is computed of them.
        of: Measure,
        /// Which events.
        over: Over,
    },
    /// What an expression gave at the first or the last event.
    FirstLast {
        /// The last one rather than the first.
        last: bool,
        /// The expression.
        value: String,
        /// Which events.
        over: Over,
    },
    /// The values of an expression that the user has more of than others have.
    Preference {
        /// The expression whose values are compared.
        by: String,
        /// What an event counts; 1 if `None`.
        weight: Option<String>,
        /// How many values at most.
        top: usize,
        /// By what they are ordered.
        rank: Rank,
        /// The least share of the user's weight that a value must have.
        min_share: f64,
        /// The least affinity that a value must have.
        min_affinity: f64,
        /// Which events.
        over: Over,
    },
    /// How far the user came on a way of several steps.
    Sequence {
        /// Names and conditions of the steps, in order.
        steps: Vec<(String, String)>,
        /// Microseconds within which all steps must happen.
        within: i64,
        /// Which events.
        over: Over,
    },
    /// How content the user's texts are: the mean of what each says, from −1 to 1.
    Sentiment(Sentiment),
    /// An expression over other tags.
    Sql {
        /// The expression.
        expression: String,
        /// Names that it uses, and the tags they stand for.
        from: BTreeMap<String, String>,
    },
    /// A query over the tables as of the day, with columns `user`, `value` and, where there is one, `evidence`.
    Query {
        /// The query.
        sql: String,
    },
    /// Values that divide the users, each with its condition.
    Rules {
        /// Values with their conditions, in order.
        rules: Vec<(String, String)>,
        /// The value of all others.
        otherwise: Option<String>,
        /// Names that the conditions use, and the tags they stand for.
        from: BTreeMap<String, String>,
        /// Whether its values say that something cannot be true; `check tags` lists the users.
        contradiction: bool,
    },
    /// Segments by scores of recency, frequency and money.
    Rfm {
        /// The tags that the scores are made from: recency (in days), frequency and money.
        from: [String; 3],
        /// How many scores there are of each.
        scores: u8,
        /// Values with the least and the most of each score; the first that fits counts.
        ranges: Vec<(String, Scores)>,
        /// The value of all others.
        otherwise: Option<String>,
    },
    /// The state of a user's time with the shop.
    Lifecycle {
        /// The windows of the states, in days.
        windows: Windows,
        /// Which events.
        over: Over,
    },
    /// What a model that is fitted on all users' events expects of the user.
    Model {
        /// Which one, and what of it.
        #[serde(flatten)]
        model: Forecast,
        /// Which events.
        over: Over,
    },
    /// The nearest of some centres.
    Cluster {
        /// Names of the columns, and the tags they stand for; columns are in the order of their names.
        from: BTreeMap<String, String>,
        /// What a column's logarithms are lessened by.
        means: Vec<f64>,
        /// What they are divided by then.
        deviations: Vec<f64>,
        /// Values with their centres.
        centres: Vec<(String, Vec<f64>)>,
    },
}

/// The least and the most of the scores of recency, frequency and money.
pub type Scores = [(u8, u8); 3];

/// One value of a tag whose values divide the users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub name: String,
    /// Its title.
    pub title: Title,
    /// What is done for these users.
    pub treatment: Option<String>,
}

/// By what preferred values are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// The share of the user's own weight.
    Share,
    /// That share divided by the share that all users together have.
    Affinity,
}

/// What is computed of a user's events.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// How many there are.
    Count,
    /// The sum of an expression.
    Sum(String),
    /// Its mean.
    Mean(String),
    /// Its least value.
    Min(String),
    /// Its greatest value.
    Max(String),
    /// The number of its different values.
    Distinct(String),
    /// The sum of one expression divided by that of another.
    Ratio(String, String),
    /// The share of events for which a condition is true.
    Share(String),
    /// Days since the last one.
    Recency,
    /// Days since the first one.
    Age,
    /// The median of the days between days with events.
    Interval,
    /// The sum of an expression over the first day with events.
    Opening(String),
}

/// Which events a tag looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Over {
    /// Kinds; all if empty.
    pub events: Vec<String>,
    /// A condition in SQL.
    pub condition: Option<String>,
    /// The days that count.
    pub window: Option<Window>,
}

/// Days before the day that is looked from: `from` days ago to `to` days ago, the first included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Window {
    /// The earliest day.
    pub from: u32,
    /// The day after the last one; 0 is the day itself.
    pub to: u32,
}

const KINDS: [&str; 13] = [
    "declared",
    "metric",
    "first-last",
    "preference",
    "sequence",
    "sentiment",
    "sql",
    "query",
    "rules",
    "rfm",
    "lifecycle",
    "cluster",
    "model",
];

impl Tag {
    /// Reads a section of a tag file.
    pub(crate) fn read(name: String, file: &Path, entry: &Entry<'_>) -> Result<Tag> {
        let mut typed = entry.section()?;
        let place = Place { file: file.to_owned(), line: entry.line() };
        let title = title(typed.take("title"))?;
        let meaning = optional_text(typed.take("meaning"))?.unwrap_or_default();
        let class = typed.take("class").map(|entry| class(&entry)).transpose()?.unwrap_or(Class::Internal);
        let purpose = optional_text(typed.take("purpose"))?.unwrap_or_else(|| "profile".to_owned());
        let used_for = typed.take("used_for").map(|entry| entry.texts()).transpose()?.unwrap_or_default();
        let expires = typed.take("expires").map(|entry| days(&entry)).transpose()?.unwrap_or(90);
        let prior = typed.take("prior").map(|entry| at_least_zero(&entry)).transpose()?.unwrap_or(5.0);
        let reliability = typed.take("reliability").map(|entry| at_least_zero(&entry)).transpose()?;
        let kind = typed.require("kind")?;
        let mut values = Vec::new();
        let body = match kind.text()?.as_str() {
            "declared" => declared(&mut typed, &name)?,
            "metric" => Body::Metric { of: measure(&typed.require("of")?)?, over: over(&mut typed)? },
            "first-last" => first_last(&mut typed)?,
            "preference" => preference(&mut typed)?,
            "sequence" => sequence(&mut typed)?,
            "sentiment" => Body::Sentiment(Sentiment::read(&mut typed)?),
            "sql" => Body::Sql { expression: typed.require("expression")?.text()?, from: from(&mut typed)? },
            "query" => Body::Query { sql: typed.require("sql")?.text()? },
            "rules" => partition::rules(&mut typed, &mut values)?,
            "rfm" => partition::rfm(&mut typed, &mut values)?,
            "lifecycle" => partition::lifecycle(&kind, &mut typed, &mut values)?,
            "cluster" => partition::cluster(&mut typed, &mut values)?,
            "model" => forecast::read(&mut typed)?,
            other => return Err(kind.unknown("kind", other, &KINDS).into()),
        };
        typed.finish()?;
        Ok(Tag { name, place, title, meaning, class, purpose, used_for, expires, prior, reliability, body, values })
    }

    /// The part of the path before the first `/`.
    pub fn dimension(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// The tags that it is made from.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        let (named, listed): (_, &[String]) = match &self.body {
            Body::Sql { from, .. } | Body::Rules { from, .. } | Body::Cluster { from, .. } => (Some(from), &[]),
            Body::Rfm { from, .. } => (None, from),
            _ => (None, &[]),
        };
        named.into_iter().flat_map(BTreeMap::values).chain(listed).map(String::as_str)
    }

    /// The events it looks at, if it looks at events.
    pub fn over(&self) -> Option<&Over> {
        match &self.body {
            Body::Metric { over, .. }
            | Body::FirstLast { over, .. }
            | Body::Preference { over, .. }
            | Body::Lifecycle { over, .. }
            | Body::Model { over, .. }
            | Body::Sequence { over, .. }
            | Body::Sentiment(Sentiment { over, .. }) => Some(over),
            _ => None,
        }
    }

    /// Whether it ships with the program.
    pub fn is_shipped(&self) -> bool {
        self.place.file.to_string_lossy().starts_with("catalogue:")
    }

    /// Whether its values divide the users.
    pub fn is_segment(&self) -> bool {
        matches!(self.body, Body::Rules { .. } | Body::Rfm { .. } | Body::Lifecycle { .. } | Body::Cluster { .. })
    }

    /// The name of the kind, as it is typed.
    pub fn kind(&self) -> &'static str {
        match &self.body {
            Body::Declared { .. } => "declared",
            Body::Metric { .. } => "metric",
            Body::FirstLast { .. } => "first-last",
            Body::Preference { .. } => "preference",
            Body::Sequence { .. } => "sequence",
            Body::Sentiment(_) => "sentiment",
            Body::Sql { .. } => "sql",
            Body::Query { .. } => "query",
            Body::Rules { .. } => "rules",
            Body::Rfm { .. } => "rfm",
            Body::Lifecycle { .. } => "lifecycle",
            Body::Cluster { .. } => "cluster",
            Body::Model { .. } => "model",
        }
    }

    /// An error about this tag.
    pub(crate) fn error(&self, message: impl Into<String>, hint: Option<String>) -> Error {
        Error::Tag { place: self.place.clone(), tag: self.name.clone(), message: message.into(), hint }
    }
}

fn declared(typed: &mut Section<'_>, name: &str) -> Result<Body> {
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

fn first_last(typed: &mut Section<'_>) -> Result<Body> {
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

fn preference(typed: &mut Section<'_>) -> Result<Body> {
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

fn sequence(typed: &mut Section<'_>) -> Result<Body> {
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

fn class(entry: &Entry<'_>) -> Result<Class> {
    match entry.text()?.as_str() {
        "public" => Ok(Class::Public),
        "internal" => Ok(Class::Internal),
        "personal" => Ok(Class::Personal),
        "sensitive" => Ok(Class::Sensitive),
        other => Err(entry.unknown("class", other, &["public", "internal", "personal", "sensitive"]).into()),
    }
}

fn at_least_zero(entry: &Entry<'_>) -> Result<f64> {
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

fn measure(entry: &Entry<'_>) -> Result<Measure> {
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
