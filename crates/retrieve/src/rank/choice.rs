//! Which candidate is chosen: a conditional logit (McFadden, "Conditional logit analysis of qualitative choice behavior",
//! 1974), fitted by Newton's method.
//!
//! A candidate with the signals x is chosen with a chance in proportion to exp(w·x), among the candidates of the same user.
//! Of a user who chose several, each counts for its share, so that all users count alike, as they do in the figures that
//! lists are judged by. Signals are divided by their standard deviation for the fit and each weight has a normal prior of
//! standard deviation 1, which keeps weights finite whatever is chosen.

/// Steps of Newton's method, at most; a handful does.
const STEPS: usize = 30;
/// The search ends where a step gains less than this part of what the likelihood is.
const GAIN: f64 = 1e-9;

/// The candidates of some users, each with `width` signals.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    width: usize,
    signals: Vec<f32>,
    chosen: Vec<bool>,
    /// Where the candidates of each user end.
    ends: Vec<usize>,
}

/// A weighted sum of signals.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// One a signal, for signals as they are.
    pub weights: Vec<f32>,
    /// What an average candidate has.
    pub centres: Vec<f32>,
}

impl Linear {
    /// What each signal adds to the score of a candidate, compared with an average one.
    pub fn terms<'a>(&'a self, signals: &'a [f32]) -> impl Iterator<Item = f64> + 'a {
        let centred = signals.iter().zip(&self.centres).map(|(signal, centre)| f64::from(*signal) - f64::from(*centre));
        centred.zip(&self.weights).map(|(signal, weight)| signal * f64::from(*weight))
    }

    /// The score of a candidate: the sum of its terms.
    pub fn score(&self, signals: &[f32]) -> f64 {
        self.terms(signals).sum()
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.weights.iter().chain(&self.centres).all(|number| number.is_finite())
    }
}

impl Choices {
    /// No candidates yet.
    pub fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// Adds the candidates of a user: their signals one after the other, and which were chosen.
    pub fn push(&mut self, signals: &[f32], chosen: &[bool]) {
        debug_assert_eq!(signals.len(), chosen.len() * self.width);
        self.signals.extend_from_slice(signals);
        self.chosen.extend_from_slice(chosen);
        self.ends.push(self.chosen.len());
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.ends.len()
    }

    /// The signals of a user's candidates, and which of them were chosen.
    pub fn of(&self, user: usize) -> (impl Iterator<Item = &[f32]>, &[bool]) {
        let start = if user == 0 { 0 } else { self.ends[user - 1] };
        let range = start..self.ends[user];
        let signals = &self.signals[range.start * self.width..range.end * self.width];
        (signals.chunks_exact(self.width.max(1)), &self.chosen[range])
    }

    /// The weights that make what was chosen most likely, learned from those of `users` who chose something. A signal that
    /// is the same for all candidates gets the weight 0.
    pub fn fit(&self, users: &[usize]) -> Linear {
        let told = |user: &&usize| self.of(**user).1.contains(&true);
        let users: Vec<usize> = users.iter().filter(told).copied().collect();
        let (centres, spreads) = self.moments(&users);
        let mut weights = vec![0.0; self.width];
        let mut now = self.slope(&users, &spreads, &weights);
        for _ in 0..STEPS {
            let Some(step) = solve(now.curve.clone(), now.slope.clone()) else { break };
            let mut share = 1.0;
            let next = loop {
                let tried: Vec<f64> = weights.iter().zip(&step).map(|(weight, step)| weight + share * step).collect();
                let next = self.slope(&users, &spreads, &tried);
                if next.value >= now.value {
                    break Some((tried, next));
                }
                share /= 2.0;
                if share < 1e-6 {
                    break None;
                }
            };
            let Some((tried, next)) = next else { break };
            let gain = next.value - now.value;
            (weights, now) = (tried, next);
            if gain <= GAIN * now.value.abs() {
                break;
            }
        }
        let raw = weights.iter().zip(&spreads).map(|(weight, spread)| (weight / spread) as f32);
        Linear { weights: raw.collect(), centres: centres.into_iter().map(|centre| centre as f32).collect() }
    }

