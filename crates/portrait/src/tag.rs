//! What a tag is: a named function of the history up to a day, as it was declared in a file.
//!
//! A file `tags/consumption/value.toml` with a section `[spend]` declares the tag `consumption/value/spend`: the
//! path is the hierarchy. `README.md` of the repository lists the kinds with their keys.

mod typed;

use std::collections::BTreeMap;
use std::path::Path;

use lookalike_store::settings::Entry;
use serde::{Deserialize, Serialize};

use crate::embedding;
use crate::error::{Error, Place, Result};
use crate::forecast::{self, Forecast};
use crate::nearness;
use crate::opinion::Sentiment;
use crate::partition;
use crate::segment::lifecycle::Windows;
use typed::{at_least_zero, class, declared, first_last, measure, preference, sequence};
pub(crate) use typed::{days, from, optional_text, over, title};

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
    /// The nearest of some centres among the vectors that a run learned.
    Embedding {
        /// The folder of the run, from that of the project on.
        run: String,
        /// Hash of the vectors.
        vectors: String,
        /// Values with their centres.
        centres: Vec<(String, Vec<f64>)>,
    },
    /// How near the user's vector is to those of some items, among the vectors that a run learned.
    Nearness {
        /// The folder of the run, from that of the project on.
        run: String,
        /// Hash of the vectors.
        vectors: String,
        /// A condition in SQL over the columns of the items.
        items: String,
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

const KINDS: [&str; 15] = [
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
    "embedding",
    "nearness",
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
            "embedding" => embedding::read(&mut typed, &mut values)?,
            "nearness" => nearness::read(&mut typed)?,
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

    /// The run whose vectors it reads, if it reads those of one.
    pub fn run(&self) -> Option<&str> {
        match &self.body {
            Body::Embedding { run, .. } | Body::Nearness { run, .. } => Some(run),
            _ => None,
        }
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
        matches!(
            self.body,
            Body::Rules { .. }
                | Body::Rfm { .. }
                | Body::Lifecycle { .. }
                | Body::Cluster { .. }
                | Body::Embedding { .. }
        )
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
            Body::Embedding { .. } => "embedding",
            Body::Nearness { .. } => "nearness",
        }
    }

    /// An error about this tag.
    pub(crate) fn error(&self, message: impl Into<String>, hint: Option<String>) -> Error {
        Error::Tag { place: self.place.clone(), tag: self.name.clone(), message: message.into(), hint }
    }
}
