//! The running average of vectors over epochs. It ranks better than the vectors of any one epoch, since what the last
//! steps happened to draw cancels out.

use lookalike_bundle::Matrix;
use rayon::prelude::*;

use super::rows::TINY;

/// How much more late epochs count than early ones: the average looks back over about a tenth of the training.
const LATENESS: f32 = 8.0;
/// Numbers that one thread averages in a row.
const LEAF: usize = 1 << 14;

/// Averages of the unit vectors of both sides, by polynomial decay (Shamir and Zhang 2013, "Stochastic Gradient Descent
/// for Non-smooth Optimization", section 4): the first epoch's vectors as they are, then
/// `(t - 1) / (t + η)` of what was, for epoch t and η the lateness.
pub(super) struct Average {
    sides: [Matrix; 2],
}

impl Average {
    /// Of no epoch yet: zeros `[users, dim]` and `[items, dim]`.
    pub(super) fn new(users: usize, items: usize, dim: usize) -> Self {
        Self { sides: [Matrix::zeros(users, dim), Matrix::zeros(items, dim)] }
    }

    /// The same average with these numbers; nothing if a side has another size.
    pub(super) fn with_parts(&self, parts: [Vec<f32>; 2]) -> Option<Self> {
        let [users, items] = parts;
        let [old_users, old_items] = &self.sides;
        let users = Matrix::from_vec(old_users.rows(), old_users.cols(), users)?;
        let items = Matrix::from_vec(old_items.rows(), old_items.cols(), items)?;
        Some(Self { sides: [users, items] })
    }

    /// The numbers of both sides.
    pub(super) fn parts(&self) -> [&[f32]; 2] {
        self.sides.each_ref().map(Matrix::data)
    }

    /// Takes in the unit vectors of this epoch, from 1.
    pub(super) fn add(&mut self, epoch: u32, units: [Matrix; 2]) {
        let keep = (epoch.max(1) - 1) as f32 / (epoch as f32 + LATENESS);
        for (side, units) in self.sides.iter_mut().zip(units) {
            let parts = side.data_mut().par_chunks_mut(LEAF).zip(units.data().par_chunks(LEAF));
            parts.for_each(|(side, units)| {
                side.iter_mut().zip(units).for_each(|(average, unit)| *average += (1.0 - keep) * (unit - *average));
            });
        }
    }

    /// Both sides at length 1; a row of zeros stays one.
    pub(super) fn units(&self) -> [Matrix; 2] {
        self.sides.each_ref().map(|side| {
            let mut units = side.clone();
            units.data_mut().par_chunks_mut(side.cols().max(1)).for_each(|row| {
                let length = row.iter().map(|number| number * number).sum::<f32>().sqrt() + TINY;
                row.iter_mut().for_each(|number| *number /= length);
            });
            units
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn side(numbers: [f32; 2]) -> Matrix {
        Matrix::from_vec(1, 2, numbers.to_vec()).unwrap()
    }

    #[test]
    fn the_first_epoch_counts_alone_and_later_ones_by_the_recursion_of_the_paper() {
        let mut average = Average::new(1, 1, 2);
        let mut want = [0.0f64; 2];
        for epoch in 1..=40u32 {
            let unit = [f64::from(epoch).cos(), f64::from(epoch).sin()];
            // w̄_t = (1 - (η + 1) / (t + η)) · w̄_{t-1} + (η + 1) / (t + η) · w_t
            let share = 9.0 / (f64::from(epoch) + 8.0);
            want = [0, 1].map(|at| (1.0 - share) * want[at] + share * unit[at]);
            average.add(epoch, [side(unit.map(|x| x as f32)), side([1.0, 0.0])]);
            let got = average.parts()[0];
            assert!((f64::from(got[0]) - want[0]).abs() < 1e-5 && (f64::from(got[1]) - want[1]).abs() < 1e-5);
        }
        assert_eq!(average.parts()[1], [1.0, 0.0]);
        let [users, _] = average.units();
        assert!((users.row(0)[0].hypot(users.row(0)[1]) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn rows_of_zeros_stay_and_other_sizes_are_refused() {
        let average = Average::new(2, 3, 4);
        assert_eq!(average.units()[1], Matrix::zeros(3, 4));
        assert!(average.with_parts([vec![0.0; 8], vec![0.0; 12]]).is_some());
        assert!(average.with_parts([vec![0.0; 8], vec![0.0; 11]]).is_none());
    }
}
