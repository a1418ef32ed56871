//! Attention over a history: how much each of its items counts is learned. Where nothing is learned yet, the share of an
//! item is that of its recency `w`; a salience `s` learned for every item makes it `w·exp(s) / Σ w·exp(s)`, a softmax of
//! `s + ln w` over the history (attention of Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and
//! Translate", ICLR 2015, with a key of one number an item and no query).
//!
//! Saliences live on the host, on every device: a step needs those of its histories alone, and they are one number each.

use lookalike_bundle::{Data, Tensor, Tensors};

use super::host::EPS;
use crate::bags::Bags;

/// The name of the saliences in a checkpoint and in a bundle.
const NAME: &str = "tower.user.salience";

/// What attention has learned.
pub(super) struct Attention {
    /// The row of the user table that stands for the first item of histories.
    first: u32,
    /// One for each item.
    salience: Vec<f32>,
    /// What row-wise Adagrad remembers of each.
    accumulator: Vec<f32>,
}

impl Attention {
    /// Nothing is learned yet of `items` items, whose rows in histories begin with `first`.
    pub(super) fn new(first: usize, items: usize) -> Self {
        // Table rows are counted in 32 bits when a side is made.
        Self { first: first as u32, salience: vec![0.0; items], accumulator: vec![0.0; items] }
    }

    /// Which item of a history a row of a bag stands for, if it stands for one.
    fn item(&self, row: u32) -> Option<usize> {
        row.checked_sub(self.first).map(|item| item as usize)
    }

    /// Turns the weights of the items of histories, shares of their recency, into shares of attention.
    pub(super) fn weigh(&self, bags: &mut Bags) {
        for example in 0..bags.batch() {
            let (rows, weights) = bags.bag_mut(example);
            let history = || rows.iter().map(|&row| self.item(row).map(|item| self.salience[item]));
            // With the largest taken out, no exponential overflows.
            let top = history().flatten().fold(f32::MIN, f32::max);
            let mut total = 0.0;
            for (weight, salience) in weights.iter_mut().zip(history()) {
                if let Some(salience) = salience {
                    *weight *= (salience - top).exp();
                    total += *weight;
                }
            }
            // Divided, not multiplied by an inverse: an only item then has exactly all attention, and learns exactly nothing.
            let shares = weights.iter_mut().zip(history()).filter(|(_, item)| item.is_some());
            shares.for_each(|(weight, _)| *weight /= total.max(f32::MIN_POSITIVE));
        }
    }

    /// One step of Adagrad, by the gradient by each weight of bags that were [weighed](Self::weigh).
    pub(super) fn learn(&mut self, bags: &Bags, by_weight: &[f32], lr: f32) {
        let mut touched: Vec<(u32, f32)> = Vec::with_capacity(by_weight.len());
        for example in 0..bags.batch() {
            let gradients = &by_weight[bags.offsets()[example] as usize..];
            let history = || {
                let entries = bags.weighed(example).zip(gradients);
                entries.filter_map(|((row, share), &gradient)| self.item(row).map(|item| (item, share, gradient)))
            };
            let mean: f32 = history().map(|(_, share, gradient)| share * gradient).sum();
            touched.extend(history().map(|(item, share, gradient)| (item as u32, share * (gradient - mean))));
        }
        // Stable, so that what is said of one item is summed in the order of the examples.
        touched.sort_by_key(|&(item, _)| item);
        for same in touched.chunk_by(|a, b| a.0 == b.0) {
            let (item, gradient) = (same[0].0 as usize, same.iter().map(|(_, gradient)| gradient).sum::<f32>());
            self.accumulator[item] += gradient * gradient;
            self.salience[item] -= lr * gradient / (self.accumulator[item].sqrt() + EPS);
        }
    }

    /// The saliences, as a bundle has them.
    pub(super) fn weights(&self) -> Tensors {
        Tensors::from([(NAME.to_owned(), Tensor::f32s(self.salience.clone()))])
    }

    /// All that a checkpoint needs, by name.
    pub(super) fn state(&self) -> Tensors {
        let mut state = self.weights();
        state.insert(format!("{NAME}.accumulator"), Tensor::f32s(self.accumulator.clone()));
        state
    }

    /// Takes a state of as many items back; the name of what is missing or has another length, if anything is.
    pub(super) fn restore(&mut self, state: &mut Tensors) -> Result<(), String> {
        let items = self.salience.len();
        let mut take = |name: String| match state.remove(&name).map(|stored| stored.data) {
            Some(Data::F32(numbers)) if numbers.len() == items => Ok(numbers),
            _ => Err(name),
        };
        (self.salience, self.accumulator) = (take(NAME.to_owned())?, take(format!("{NAME}.accumulator"))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A bag of an id (row 1), of three items of a history (rows from 4 on), and one without any.
    fn bags() -> Bags {
        let bags = Bags::new(vec![0, 4, 5], vec![1, 4, 7, 5, 0]).unwrap();
        bags.weighted(vec![1.0, 0.5, 0.3, 0.2, 1.0]).unwrap()
    }

    #[test]
    fn shares_are_those_of_recency_until_something_is_learned() {
        let (mut weighed, mut attention) = (bags(), Attention::new(4, 4));
        attention.weigh(&mut weighed);
        assert_eq!(weighed, bags());
        attention.salience = vec![2f32.ln(), 100.0, 0.0, 0.0];
        attention.salience[1] = 10f32.ln();
        attention.weigh(&mut weighed);
        let total = 0.5 * 2.0 + 0.3 + 0.2 * 10.0;
        for (found, due) in weighed.weights().iter().zip([1.0, 1.0 / total, 0.3 / total, 2.0 / total, 1.0]) {
            assert!((found - due).abs() < 1e-6, "{found} where {due} is due");
        }
        attention.salience[1] = 1e4;
        attention.weigh(&mut weighed);
        assert_eq!(weighed.weights(), [1.0, 0.0, 0.0, 1.0, 1.0]);
    }

    /// What is lost is a fixed product of the weights; its gradient is compared with differences.
    #[test]
    fn a_step_follows_the_differences_of_what_is_lost() {
        let pull = [9.0, 1.0, -2.0, 0.5, 7.0];
        let mut attention = Attention::new(4, 4);
        attention.salience = vec![0.3, -0.2, 5.0, 0.8];
        let loss = |attention: &Attention| -> f64 {
            let mut bags = bags();
            attention.weigh(&mut bags);
            bags.weights().iter().zip(pull).map(|(weight, pull)| f64::from(weight * pull)).sum()
        };
        let gradients = [0, 1, 2, 3].map(|item| {
            let moved = |by: f32| {
                let mut salience = attention.salience.clone();
                salience[item] += by;
                loss(&Attention { first: 4, salience, accumulator: Vec::new() })
            };
            (moved(0.01) - moved(-0.01)) / 0.02
        });
        let (before, mut weighed) = (attention.salience.clone(), bags());
        attention.weigh(&mut weighed);
        attention.accumulator.fill(3.0);
        attention.learn(&weighed, &pull, 0.5);
        for item in 0..4 {
            let due = gradients[item];
            let step = 0.5 * due / (3.0 + due * due).sqrt();
            let found = f64::from(before[item] - attention.salience[item]);
            assert!((found - step).abs() < 1e-4, "item {item} moved by {found} where {step} is due");
        }
        assert!(gradients[2] == 0.0 && gradients[0].abs() > 0.1);
    }
}
