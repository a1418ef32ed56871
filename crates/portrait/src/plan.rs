//! From tags to a plan: every expression compiled once, however many tags use it, and what of the store is read.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::TimestampMicrosecondType;
use lookalike_store::Store;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Clock;
use crate::column::{NONE, Names};
use crate::error::{Error, Result};
use crate::rows::{Items, Rows, Vocabulary};
use crate::segment::lifecycle::Windows;
use crate::sql::{Expression, Sql};
use crate::tag::{Body, Measure, Over, Rank, Tag, Window};

/// What is wanted of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Want {
    /// Where it is true.
    Mask,
    /// Numbers.
    Number,
    /// Places in a list of names.
    Code,
    /// Anything that is different where it is different.
    Mark,
}

/// An expression and what was wanted of it.
struct Slot {
    want: Want,
    text: String,
    expression: Expression,
    /// Its values for the items, where it is the same for every event of an item.
    of_items: Option<Values>,
    /// The names that codes are places of.
    names: Names,
    /// Where it was met first.
    tag: Tag,
}

/// Values of an expression, a row an event or an item.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    Mask(Vec<bool>),
    Number(Vec<f64>),
    Code(Vec<u32>),
    /// 0 where there is none.
    Mark(Vec<u64>),
}

impl Values {
    pub(crate) fn mask(&self) -> &[bool] {
        if let Values::Mask(values) = self { values } else { &[] }
    }

    pub(crate) fn numbers(&self) -> &[f64] {
        if let Values::Number(values) = self { values } else { &[] }
    }

    pub(crate) fn codes(&self) -> &[u32] {
        if let Values::Code(values) = self { values } else { &[] }
    }

    pub(crate) fn marks(&self) -> &[u64] {
        if let Values::Mark(values) = self { values } else { &[] }
    }
}

/// Place of an expression in the plan.
pub(crate) type At = usize;

/// What a tag does with the events of a user.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    Count,
    Sum(At),
    Mean(At),
    Min(At),
    Max(At),
    Distinct(At),
    Ratio(At, At),
    Share(At),
    Recency,
    Age,
    Interval,
    Edge { last: bool, value: At, text: bool },
    Preference { by: At, weight: Option<At>, top: usize, rank: Rank, min_share: f64, min_affinity: f64, prior: f64 },
    Sequence { steps: Vec<At>, names: Vec<String>, within: i64 },
    Lifecycle { windows: Windows },
}

/// Which events a tag looks at, in places of the plan.
struct Filter {
    kinds: Vec<String>,
    condition: Option<At>,
    window: Option<Window>,
}

/// All tags over events, ready to be run.
pub(crate) struct Plan {
    pub clock: Clock,
    pub rows: Rows,
    items: Items,
    slots: Vec<Slot>,
    filters: Vec<Filter>,
    /// A filter and a job a tag.
    pub jobs: Vec<(usize, Job)>,
}

/// A batch of events with everything the jobs look at.
pub(crate) struct Seen {
    /// Microseconds since 1970.
    pub at: Vec<i64>,
    /// Days from the event to the day that is looked from.
    pub days_ago: Vec<i32>,
    /// By filter: which rows count.
    pub counts: Vec<Vec<bool>>,
    /// By expression: its values; empty ones where a pass does not need them.
    pub values: Vec<Values>,
}

impl Plan {
    /// Compiles `tags`, all of which look at events.
    pub(crate) fn new(store: &Store, clock: Clock, tags: &[&Tag]) -> Result<Plan> {
        let vocabulary = Vocabulary::of(store)?;
        let mut compiler = Compiler { sql: Sql::new(), vocabulary, slots: Vec::new(), places: HashMap::new() };
        let (mut filters, mut jobs) = (Vec::new(), Vec::new());
        let mut known: HashMap<Over, usize> = HashMap::new();
        for tag in tags {
            let over = tag.over().cloned().unwrap_or_default();
            let filter = match known.get(&over) {
                Some(filter) => *filter,
                None => {
                    let condition = over.condition.as_deref();
                    let condition = condition.map(|text| compiler.slot(tag, text, Want::Mask)).transpose()?;
                    filters.push(Filter { kinds: over.events.clone(), condition, window: over.window });
                    known.insert(over, filters.len() - 1);
                    filters.len() - 1
                }
            };
            jobs.push((filter, compiler.job(tag)?));
        }
        compiler.finish(store, clock, filters, jobs)
    }

