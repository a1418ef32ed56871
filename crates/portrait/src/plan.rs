//! From tags to a plan: every expression compiled once, however many tags use it, and what of the store is read.

mod compile;

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use lookalike_store::Store;
use twox_hash::XxHash3_64;

use crate::clock::Clock;
use crate::column::{NONE, Names};
use crate::error::{Error, Result};
use crate::opinion::Lesson;
use crate::rows::{Batch, ItemRows, Items, Rows, Text, Vocabulary, Way, all_days, all_hours, all_texts, same};
use crate::segment::lifecycle::Windows;
use crate::sentiment::{Learned, Reader};
use crate::sql::Expression;
use crate::tag::{Rank, Tag, Window};
use compile::Compiler;

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
    /// Numbers: how content the text is.
    Content,
}

/// An expression and what was wanted of it.
struct Slot {
    want: Want,
    text: String,
    expression: Expression,
    /// The columns it looks at.
    schema: SchemaRef,
    /// How often it is evaluated.
    way: Way,
    /// Its values for the items and for no item, where it is the same for every event of an item.
    of_items: Option<Values>,
    /// The names that codes are places of; `None` as long as they are not known, and found on the way.
    names: Option<Names>,
    /// What scores its texts, once there is one.
    reader: Option<Reader>,
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
    /// The values at these places of this table.
    fn at(&self, places: impl Iterator<Item = usize>) -> Values {
        match self {
            Values::Mask(table) => Values::Mask(places.map(|place| table[place]).collect()),
            Values::Number(table) => Values::Number(places.map(|place| table[place]).collect()),
            Values::Code(table) => Values::Code(places.map(|place| table[place]).collect()),
            Values::Mark(table) => Values::Mark(places.map(|place| table[place]).collect()),
        }
    }

    /// The values for items in these rows of the table of items; `NONE` is an item that is not there, of which the
    /// last row says what it comes to.
    fn of_known(&self, rows: &[u32]) -> Values {
        let none = self.len().saturating_sub(1);
        self.at(rows.iter().map(|row| if *row == NONE { none } else { *row as usize }))
    }

    fn len(&self) -> usize {
        match self {
            Values::Mask(values) => values.len(),
            Values::Number(values) => values.len(),
            Values::Code(values) => values.len(),
            Values::Mark(values) => values.len(),
        }
    }

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
    Opening(At),
    Edge { last: bool, value: At, text: bool },
    Preference { by: At, weight: Option<At>, top: usize, rank: Rank, min_share: f64, min_affinity: f64, prior: f64 },
    Sequence { steps: Vec<At>, names: Vec<String>, within: i64 },
    Lifecycle { windows: Windows },
    Repurchase { by: At, least: u32, top: usize, horizon: u32, prior: f64 },
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
    /// What is learned first.
    pub lessons: Vec<Lesson>,
}

/// What some of the jobs need.
pub(crate) struct Part {
    /// The jobs.
    pub jobs: Vec<usize>,
    /// What of the events is read for them.
    pub rows: Rows,
    slots: Vec<bool>,
    filters: Vec<bool>,
}

/// What a worker remembers from batch to batch: values of expressions that come again.
pub(crate) struct Memory {
    memos: Vec<Memo>,
    items: ItemRows,
    /// By expression: the names it met, where they are not known before.
    pub names: Vec<Names>,
}

/// A table of values of an expression.
enum Memo {
    Nothing,
    /// A value a text, and one where there is none.
    Texts(StringArray, Values),
    /// A value a day, from this one on.
    Days(i32, Values),
    Hours(Values),
}

/// More days than these are not looked up in a table: there is something wrong with one of them.
const MOST_DAYS: i32 = 1 << 16;

/// A batch of events with everything the jobs look at.
pub(crate) struct Seen {
    /// Microseconds since 1970.
    pub at: Vec<i64>,
    /// Days from the event to the day that is looked from.
    pub days_ago: Vec<i32>,
    /// Ids of the users.
    pub users: Text,
    /// By filter: which rows count.
    pub counts: Vec<Vec<bool>>,
    /// By expression: its values; empty ones where a pass does not need them.
    pub values: Vec<Values>,
}