    /// Mean and standard deviation of every signal over all candidates; infinite where it does not vary.
    fn moments(&self, users: &[usize]) -> (Vec<f64>, Vec<f64>) {
        let (mut count, mut sums) = (0.0, vec![0.0; self.width]);
        let mut squares = sums.clone();
        users.iter().flat_map(|&user| self.of(user).0).for_each(|signals| {
            count += 1.0;
            signals.iter().zip(&mut sums).for_each(|(signal, sum)| *sum += f64::from(*signal));
        });
        sums.iter_mut().for_each(|sum| *sum /= f64::max(count, 1.0));
        users.iter().flat_map(|&user| self.of(user).0).for_each(|signals| {
            let apart = signals.iter().zip(&sums).map(|(signal, mean)| (f64::from(*signal) - mean).powi(2));
            squares.iter_mut().zip(apart).for_each(|(square, apart)| *square += apart);
        });
        let spread = |square: f64| match (square / f64::max(count, 1.0)).sqrt() {
            spread if spread > 1e-6 => spread,
            _ => f64::INFINITY,
        };
        (sums, squares.into_iter().map(spread).collect())
    }

    /// The logarithm of the likelihood with the prior at some weights of standardised signals, its slope, and its curve
    /// upside down.
    fn slope(&self, users: &[usize], spreads: &[f64], weights: &[f64]) -> Slope {
        let width = self.width;
        let mut all = Slope {
            value: -weights.iter().map(|weight| weight * weight).sum::<f64>() / 2.0,
            slope: weights.iter().map(|weight| -weight).collect(),
            curve: (0..width * width).map(|at| if at % (width + 1) == 0 { 1.0 } else { 0.0 }).collect(),
        };
        let (mut scores, mut scaled, mut mean) = (Vec::new(), Vec::new(), vec![0.0; width]);
        for &user in users {
            let (signals, chosen) = self.of(user);
            scaled.clear();
            signals.for_each(|signals| scaled.extend(signals.iter().zip(spreads).map(|(x, s)| f64::from(*x) / s)));
            scores.clear();
            scores.extend(scaled.chunks_exact(width).map(|x| x.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>()));
            let top = scores.iter().fold(f64::NEG_INFINITY, |top: f64, &score| top.max(score));
            let total = scores.iter().map(|score| (score - top).exp()).sum::<f64>();
            let share = 1.0 / chosen.iter().filter(|chosen| **chosen).count().max(1) as f64;
            all.value -= top + total.ln();
            mean.fill(0.0);
            for ((x, &score), &chosen) in scaled.chunks_exact(width).zip(&scores).zip(chosen) {
                let chance = (score - top).exp() / total;
                let told = if chosen { share } else { 0.0 };
                all.value += told * score;
                for (at, &x_at) in x.iter().enumerate() {
                    all.slope[at] += (told - chance) * x_at;
                    mean[at] += chance * x_at;
                    let row = &mut all.curve[at * width..at * width + at + 1];
                    row.iter_mut().zip(x).for_each(|(curve, x)| *curve += chance * x_at * x);
                }
            }
            for at in 0..width {
                (0..=at).for_each(|other| all.curve[at * width + other] -= mean[at] * mean[other]);
            }
        }
        for at in 0..width {
            (0..at).for_each(|other| all.curve[other * width + at] = all.curve[at * width + other]);
        }
        all
    }
}

struct Slope {
    value: f64,
    slope: Vec<f64>,
    curve: Vec<f64>,
}

