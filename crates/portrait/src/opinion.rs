//! Tags of kind `sentiment`: how they are declared, and what the texts of everybody teach before one is scored.

use lookalike_store::Store;
use lookalike_store::settings::Section;
use serde::Serialize;

use crate::error::Result;
use crate::pass::in_order;
use crate::plan::{At, Plan};
use crate::sentiment::{Learned, Rated, Reader, keep};
use crate::tag::{Over, optional_text, over};

/// How content the user's texts are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sentiment {
    /// The expression that gives the text.
    pub text: String,
    /// The expression that gives its rating, where there are ratings to learn from.
    pub rating: Option<String>,
    /// Ratings from here on are good.
    pub positive: f64,
    /// Ratings up to here are bad.
    pub negative: f64,
    /// Which events. All days up to the one that is looked from teach, whatever the window.
    pub over: Over,
}

impl Sentiment {
    pub(crate) fn read(typed: &mut Section<'_>) -> Result<Sentiment> {
        let text = optional_text(typed.take("text"))?.unwrap_or_else(|| "text".to_owned());
        let rating = optional_text(typed.take("rating"))?;
        let negative = typed.take("negative").map(|entry| entry.finite()).transpose()?.unwrap_or(2.0);
        let limit = typed.take("positive");
        let positive = limit.as_ref().map(|entry| entry.finite()).transpose()?.unwrap_or(4.0);
        if let Some(entry) = limit.filter(|_| positive <= negative) {
            return Err(entry.error(format_args!("is {positive}, which is not above `negative` ({negative})")).into());
        }
        Ok(Sentiment { text, rating, positive, negative, over: over(typed)? })
    }

    /// What decides on what is learned: everything but the window.
    pub(crate) fn lesson(&self) -> Sentiment {
        Sentiment { over: Over { window: None, ..self.over.clone() }, ..self.clone() }
    }
}

/// What is learned before texts are scored.
pub(crate) struct Lesson {
    /// The declaration, without a window.
    pub of: Sentiment,
    /// The scores of the texts.
    pub score: At,
    /// The texts themselves, and their ratings.
    pub text: At,
    pub rating: Option<At>,
    /// The events that teach.
    pub filter: usize,
    /// What came of it; nothing where there are no ratings.
    pub learned: Option<Learned>,
}

/// Lets every lesson of the plan learn from the rated texts of all users, and takes in what scores texts from then on.
pub(crate) fn learn(store: &Store, plan: &mut Plan) -> Result<()> {
    if plan.lessons.is_empty() {
        return Ok(());
    }
    let groups = store.group_ends()?.len();
    let part = plan.taught();
    let rated = |group: usize| -> Result<Vec<Vec<Rated>>> {
        let mut memory = plan.memory();
        let mut rated: Vec<Vec<Rated>> = vec![Vec::new(); plan.lessons.len()];
        for batch in store.scan_coded(&part.rows.read, group..group + 1)? {
            let seen = plan.look(&batch?, &part, &mut memory)?;
            for (lesson, rated) in plan.lessons.iter().zip(&mut rated) {
                let Some(rating) = lesson.rating else { continue };
                let (ratings, codes) = (seen.values[rating].numbers(), seen.values[lesson.text].codes());
                let names = plan.known_names(lesson.text).unwrap_or(&memory.names[lesson.text].names);
                for (row, _) in seen.counts[lesson.filter].iter().enumerate().filter(|(_, counts)| **counts) {
                    let Some(text) = names.get(codes[row] as usize) else { continue };
                    match ratings[row] {
                        rating if rating >= lesson.of.positive => rated.push((text.clone(), true)),
                        rating if rating <= lesson.of.negative => rated.push((text.clone(), false)),
                        _ => {}
                    }
                }
                keep(rated);
            }
        }
        Ok(rated)
    };
    let mut all: Vec<Vec<Rated>> = vec![Vec::new(); plan.lessons.len()];
    in_order(groups, rated, |parts| {
        for (all, part) in all.iter_mut().zip(parts) {
            all.extend(part);
            keep(all);
        }
    })?;
    for (at, texts) in all.into_iter().enumerate() {
        let (reader, learned) = match plan.lessons[at].rating {
            Some(_) => {
                let (reader, learned) = Reader::learn(texts);
                (reader, Some(learned))
            }
            None => (Reader::untaught(), None),
        };
        plan.lessons[at].learned = learned;
        plan.set_reader(plan.lessons[at].score, reader);
    }
    Ok(())
}