    /// Whether something must be known of all users before the values of one can be told.
    pub(crate) fn looks_at_everybody(&self) -> bool {
        self.jobs.iter().any(|(_, job)| matches!(job, Job::Preference { .. } | Job::Edge { text: true, .. }))
    }

    /// The names that the codes of an expression are places of.
    pub(crate) fn names(&self, slot: At) -> &[String] {
        &self.slots[slot].names.names
    }

    /// Expressions whose codes are places among names that only the events tell.
    pub(crate) fn open_names(&self) -> Vec<At> {
        let open = |slot: &Slot| slot.want == Want::Code && slot.of_items.is_none();
        (0..self.slots.len()).filter(|at| open(&self.slots[*at])).collect()
    }

    pub(crate) fn set_names(&mut self, slot: At, names: Names) {
        self.slots[slot].names = names;
    }

    /// The texts of an expression with open names, for the rows of a batch that was read.
    pub(crate) fn texts(&self, slot: At, stored: &RecordBatch) -> Result<arrow::array::ArrayRef> {
        let (batch, _) = self.batch(stored)?;
        let slot = &self.slots[slot];
        slot.expression.texts(&batch).map_err(|error| slot.error(error))
    }

    fn batch(&self, stored: &RecordBatch) -> Result<(RecordBatch, Option<UInt32Array>)> {
        let items = stored.column_by_name("item").filter(|_| self.items.batch.num_columns() > 0);
        let rows = items.map(|items| self.items.rows(items.as_string::<i32>()));
        Ok((self.rows.batch(stored, &self.clock, &self.items, rows.as_ref())?, rows))
    }

    /// Evaluates everything over a batch as it was read.
    pub(crate) fn see(&self, stored: &RecordBatch) -> Result<Seen> {
        let at: Vec<i64> = stored.column(1).as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let days_ago: Vec<i32> = at.iter().map(|at| self.clock.day - self.clock.local_day(*at)).collect();
        let (batch, rows) = self.batch(stored)?;
        let values = self.slots.iter().map(|slot| slot.values(&batch, rows.as_ref())).collect::<Result<Vec<_>>>()?;
        let kinds = stored.column_by_name("kind").map(|kinds| kinds.as_string::<i32>());
        let counts = self.filters.iter().map(|filter| {
            let mut counts: Vec<bool> = at.iter().map(|at| *at < self.clock.end).collect();
            if let (false, Some(kinds)) = (filter.kinds.is_empty(), kinds) {
                let wanted =
                    |row: usize| kinds.is_valid(row) && filter.kinds.iter().any(|kind| kind == kinds.value(row));
                counts.iter_mut().enumerate().for_each(|(row, counts)| *counts = *counts && wanted(row));
            }
            if let Some(condition) = filter.condition {
                let mask = values[condition].mask();
                counts.iter_mut().zip(mask).for_each(|(counts, holds)| *counts &= holds);
            }
            if let Some(Window { from, to }) = filter.window {
                let (from, to) = (from as i32, to as i32);
                counts.iter_mut().zip(&days_ago).for_each(|(counts, days)| *counts &= *days <= from && *days > to);
            }
            counts
        });
        let counts = counts.collect();
        Ok(Seen { at, days_ago, counts, values })
    }
}

impl Slot {
    fn error(&self, source: datafusion::error::DataFusionError) -> Error {
        let what = format!("{}: `{}` of tag `{}`", self.tag.place, self.text, self.tag.name);
        Error::Compute { what, source: Box::new(source) }
    }

