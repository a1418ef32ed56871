//! Tags of what a model learned: users in groups by the vectors that a run gave them.
//!
//! The vectors are those of one run, told by their hash. What a run learned from ends on a day, and a profile of an earlier
//! day would know what came later through them; there the tag is left out. Nothing of a user enters who does not allow the
//! purpose of the tag.

use std::collections::HashSet;
use std::path::Path;

use jiff::civil::Date;
use lookalike_bundle::{Bundle, Row};
use lookalike_store::settings::{Entry, Section};

use crate::column::{Column, NONE, Values};
use crate::error::Result;
use crate::partition;
use crate::segment::cluster::place;
use crate::tag::{Body, Tag, Value};

/// The vectors of users that a run learned, at length 1.
pub struct Vectors {
    bundle: Bundle,
    dim: usize,
    /// Hash of the vectors.
    pub hash: String,
    /// The day whose events, and later ones, the run did not learn from; `None` if that is not known of it.
    pub before: Option<Date>,
}

impl Vectors {
    /// Reads those of a run, whose folder is given from the project's on. An error in words, with a hint.
    pub fn read(project: &Path, run: &str) -> std::result::Result<Vectors, (String, Option<String>)> {
        let bundle = Bundle::read(&project.join(run).join("bundle"));
        let bundle = bundle.map_err(|error| (error.to_string(), error.hint()))?;
        let before = bundle.manifest.learned_before.as_deref().and_then(|text| text.parse().ok());
        let Some(users) = bundle.learned.users() else {
            let hint = "take a run of a model with embeddings, such as `ials` or `two-tower`";
            return Err((format!("`{run}` has no vectors of users"), Some(hint.to_owned())));
        };
        let mut hasher = blake3::Hasher::new();
        bundle.users.ids().iter().for_each(|id| {
            hasher.update(id.as_bytes()).update(b"\n");
        });
        users.data().iter().for_each(|number| {
            hasher.update(&number.to_le_bytes());
        });
        let (dim, hash) = (users.cols(), hasher.finalize().to_hex().to_string());
        Ok(Vectors { dim, hash, before, bundle })
    }

    /// Those that a tag reads on a day, or why there are none then. A run that has others is an error of the tag.
    pub(crate) fn of_tag(
        tag: &Tag,
        project: &Path,
        (run, hash): (&str, &str),
        date: Date,
    ) -> Result<std::result::Result<Vectors, String>> {
        let vectors = Vectors::read(project, run).map_err(|(message, hint)| tag.error(message, hint))?;
        if vectors.hash != hash {
            let hint = format!("`lookalike segment fit {} --run {run}` fits it to what the run is now", tag.name);
            return Err(
                tag.error(format!("`{run}` has other vectors than those that the tag was made for"), Some(hint))
            );
        }
        Ok(match vectors.before {
            None => Err(format!("of `{run}` it is not known up to which day it learned")),
            Some(before) if before > date => Err(format!("`{run}` learned from events up to {before}")),
            Some(_) => Ok(vectors),
        })
    }

    /// Numbers a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Places among `users`, sorted, of those that the run knows and who had something; and their vectors, row after row.
    pub fn of(&self, users: &[String]) -> (Vec<u32>, Vec<f64>) {
        let (mut places, mut numbers) = (Vec::new(), Vec::new());
        for (place, user) in (0..).zip(users) {
            if let Some((vector, _)) = self.vector(user) {
                places.push(place);
                numbers.extend(vector);
            }
        }
        (places, numbers)
    }

    /// The mean of the vectors of items, each at length 1; nothing if the run knows none of them.
    pub fn centre(&self, items: &[String]) -> Option<Vec<f64>> {
        let table = self.bundle.learned.items()?;
        let (mut centre, mut known) = (vec![0.0; self.dim], 0);
        for row in items.iter().filter_map(|item| self.bundle.items.row(item)) {
            let vector = table.row(row.index());
            let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            if length > 0.0 {
                centre.iter_mut().zip(vector).for_each(|(sum, number)| *sum += f64::from(*number) / length);
                known += 1;
            }
        }
        centre.iter_mut().for_each(|sum| *sum /= f64::from(known));
        (known > 0).then_some(centre)
    }

    /// The vector of a user, and of how many items it was learned.
    pub(crate) fn vector(&self, user: &str) -> Option<(impl Iterator<Item = f64>, u32)> {
        let row = self.bundle.users.row(user)?;
        let vector = self.bundle.learned.users()?.row(row.index());
        let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        let items = self.bundle.history.items(row).len() as u32;
        (length > 0.0 && items > 0).then(|| (vector.iter().map(move |number| f64::from(*number) / length), items))
    }
}

/// Reads the section of a tag of this kind.
pub(crate) fn read(typed: &mut Section<'_>, described: &mut Vec<Value>) -> Result<Body> {
    let run = typed.require("run")?.text()?;
    let vectors = typed.require("vectors")?.text()?;
    let numbers = |entry: &Entry<'_>| -> Result<Vec<f64>> {
        Ok(entry.entries()?.iter().map(Entry::finite).collect::<std::result::Result<Vec<f64>, _>>()?)
    };
    let entry = typed.require("values")?;
    let centres = partition::values(&entry, described, |_, typed| numbers(&typed.require("centre")?))?;
    let dim = centres.first().map_or(0, |(_, centre)| centre.len());
    match dim > 0 && centres.iter().all(|(_, centre)| centre.len() == dim) {
        true => Ok(Body::Embedding { run, vectors, centres }),
        false => Err(entry.error("has centres of different lengths, or none").into()),
    }
}

/// The nearest centre of every user, or why there is none on this day.
pub(crate) fn nearest(
    tag: &Tag,
    project: &Path,
    (run, hash, centres): (&str, &str, &[(String, Vec<f64>)]),
    date: Date,
    users: &[String],
    withheld: &HashSet<String>,
) -> Result<std::result::Result<Column, String>> {
    let vectors = match Vectors::of_tag(tag, project, (run, hash), date)? {
        Ok(vectors) => vectors,
        Err(reason) => return Ok(Err(reason)),
    };
    if centres.iter().any(|(_, centre)| centre.len() != vectors.dim()) {
        return Err(tag.error(format!("its centres are of another length than the vectors of `{run}`"), None));
    }
    let flat: Vec<f64> = centres.iter().flat_map(|(_, centre)| centre.iter().copied()).collect();
    let (mut codes, mut evidence) = (vec![NONE; users.len()], vec![0; users.len()]);
    for (at, user) in users.iter().enumerate().filter(|(_, user)| !withheld.contains(*user)) {
        let Some((vector, items)) = vectors.vector(user) else { continue };
        let label = place(&vector.collect::<Vec<f64>>(), vectors.dim(), &flat);
        codes[at] = label.map_err(|error| tag.error(error.to_string(), None))?.first().copied().unwrap_or(NONE);
        evidence[at] = items;
    }
    let names = centres.iter().map(|(name, _)| name.clone()).collect();
    Ok(Ok(Column { values: Values::Text { codes, names }, evidence }))
}