/// Solves a symmetric positive system by Cholesky's decomposition; none where it is not positive.
fn solve(mut matrix: Vec<f64>, mut side: Vec<f64>) -> Option<Vec<f64>> {
    let n = side.len();
    for row in 0..n {
        for col in 0..=row {
            let dot = (0..col).map(|at| matrix[row * n + at] * matrix[col * n + at]).sum::<f64>();
            let rest = matrix[row * n + col] - dot;
            matrix[row * n + col] = match row == col {
                true if rest > 0.0 => rest.sqrt(),
                true => return None,
                false => rest / matrix[col * n + col],
            };
        }
        let dot = (0..row).map(|at| matrix[row * n + at] * side[at]).sum::<f64>();
        side[row] = (side[row] - dot) / matrix[row * n + row];
    }
    for row in (0..n).rev() {
        let dot = (row + 1..n).map(|at| matrix[at * n + row] * side[at]).sum::<f64>();
        side[row] = (side[row] - dot) / matrix[row * n + row];
    }
    Some(side)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// Users with 2 to 12 candidates of three signals, the last of which never varies; what is chosen follows `weights`.
    fn drawn(users: usize, weights: [f64; 2], seed: u64) -> Choices {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut choices = Choices::new(3);
        for _ in 0..users {
            let count = rng.random_range(2..13);
            let signals: Vec<[f32; 3]> =
                (0..count).map(|_| [rng.random_range(-3.0..3.0), rng.random_range(5.0..6.0), 7.0]).collect();
            let score = |x: &[f32; 3]| weights[0] * f64::from(x[0]) + weights[1] * f64::from(x[1]);
            let total: f64 = signals.iter().map(|x| score(x).exp()).sum();
            let mut left = rng.random_range(0.0..1.0) * total;
            let first = signals.iter().position(|x| {
                left -= score(x).exp();
                left <= 0.0
            });
            let chosen: Vec<bool> = (0..count).map(|at| Some(at) == first).collect();
            choices.push(&signals.concat(), &chosen);
        }
        choices
    }

    fn all(choices: &Choices) -> Vec<usize> {
        (0..choices.users()).collect()
    }

    #[test]
    fn it_finds_the_weights_by_which_was_chosen() {
        let choices = drawn(20_000, [0.8, -1.5], 1);
        let found = choices.fit(&all(&choices));
        assert!((found.weights[0] - 0.8).abs() < 0.03 && (found.weights[1] + 1.5).abs() < 0.12, "{found:?}");
        assert_eq!(found.weights[2], 0.0);
        assert!((found.centres[1] - 5.5).abs() < 0.01 && (found.centres[2] - 7.0).abs() < 1e-6);
    }

    #[test]
    fn slope_and_curve_are_those_of_the_likelihood() {
        let mut choices = drawn(60, [0.8, -1.5], 2);
        choices.push(&[1.0, 5.0, 7.0, 2.0, 5.5, 7.0, 0.0, 5.1, 7.0], &[true, true, false]);
        let (users, spreads, at) = (all(&choices), [1.5, 0.3, 2.0], [0.3, -0.2, 0.1]);
        // As slowly as the formula reads.
        let value = |weights: &[f64]| {
            let mut sum = -weights.iter().map(|w| w * w).sum::<f64>() / 2.0;
            for &user in &users {
                let (signals, chosen) = choices.of(user);
                let score = |x: &[f32]| (0..3).map(|k| weights[k] * f64::from(x[k]) / spreads[k]).sum::<f64>();
                let scores: Vec<f64> = signals.map(score).collect();
                let all = scores.iter().map(|score| score.exp()).sum::<f64>();
                let mine: Vec<f64> =
                    scores.iter().zip(chosen).filter(|(_, c)| **c).map(|(s, _)| (s.exp() / all).ln()).collect();
                sum += mine.iter().sum::<f64>() / mine.len() as f64;
            }
            sum
        };
        let found = choices.slope(&users, &spreads, &at);
        assert!((found.value - value(&at)).abs() < 1e-9);
        let moved = |k: usize, by: f64| {
            let mut moved = at;
            moved[k] += by;
            moved
        };
        for k in 0..3 {
            let slope = (value(&moved(k, 1e-5)) - value(&moved(k, -1e-5))) / 2e-5;
            assert!((found.slope[k] - slope).abs() < 1e-5, "{k}: {} {slope}", found.slope[k]);
            for other in 0..3 {
                let [up, down] = [1e-5, -1e-5].map(|by| choices.slope(&users, &spreads, &moved(other, by)).slope[k]);
                assert!((found.curve[k * 3 + other] + (up - down) / 2e-5).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn nothing_chosen_or_one_signal_that_tells_all() {
        let mut choices = Choices::new(1);
        assert_eq!(choices.fit(&[]).weights, [0.0]);
        choices.push(&[1.0, 2.0], &[false, false]);
        assert_eq!(choices.fit(&[0]).weights, [0.0]);
        (0..50).for_each(|_| choices.push(&[1.0, 2.0], &[false, true]));
        let found = choices.fit(&all(&choices));
        assert!(found.weights[0].is_finite() && found.weights[0] > 1.0);
        assert_eq!(Choices::new(0).fit(&[]).weights, [0f32; 0]);
    }
}
