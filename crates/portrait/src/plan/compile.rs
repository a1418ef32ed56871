//! Collects the expressions of all tags.

use std::collections::{BTreeSet, HashMap};

use arrow::array::AsArray;
use lookalike_store::Store;

use super::{At, Filter, Job, Plan, Slot, Want};
use crate::clock::Clock;
use crate::column::Names;
use crate::error::Result;
use crate::forecast::Forecast;
use crate::opinion::{Lesson, Sentiment};
use crate::rows::{Items, Rows, Vocabulary, Way};
use crate::sql::{Expression, Sql, unreadable};
use crate::tag::{Body, Measure, Over, Tag};

/// Collects the expressions of all tags.
pub(super) struct Compiler {
    sql: Sql,
    vocabulary: Vocabulary,
    slots: Vec<Slot>,
    places: HashMap<(String, Want), At>,
    filters: Vec<Filter>,
    known: HashMap<Over, usize>,
    lessons: Vec<Lesson>,
}

impl Compiler {
    pub(super) fn new(vocabulary: Vocabulary) -> Compiler {
        let (slots, filters, lessons) = (Vec::new(), Vec::new(), Vec::new());
        let (places, known) = (HashMap::new(), HashMap::new());
        Compiler { sql: Sql::new(), vocabulary, slots, places, filters, known, lessons }
    }

    pub(super) fn filter(&mut self, tag: &Tag, over: Over) -> Result<usize> {
        if let Some(filter) = self.known.get(&over) {
            return Ok(*filter);
        }
        let condition = over.condition.as_deref().map(|text| self.slot(tag, text, Want::Mask)).transpose()?;
        self.filters.push(Filter { kinds: over.events.clone(), condition, window: over.window });
        self.known.insert(over, self.filters.len() - 1);
        Ok(self.filters.len() - 1)
    }

    /// The scores of a text; tags that learn from the same events share them.
    fn content(&mut self, tag: &Tag, of: Sentiment) -> Result<At> {
        if let Some(lesson) = self.lessons.iter().find(|lesson| lesson.of == of) {
            return Ok(lesson.score);
        }
        let kind = self.compile(tag, &of.text)?.data_type;
        if !kind.is_string() {
            let hint = "name a column of texts, or make one with `cast(x as varchar)`".to_owned();
            return Err(tag.error(format!("`{}` gives {kind}, not text", of.text), Some(hint)));
        }
        let text = self.slot(tag, &of.text, Want::Code)?;
        let rating = of.rating.as_deref().map(|rating| self.slot(tag, rating, Want::Number)).transpose()?;
        let filter = self.filter(tag, of.over.clone())?;
        // Not among those that are looked up by their text: what scores it is of this lesson.
        self.places.remove(&(of.text.clone(), Want::Content));
        let score = self.slot(tag, &of.text, Want::Content)?;
        self.lessons.push(Lesson { of, score, text, rating, filter, learned: None });
        Ok(score)
    }

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
        let way = match self.vocabulary.way(&expression.columns) {
            // Items are gone over before anything is learned.
            Way::Items if want == Want::Content => Way::Rows,
            way => way,
        };
        let schema = self.vocabulary.narrowed(&expression.columns);
        self.slots.push(Slot { want, text, expression, schema, way, of_items: None, names: None, reader: None, tag });
        Ok(self.slots.len() - 1)
    }

    fn compile(&self, tag: &Tag, text: &str) -> Result<Expression> {
        let compiled = self.sql.compile(text, &self.vocabulary.schema);
        compiled.map_err(|error| unreadable(tag, text, &error, &self.vocabulary.schema))
    }

    pub(super) fn job(&mut self, tag: &Tag) -> Result<Job> {
        Ok(match &tag.body {
            Body::Metric { of, .. } => match of {
                Measure::Count => Job::Count,
                Measure::Recency => Job::Recency,
                Measure::Age => Job::Age,
                Measure::Interval => Job::Interval,
                Measure::Opening(text) => Job::Opening(self.slot(tag, text, Want::Number)?),
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
            Body::Sentiment(sentiment) => Job::Mean(self.content(tag, sentiment.lesson())?),
            Body::Model { model: Forecast::Repurchase { by, least, top, horizon }, .. } => Job::Repurchase {
                by: self.slot(tag, by, Want::Code)?,
                least: *least,
                top: *top,
                horizon: *horizon,
                prior: tag.prior,
            },
            // What these are fitted on are tags of their own; of the model itself only its events are looked at.
            Body::Model { .. } => Job::Count,
            _ => return Err(tag.error(format!("a tag of kind `{}` does not look at events", tag.kind()), None)),
        })
    }

    pub(super) fn finish(mut self, store: &Store, clock: Clock, jobs: Vec<(usize, Job)>) -> Result<Plan> {
        let vocabulary = &self.vocabulary;
        let all: BTreeSet<String> = self.slots.iter().flat_map(|slot| slot.expression.columns.clone()).collect();
        let items = Items::read(store, vocabulary, &all)?;
        for slot in &mut self.slots {
            let schema = if slot.way == Way::Items { items.batch.schema() } else { slot.schema.clone() };
            let compiled = self.sql.compile(&slot.text, &schema);
            slot.expression = compiled.map_err(|error| unreadable(&slot.tag, &slot.text, &error, &schema))?;
            if slot.way == Way::Items {
                if slot.want == Want::Code {
                    let texts = slot.expression.texts(&items.batch).map_err(|error| slot.error(error))?;
                    let mut names = Names::default();
                    names.extend(texts.as_string::<i32>().iter().flatten());
                    slot.names = Some(names.sorted());
                }
                slot.of_items = Some(slot.evaluate(&items.batch, &mut Names::default())?);
            }
        }
        let rows = Rows::new(&BTreeSet::new(), false, false);
        let (slots, filters, lessons) = (self.slots, self.filters, self.lessons);
        let mut plan = Plan { clock, rows, items, slots, filters, jobs, lessons };
        plan.rows = plan.everything().rows;
        Ok(plan)
    }
}
