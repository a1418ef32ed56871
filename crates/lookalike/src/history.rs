//! Histories from a file, of users (or items) who were not in training, as rows of a bundle.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::path::Path;

use arrow::array::Array;
use lookalike_bundle::{Matrix, Row, Vocab};
use lookalike_retrieve::Folding;
use lookalike_store::{Events, read_history};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::run;

/// Ids of a kind that a line of text lists at most.
const LISTED: usize = 10;

/// What a file says of some users `W` by the items `R` they had (or of items by their users).
pub struct Histories<W: Row, R: Row> {
    /// Those of whom something is known, in the order in which the file names them.
    pub known: Vec<Known<R>>,
    /// Ids of those who had nothing that is known.
    nothing: Vec<String>,
    /// Ids that the bundle does not know, with how many events name them.
    unknown: BTreeMap<String, u64>,
    whose: PhantomData<W>,
}

/// One user (or item) and what is known of them.
pub struct Known<R: Row> {
    /// Absent where the file has no column for it: then all its lines are about one.
    pub id: Option<String>,
    /// What they had, ascending.
    pub rows: Vec<R>,
    /// The summed weights of the events.
    pub weights: Vec<f32>,
}

impl<R: Row> Known<R> {
    /// The rows as numbers.
    pub fn numbers(&self) -> Vec<u32> {
        self.rows.iter().map(|row| row.get()).collect()
    }

    /// What to call them.
    pub fn name(&self) -> &str {
        self.id.as_deref().unwrap_or("without a name")
    }
}

impl<W: Row, R: Row> Histories<W, R> {
    /// Reads a file with a column for what was had and, where there are such, for who had it and the weight. What
    /// `before` says of those who are known already is added to what the file says.
    pub fn read(file: &Path, vocab: &Vocab<R>, before: impl Fn(&str) -> Vec<(R, f32)>) -> Result<Self, Failure> {
        let mut unknown = BTreeMap::new();
        let mut places = HashMap::new();
        let mut found: Vec<(Option<String>, BTreeMap<R, f64>)> = Vec::new();
        for batch in read_history(file, W::NOUN, R::NOUN)? {
            let Events { whose, what, weight } = batch?;
            for line in 0..what.len() {
                let id = whose.as_ref().map(|ids| ids.value(line).to_owned());
                let place = *places.entry(id).or_insert_with_key(|id| {
                    found.push((id.clone(), BTreeMap::new()));
                    found.len() - 1
                });
                let weight = weight.as_ref().filter(|weights| weights.is_valid(line)).map_or(1.0, |w| w.value(line));
                match vocab.row(what.value(line)) {
                    Some(row) => *found[place].1.entry(row).or_insert(0.0) += weight,
                    None => *unknown.entry(what.value(line).to_owned()).or_insert(0) += 1,
                }
            }
        }
        let (mut known, mut nothing) = (Vec::new(), Vec::new());
        for (id, mut had) in found {
            if had.is_empty() {
                nothing.extend(id);
                continue;
            }
            for (row, weight) in id.as_deref().map(&before).unwrap_or_default() {
                *had.entry(row).or_insert(0.0) += f64::from(weight);
            }
            let (rows, weights) = had.into_iter().map(|(row, weight)| (row, weight as f32)).unzip();
            known.push(Known { id, rows, weights });
        }
        if known.is_empty() {
            let message = format!("`{}` names no {} that this run was trained on", file.display(), R::NOUN);
            return Err(run::with_examples(Failure::new(message), R::NOUN, vocab.ids()));
        }
        Ok(Self { known, nothing, unknown, whose: PhantomData })
    }

    /// A vector for each of the known, one per row.
    pub fn fold(&self, folding: &Folding<'_, R>) -> Result<Matrix, Failure> {
        let vector = |known: &Known<R>| {
            let named = |error| Failure::from(error).after(&format!("{} {}", W::NOUN, known.name()));
            folding.vector(&known.rows, &known.weights).map_err(named)
        };
        let vectors = self.known.par_iter().map(vector).collect::<Result<Vec<_>, Failure>>()?;
        let mut matrix = Matrix::zeros(vectors.len(), vectors.first().map_or(0, Vec::len));
        vectors.iter().enumerate().for_each(|(at, vector)| matrix.row_mut(at).copy_from_slice(vector));
        Ok(matrix)
    }

    /// What was left out, a line each.
    pub fn left_out(&self) -> Vec<String> {
        let (whose, what) = (W::NOUN, R::NOUN);
        let listed = |ids: Vec<&String>| {
            let more = if ids.len() > LISTED { format!(" and {} more", ids.len() - LISTED) } else { String::new() };
            ids.iter().take(LISTED).map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ") + &more
        };
        let mut lines = Vec::new();
        if !self.unknown.is_empty() {
            let (events, ids) = (self.unknown.values().sum::<u64>(), listed(self.unknown.keys().collect()));
            lines.push(format!("left out: {events} events that name unknown {what}s: {ids}"));
        }
        if !self.nothing.is_empty() {
            let (count, ids) = (self.nothing.len(), listed(self.nothing.iter().collect()));
            lines.push(format!("left out: {count} {whose}s with no known {what}: {ids}"));
        }
        lines
    }

    /// The same for programs: events by unknown id, and ids without anything known.
    pub fn left_out_json(&self) -> Value {
        json!({ "unknown": self.unknown, "nothing_known": self.nothing })
    }
}
