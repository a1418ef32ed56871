//! Draws of knobs, for a search among settings.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A seeded source of settings.
pub(super) struct Dice(Xoshiro256PlusPlus);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number whose logarithm is uniform between those of the bounds, cut to two digits: a file shall be read by people,
    /// and no knob needs a third.
    pub(super) fn log(&mut self, from: f32, to: f32) -> f32 {
        let (low, high) = (f64::from(from).ln(), f64::from(to).ln());
        let number = (low + (high - low) * self.0.random::<f64>()).exp();
        format!("{number:.1e}").parse().unwrap_or(from)
    }

    /// One of these, each as likely as the others.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, among: [T; N]) -> T {
        among[self.0.random_range(0..N)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_bounds_and_fill_them() {
        let mut dice = Dice::new(1);
        let draws: Vec<_> = (0..1000).map(|_| dice.log(0.01, 2.0)).collect();
        assert!(draws.iter().all(|draw| (0.01..=2.0).contains(draw)), "{draws:?}");
        // A third of the logarithms lies below that of 0.01^(2/3) · 2^(1/3).
        let low = draws.iter().filter(|&&draw| draw < 0.0585).count();
        assert!((280..390).contains(&low), "{low}");
        assert!(draws.iter().all(|draw| format!("{draw:e}").split('e').next().is_some_and(|digits| digits.len() <= 3)));
    }

    #[test]
    fn every_choice_is_drawn() {
        let mut dice = Dice::new(2);
        let picked: std::collections::BTreeSet<_> = (0..100).map(|_| dice.pick([3, 5, 8])).collect();
        assert_eq!(picked.len(), 3);
    }
}