    fn values(&self, batch: &RecordBatch, rows: Option<&UInt32Array>) -> Result<Values> {
        let (Some(of_items), Some(rows)) = (&self.of_items, rows) else { return self.evaluate(batch) };
        let row = |at: usize| rows.is_valid(at).then(|| rows.value(at) as usize);
        let all = 0..rows.len();
        Ok(match of_items {
            Values::Mask(values) => Values::Mask(all.map(|at| row(at).is_some_and(|row| values[row])).collect()),
            Values::Number(values) => {
                Values::Number(all.map(|at| row(at).map_or(f64::NAN, |row| values[row])).collect())
            }
            Values::Code(values) => Values::Code(all.map(|at| row(at).map_or(NONE, |row| values[row])).collect()),
            Values::Mark(values) => Values::Mark(all.map(|at| row(at).map_or(0, |row| values[row])).collect()),
        })
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Values> {
        let values = match self.want {
            Want::Mask => self.expression.mask(batch).map(Values::Mask),
            Want::Number => self.expression.numbers(batch).map(Values::Number),
            Want::Code => self.expression.texts(batch).map(|texts| {
                let code = |text: Option<&str>| text.map_or(NONE, |text| self.names.find(text));
                Values::Code(texts.as_string::<i32>().iter().map(code).collect())
            }),
            Want::Mark if self.expression.is_number() => self.expression.numbers(batch).map(|numbers| {
                // No finite number has these bits, so that they can stand for none.
                let mark = |number: f64| if number.is_nan() { 0 } else { number.to_bits() ^ u64::MAX };
                Values::Mark(numbers.into_iter().map(mark).collect())
            }),
            Want::Mark => self.expression.texts(batch).map(|texts| {
                let mark = |text: Option<&str>| text.map_or(0, |text| xxh3_64(text.as_bytes()).max(1));
                Values::Mark(texts.as_string::<i32>().iter().map(mark).collect())
            }),
        };
        values.map_err(|error| self.error(error))
    }
}

/// Collects the expressions of all tags.
struct Compiler {
    sql: Sql,
    vocabulary: Vocabulary,
    slots: Vec<Slot>,
    places: HashMap<(String, Want), At>,
}

impl Compiler {
    fn slot(&mut self, tag: &Tag, text: &str, want: Want) -> Result<At> {
        if let Some(place) = self.places.get(&(text.to_owned(), want)) {
            return Ok(*place);
        }
        let expression = self.compile(tag, text)?;
        if want == Want::Mask && !expression.is_condition() {
            let message = format!("`{text}` gives {}, not true or false", expression.data_type);
            return Err(tag.error(message, Some("compare it with something".to_owned())));
        }
        if want == Want::Number && !expression.is_number() && !expression.is_condition() {
            let message = format!("`{text}` gives {}, not a number", expression.data_type);
            return Err(tag.error(message, Some("text becomes a number through `try_cast(x as double)`".to_owned())));
        }
        let (text, tag) = (text.to_owned(), tag.clone());
        self.places.insert((text.clone(), want), self.slots.len());
        self.slots.push(Slot { want, text, expression, of_items: None, names: Names::default(), tag });
        Ok(self.slots.len() - 1)
    }

    fn compile(&self, tag: &Tag, text: &str) -> Result<Expression> {
        let compiled = self.sql.compile(text, &self.vocabulary.schema);
        compiled.map_err(|error| unreadable(tag, text, &error, &self.vocabulary.schema))
    }