impl Plan {
    /// Compiles `tags`, all of which look at events.
    pub(crate) fn new(store: &Store, clock: Clock, tags: &[&Tag]) -> Result<Plan> {
        let vocabulary = Vocabulary::of(store)?;
        let mut compiler = Compiler::new(vocabulary);
        let mut jobs = Vec::new();
        for tag in tags {
            let over = tag.over().cloned().unwrap_or_default();
            jobs.push((compiler.filter(tag, over)?, compiler.job(tag)?));
        }
        compiler.finish(store, clock, jobs)
    }

    /// What all jobs need.
    pub(crate) fn everything(&self) -> Part {
        self.part((0..self.jobs.len()).collect())
    }

    /// What the jobs need that compare users with each other: of these, something must be known of all users before
    /// the values of one can be told.
    pub(crate) fn comparisons(&self) -> Part {
        let compares = |job: &usize| matches!(self.jobs[*job].1, Job::Preference { .. });
        self.part((0..self.jobs.len()).filter(compares).collect())
    }

    /// What the jobs need that compare how long users take from one purchase to the next.
    pub(crate) fn cycles(&self) -> Part {
        let compares = |job: &usize| matches!(self.jobs[*job].1, Job::Repurchase { .. });
        self.part((0..self.jobs.len()).filter(compares).collect())
    }

    fn part(&self, jobs: Vec<usize>) -> Part {
        let of = |job: &usize| (self.jobs[*job].0, self.jobs[*job].1.slots());
        let needs = jobs.iter().map(of).collect();
        Part { jobs, ..self.needs(needs) }
    }

    /// What lessons need.
    pub(crate) fn taught(&self) -> Part {
        let rated = self.lessons.iter().filter_map(|lesson| Some((lesson, lesson.rating?)));
        self.needs(rated.map(|(lesson, rating)| (lesson.filter, vec![lesson.text, rating])).collect())
    }

    fn needs(&self, needs: Vec<(usize, Vec<At>)>) -> Part {
        let (mut slots, mut filters) = (vec![false; self.slots.len()], vec![false; self.filters.len()]);
        for (filter, own) in needs {
            filters[filter] = true;
            own.into_iter().for_each(|slot| slots[slot] = true);
        }
        let own = || self.filters.iter().zip(&filters).filter(|(_, own)| **own).map(|(filter, _)| filter);
        own().filter_map(|filter| filter.condition).for_each(|slot| slots[slot] = true);
        let kind = own().any(|filter| !filter.kinds.is_empty());
        let (mut used, mut item) = (BTreeSet::new(), false);
        for (slot, _) in self.slots.iter().zip(&slots).filter(|(_, own)| **own) {
            used.extend(slot.expression.columns.iter().cloned());
            item |= slot.expression.columns.iter().any(|name| self.items.batch.column_by_name(name).is_some());
        }
        Part { jobs: Vec::new(), rows: Rows::new(&used, item, kind), slots, filters }
    }

    /// The names that the codes of an expression are places of; none if they are found on the way.
    pub(crate) fn names(&self, slot: At) -> &[String] {
        self.slots[slot].names.as_ref().map_or(&[], |names| &names.names)
    }

    /// Whether names of an expression are not known before the events are read.
    pub(crate) fn is_open(&self, slot: At) -> bool {
        self.slots[slot].names.is_none()
    }

    pub(crate) fn set_names(&mut self, slot: At, names: Names) {
        self.slots[slot].names = Some(names);
    }

    /// The names of an expression, where they are known before the events are read.
    pub(crate) fn known_names(&self, slot: At) -> Option<&Vec<String>> {
        self.slots[slot].names.as_ref().map(|names| &names.names)
    }

    pub(crate) fn set_reader(&mut self, slot: At, reader: Reader) {
        self.slots[slot].reader = Some(reader);
    }

