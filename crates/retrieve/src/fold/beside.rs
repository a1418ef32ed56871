//! Fold-in for towers that add to implicit ALS: the part of the factorization is solved for as in [`super::ridge`] and brought
//! to the length that it has in all users of the model; of what the towers say, a user who was not in training gets the mean.

use std::borrow::Cow;

use lookalike_bundle::{Matrix, Row, UserRow};

use super::ridge::Ridge;

pub(super) struct Beside<'a> {
    ridge: Ridge<'a>,
    /// How long the first part of a vector is.
    length: f32,
    /// The second part.
    towers: Vec<f32>,
}

impl<'a> Beside<'a> {
    /// `dim` is how many numbers of a vector the factorization's are, `met` says which users had anything.
    pub(super) fn new(
        [users, items]: [&Matrix; 2],
        dim: usize,
        met: impl Fn(UserRow) -> bool,
        knobs: (f64, f64, f64),
    ) -> Option<Self> {
        let dim = (dim < items.cols()).then_some(dim)?;
        let rows =
            || (0..users.rows() as u32).map(UserRow::new).filter(|&user| met(user)).map(|user| users.row(user.index()));
        let norm = |row: &[f32]| row[..dim].iter().map(|number| number * number).sum::<f32>().sqrt();
        let length = rows().map(norm).find(|&length| length > 0.0)?;
        let mut towers = vec![0.0f64; users.cols() - dim];
        for row in rows() {
            towers.iter_mut().zip(&row[dim..]).for_each(|(sum, &number)| *sum += f64::from(number));
        }
        let count = rows().count() as f64;
        let towers = towers.into_iter().map(|sum| (sum / count) as f32).collect();
        let base = (0..items.rows()).flat_map(|row| &items.row(row)[..dim]).copied().collect();
        let table = Matrix::from_vec(items.rows(), dim, base)?;
        Some(Self { ridge: Ridge::new(Cow::Owned(table), items.rows(), knobs), length, towers })
    }

    /// The vector that these items, with their weights, ask for; `None` if the equations have no one solution.
    pub(super) fn solve(&self, entries: impl Iterator<Item = (usize, f64)>) -> Option<Vec<f32>> {
        let mut vector = self.ridge.solve(entries)?;
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|number| *number *= self.length / length);
        }
        vector.extend(&self.towers);
        Some(vector)
    }
}
