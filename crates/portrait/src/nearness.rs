//! Tags of how near users are to a group of items, by the vectors that a run learned: the mean of the cosines between the
//! user's vector and those of the items, less the mean of all users, in standard deviations. So it says who likes a group more
//! than others do, whoever much or little of it they had, and however near everybody is to it.
//!
//! What holds for tags of kind `embedding` holds for these: the vectors are told by their hash, a profile of a day before the
//! run's last leaves the tag out, and no model reads it.

use std::collections::HashSet;
use std::path::Path;

use jiff::civil::Date;
use lookalike_store::Store;
use lookalike_store::settings::Section;

use crate::column::{Column, Values};
use crate::embedding::Vectors;
use crate::error::Result;
use crate::tag::{Body, Tag};

/// Reads the section of a tag of this kind.
pub(crate) fn read(typed: &mut Section<'_>) -> Result<Body> {
    let run = typed.require("run")?.text()?;
    let vectors = typed.require("vectors")?.text()?;
    Ok(Body::Nearness { run, vectors, items: typed.require("items")?.text()? })
}

/// How near every user is, or why that is not known on this day.
pub(crate) fn of_users(
    tag: &Tag,
    project: &Path,
    (run, hash, items): (&str, &str, &str),
    date: Date,
    store: &Store,
    users: &[String],
    withheld: &HashSet<String>,
) -> Result<std::result::Result<Column, String>> {
    let vectors = match Vectors::of_tag(tag, project, (run, hash), date)? {
        Ok(vectors) => vectors,
        Err(reason) => return Ok(Err(reason)),
    };
    let Some(centre) = vectors.centre(&store.items_where(items)?) else {
        return Ok(Err(format!("`{run}` knows no item for which `{items}` is true")));
    };
    let mut evidence = vec![0; users.len()];
    let mut near = vec![f64::NAN; users.len()];
    for (at, user) in users.iter().enumerate().filter(|(_, user)| !withheld.contains(*user)) {
        let Some((vector, items)) = vectors.vector(user) else { continue };
        near[at] = vector.zip(&centre).map(|(a, b)| a * b).sum();
        evidence[at] = items;
    }
    match standard(&mut near) {
        true => Ok(Ok(Column { values: Values::Number(near), evidence })),
        false => Ok(Err("all users are equally near".to_owned())),
    }
}

/// Less their mean, in standard deviations; false where there is no deviation. What is no number stays so.
fn standard(numbers: &mut [f64]) -> bool {
    let known = || numbers.iter().filter(|number| !number.is_nan());
    let count = known().count() as f64;
    let mean = known().sum::<f64>() / count;
    let deviation = (known().map(|number| (number - mean).powi(2)).sum::<f64>() / count).sqrt();
    numbers.iter_mut().for_each(|number| *number = (*number - mean) / deviation);
    deviation > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_by_how_far_from_the_mean_they_are() {
        let mut numbers = [1.0, f64::NAN, 3.0, 1.0, 3.0];
        assert!(standard(&mut numbers));
        assert_eq!((numbers[0], numbers[2], numbers[1].is_nan()), (-1.0, 1.0, true));
        assert!(!standard(&mut [2.0, 2.0]) && !standard(&mut [f64::NAN]));
    }
}