    fn job(&mut self, tag: &Tag) -> Result<Job> {
        Ok(match &tag.body {
            Body::Metric { of, .. } => match of {
                Measure::Count => Job::Count,
                Measure::Recency => Job::Recency,
                Measure::Age => Job::Age,
                Measure::Interval => Job::Interval,
                Measure::Sum(text) => Job::Sum(self.slot(tag, text, Want::Number)?),
                Measure::Mean(text) => Job::Mean(self.slot(tag, text, Want::Number)?),
                Measure::Min(text) => Job::Min(self.slot(tag, text, Want::Number)?),
                Measure::Max(text) => Job::Max(self.slot(tag, text, Want::Number)?),
                Measure::Distinct(text) => Job::Distinct(self.slot(tag, text, Want::Mark)?),
                Measure::Share(text) => Job::Share(self.slot(tag, text, Want::Mask)?),
                Measure::Ratio(above, below) => {
                    Job::Ratio(self.slot(tag, above, Want::Number)?, self.slot(tag, below, Want::Number)?)
                }
            },
            Body::FirstLast { last, value, .. } => {
                let text = !self.compile(tag, value)?.is_number();
                let want = if text { Want::Code } else { Want::Number };
                Job::Edge { last: *last, value: self.slot(tag, value, want)?, text }
            }
            Body::Preference { by, weight, top, rank, min_share, min_affinity, .. } => Job::Preference {
                by: self.slot(tag, by, Want::Code)?,
                weight: weight.as_deref().map(|text| self.slot(tag, text, Want::Number)).transpose()?,
                top: *top,
                rank: *rank,
                min_share: *min_share,
                min_affinity: *min_affinity,
                prior: tag.prior,
            },
            Body::Sequence { steps, within, .. } => Job::Sequence {
                steps: steps.iter().map(|(_, text)| self.slot(tag, text, Want::Mask)).collect::<Result<_>>()?,
                names: steps.iter().map(|(name, _)| name.clone()).collect(),
                within: *within,
            },
            Body::Lifecycle { windows, .. } => Job::Lifecycle { windows: *windows },
            _ => return Err(tag.error(format!("a tag of kind `{}` does not look at events", tag.kind()), None)),
        })
    }

    fn finish(mut self, store: &Store, clock: Clock, filters: Vec<Filter>, jobs: Vec<(usize, Job)>) -> Result<Plan> {
        let vocabulary = &self.vocabulary;
        let all: BTreeSet<String> = self.slots.iter().flat_map(|slot| slot.expression.columns.clone()).collect();
        let items = Items::read(store, vocabulary, &all)?;
        let fixed: Vec<bool> = self.slots.iter().map(|slot| vocabulary.is_of_item(&slot.expression.columns)).collect();
        let moving = self.slots.iter().zip(&fixed).filter(|(_, fixed)| !**fixed);
        let used: BTreeSet<String> = moving.flat_map(|(slot, _)| slot.expression.columns.clone()).collect();
        let rows = Rows::new(vocabulary, &used, items.batch.num_columns() > 0);
        for (slot, fixed) in self.slots.iter_mut().zip(fixed) {
            let schema = if fixed { items.batch.schema() } else { rows.schema.clone() };
            let compiled = self.sql.compile(&slot.text, &schema);
            slot.expression = compiled.map_err(|error| unreadable(&slot.tag, &slot.text, &error, &schema))?;
            if fixed {
                if slot.want == Want::Code {
                    let texts = slot.expression.texts(&items.batch).map_err(|error| slot.error(error))?;
                    slot.names.extend(texts.as_string::<i32>().iter().flatten());
                    slot.names = std::mem::take(&mut slot.names).sorted();
                }
                slot.of_items = Some(slot.evaluate(&items.batch)?);
            }
        }
        Ok(Plan { clock, rows, items, slots: self.slots, filters, jobs })
    }
}

/// The error of an expression that is no SQL, or names what there is not.
pub(crate) fn unreadable(
    tag: &Tag,
    text: &str,
    error: &datafusion::error::DataFusionError,
    schema: &arrow::datatypes::Schema,
) -> Error {
    let said = error.strip_backtrace();
    // The engine lists all columns after its first sentence.
    let first = said.lines().next().unwrap_or_default();
    let first =
        first.split(". Valid fields are").next().unwrap_or_default().split(".\nValid").next().unwrap_or_default();
    let word = first.split("No field named ").nth(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && !"_\"".contains(letter)).unwrap_or(rest.len());
        rest[..end].trim_matches('"').to_owned()
    });
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    let hint = word.map(|word| match lookalike_store::nearest(&word, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the columns are {}", lookalike_store::listed(&names)),
    });
    tag.error(format!("`{text}`: {}", first.trim_end_matches('.')), hint)
}