    /// What a job learned from ratings, if it did.
    pub(crate) fn learned(&self, job: &Job) -> Option<Learned> {
        let Job::Mean(score) = job else { return None };
        self.lessons.iter().find(|lesson| lesson.score == *score).and_then(|lesson| lesson.learned.clone())
    }

    /// What a worker begins with.
    pub(crate) fn memory(&self) -> Memory {
        let memos = self.slots.iter().map(|_| Memo::Nothing).collect();
        Memory { memos, items: ItemRows::default(), names: vec![Names::default(); self.slots.len()] }
    }

    /// Evaluates everything over a batch as it was read.
    pub(crate) fn see(&self, stored: &RecordBatch) -> Result<Seen> {
        self.look(stored, &self.everything(), &mut self.memory())
    }

    /// Evaluates over a batch, as it was read, what a part of the jobs needs.
    pub(crate) fn look(&self, stored: &RecordBatch, part: &Part, memory: &mut Memory) -> Result<Seen> {
        let batch = Batch::new(stored, &self.clock, &self.items, &mut memory.items)?;
        let mut values = Vec::with_capacity(self.slots.len());
        for (at, slot) in self.slots.iter().enumerate() {
            values.push(match part.slots[at] {
                true => slot.values(&batch, self, &mut memory.memos[at], &mut memory.names[at])?,
                false => Values::Mask(Vec::new()),
            });
        }
        let days_ago: Vec<i32> = batch.days.iter().map(|day| self.clock.day - day).collect();
        let counts = self.filters.iter().zip(&part.filters).map(|(filter, own)| {
            if !own {
                return Vec::new();
            }
            let mut counts: Vec<bool> = batch.at.iter().map(|at| *at < self.clock.end).collect();
            if let (false, Some(kinds)) = (filter.kinds.is_empty(), batch.text("kind")) {
                let wanted = |kind: Option<&str>| kind.is_some_and(|kind| filter.kinds.iter().any(|own| own == kind));
                let wanted: Vec<bool> = kinds.texts.iter().chain([None]).map(wanted).collect();
                counts.iter_mut().zip(&kinds.places).for_each(|(counts, kind)| *counts &= wanted[*kind as usize]);
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
        let users = match batch.text("user") {
            Some(users) => users.clone(),
            None => Text::of(stored.column(0))?,
        };
        Ok(Seen { at: batch.at, days_ago, users, counts, values })
    }
}

impl Job {
    /// The expressions it looks at.
    fn slots(&self) -> Vec<At> {
        match self {
            Job::Count | Job::Recency | Job::Age | Job::Interval | Job::Lifecycle { .. } => Vec::new(),
            Job::Sum(at)
            | Job::Mean(at)
            | Job::Min(at)
            | Job::Max(at)
            | Job::Distinct(at)
            | Job::Share(at)
            | Job::Opening(at) => vec![*at],
            Job::Repurchase { by, .. } => vec![*by],
            Job::Ratio(above, below) => vec![*above, *below],
            Job::Edge { value, .. } => vec![*value],
            Job::Preference { by, weight, .. } => [*by].into_iter().chain(*weight).collect(),
            Job::Sequence { steps, .. } => steps.clone(),
        }
    }
}

impl Slot {
    fn error(&self, source: datafusion::error::DataFusionError) -> Error {
        let what = format!("{}: `{}` of tag `{}`", self.tag.place, self.text, self.tag.name);
        Error::Compute { what, source: Box::new(source) }
    }

    /// The values for the rows of a batch.
    fn values(&self, batch: &Batch<'_>, plan: &Plan, memo: &mut Memo, names: &mut Names) -> Result<Values> {
        if self.way == Way::Rows {
            return self.evaluate(&batch.rows(&self.schema, None)?, names);
        }
        // A table may ask for more than the rows hold, such as days on which nothing happened. Where it cannot be made,
        // the rows decide whether that is an error.
        if self.way != Way::Runs
            && let Ok(Some(values)) = self.looked_up(batch, plan, memo, names)
        {
            return Ok(values);
        }
        let (firsts, runs) = batch.runs(&self.schema);
        let values = self.evaluate(&batch.rows(&self.schema, Some(&firsts))?, names)?;
        Ok(values.at(runs.iter().map(|run| *run as usize)))
    }

    /// The values for the rows of a batch from a table that is made once; `None` if there is none to make.
    fn looked_up(&self, batch: &Batch<'_>, plan: &Plan, memo: &mut Memo, names: &mut Names) -> Result<Option<Values>> {
        match &self.way {
            Way::Days => {
                let (Some(first), Some(last)) = (batch.days.iter().min(), batch.days.iter().max()) else {
                    return Ok(None);
                };
                let known = match &*memo {
                    Memo::Days(from, values) => Some((*from, *from + values.len() as i32 - 1)),
                    _ => None,
                };
                let (first, last) = known.map_or((*first, *last), |(from, to)| (from.min(*first), to.max(*last)));
                if last.saturating_sub(first) >= MOST_DAYS {
                    return Ok(None);
                }
                if known != Some((first, last)) {
                    let days = all_days(&self.schema, first, last, &plan.clock)?;
                    *memo = Memo::Days(first, self.evaluate(&days, names)?);
                }
                let Memo::Days(from, table) = &*memo else { return Ok(None) };
                Ok(Some(table.at(batch.days.iter().map(|day| (day - from) as usize))))
            }
            Way::Hours => {
                if !matches!(memo, Memo::Hours(_)) {
                    *memo = Memo::Hours(self.evaluate(&all_hours(&self.schema)?, names)?);
                }
                let Memo::Hours(table) = &*memo else { return Ok(None) };
                Ok(Some(table.at(batch.hours().iter().map(|hour| *hour as usize))))
            }
            Way::Texts(_) | Way::Items => {
                let column = if let Way::Texts(column) = &self.way { column.as_str() } else { "item" };
                let Some(text) = batch.text(column) else { return Ok(None) };
                if !matches!(memo, Memo::Texts(known, _) if same(known, &text.texts)) {
                    let table = match &self.of_items {
                        Some(of_items) => of_items.of_known(batch.known_items()),
                        None => self.evaluate(&all_texts(&self.schema, &text.texts)?, names)?,
                    };
                    *memo = Memo::Texts(text.texts.clone(), table);
                }
                let Memo::Texts(_, table) = &*memo else { return Ok(None) };
                Ok(Some(table.at(text.places.iter().map(|place| *place as usize))))
            }
            Way::Runs | Way::Rows => Ok(None),
        }
    }

    /// Evaluates it; names that are not known before are taken up in `met`.
    fn evaluate(&self, batch: &RecordBatch, met: &mut Names) -> Result<Values> {
        let values = match self.want {
            Want::Mask => self.expression.mask(batch).map(Values::Mask),
            Want::Number => self.expression.numbers(batch).map(Values::Number),
            Want::Code => self.expression.texts(batch).map(|texts| {
                let mut code =
                    |text: &str| self.names.as_ref().map_or_else(|| met.code(text), |names| names.find(text));
                Values::Code(texts.as_string::<i32>().iter().map(|text| text.map_or(NONE, &mut code)).collect())
            }),
            Want::Content => self.expression.texts(batch).map(|texts| {
                let score = |text: Option<&str>| self.reader.as_ref()?.sentiment(text?);
                Values::Number(texts.as_string::<i32>().iter().map(|text| score(text).unwrap_or(f64::NAN)).collect())
            }),
            Want::Mark if self.expression.is_number() => self.expression.numbers(batch).map(|numbers| {
                // No finite number has these bits, so that they can stand for none.
                let mark = |number: f64| if number.is_nan() { 0 } else { number.to_bits() ^ u64::MAX };
                Values::Mark(numbers.into_iter().map(mark).collect())
            }),
            Want::Mark => self.expression.texts(batch).map(|texts| {
                let mark = |text: Option<&str>| text.map_or(0, |text| XxHash3_64::oneshot(text.as_bytes()).max(1));
                Values::Mark(texts.as_string::<i32>().iter().map(mark).collect())
            }),
        };
        values.map_err(|error| self.error(error))
    }
}
