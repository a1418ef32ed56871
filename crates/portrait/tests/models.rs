//! Models beside plain twins: likelihoods and expectations by numerical integration, customers drawn from known parameters,
//! and laws that must hold.
#![allow(clippy::unwrap_used)]

use libm::lgamma;
use lookalike_portrait::model::buyer::{BgNbd, History, Nbd};
use lookalike_portrait::model::repurchase::{Gaps, Trial, Typical, blend, median};
use lookalike_portrait::model::spend::{GammaGamma, Spent};
use lookalike_portrait::model::{Error, LEAST};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The integral from 0 to 1 by the double exponential rule of Takahasi and Mori (1974), which ends of infinite height do
/// not trouble. The function is given x and 1 − x.
fn integral(f: impl Fn(f64, f64) -> f64) -> f64 {
    let step = 1.0 / 64.0;
    let mut sum = 0.0;
    for at in -320..=320 {
        let t = f64::from(at) * step;
        let u = std::f64::consts::FRAC_PI_2 * t.sinh();
        let (x, rest) = (1.0 / (1.0 + (-2.0 * u).exp()), 1.0 / (1.0 + (2.0 * u).exp()));
        let width = std::f64::consts::FRAC_PI_2 * t.cosh() * 2.0 * x * rest;
        if x > 0.0 && rest > 0.0 && width > 0.0 {
            sum += width * f(x, rest);
        }
    }
    sum * step
}

/// The same from 0 to infinity, around `scale`.
fn half_line(scale: f64, f: impl Fn(f64) -> f64) -> f64 {
    integral(|x, rest| {
        let value = f(scale * x / rest) * scale / (rest * rest);
        if value.is_finite() { value } else { 0.0 }
    })
}

fn gamma_density(shape: f64, rate: f64, x: f64) -> f64 {
    (shape * rate.ln() - lgamma(shape) + (shape - 1.0) * x.ln() - rate * x).exp()
}

fn beta_density(a: f64, b: f64, x: f64, rest: f64) -> f64 {
    (lgamma(a + b) - lgamma(a) - lgamma(b) + (a - 1.0) * x.ln() + (b - 1.0) * rest.ln()).exp()
}

#[track_caller]
fn near(found: f64, expected: f64, share: f64) {
    assert!((found - expected).abs() <= share * expected.abs().max(1e-12), "{found} is not {expected}");
}

const MODEL: BgNbd = BgNbd { r: 0.6, alpha: 5.0, a: 0.8, b: 2.4 };

/// A history with its purchases on half of the way, by number.
fn history(repeats: u32, last: f64, age: f64) -> History {
    History { repeats, last: if repeats == 0 { 0.0 } else { last }, age }
}

#[test]
fn the_likelihood_is_that_of_customers_whose_rates_and_chances_are_integrated_out() {
    let kinds = [history(0, 0.0, 20.0), history(1, 3.0, 25.0), history(4, 17.5, 18.0), history(9, 30.0, 60.0)];
    for model in [MODEL, BgNbd { r: 1.7, alpha: 2.2, a: 1.0, b: 0.7 }, BgNbd { r: 0.3, alpha: 12.0, a: 2.5, b: 6.0 }] {
        let BgNbd { r, alpha, a, b } = model;
        for kind in kinds {
            let History { repeats, last, age } = kind;
            let x = f64::from(repeats);
            // λˣ e^(−λt): x purchases at rate λ and nothing else in the time t.
            let rate =
                |t: f64| half_line(r / alpha, |rate| rate.powf(x) * (-rate * t).exp() * gamma_density(r, alpha, rate));
            let stays = integral(|p, q| q.powf(x) * beta_density(a, b, p, q));
            let leaves = integral(|p, q| p * q.powf(x - 1.0) * beta_density(a, b, p, q));
            let mut likelihood = stays * rate(age);
            if repeats > 0 {
                likelihood += leaves * rate(last);
            }
            // Enough others who bought again, so that the function takes them; their part is taken off again.
            let others = vec![history(2, 5.0, 9.0); LEAST];
            let without = model.log_likelihood(&others).unwrap();
            let with = model.log_likelihood(&[others, vec![kind; 3]].concat()).unwrap();
            near((with - without) / 3.0, likelihood.ln(), 1e-8);
            // Bayes' rule on the same integrals.
            near(model.alive(&kind), stays * rate(age) / likelihood, 1e-8);
        }
    }
}

#[test]
fn purchases_to_come_are_those_of_customers_who_are_there_with_their_chances_integrated_out() {
    for (a, b) in [(0.8, 2.4), (1.0, 2.0), (1.3, 0.4), (0.4, 0.6), (3.0, 40.0)] {
        let model = BgNbd { a, b, ..MODEL };
        let BgNbd { r, alpha, .. } = model;
        for kind in [history(0, 0.0, 0.0), history(0, 0.0, 30.0), history(3, 10.0, 11.0), history(120, 51.0, 52.0)] {
            let x = f64::from(kind.repeats);
            for weeks in [0.5, 12.0, 400.0] {
                // A customer with rate λ and chance p to leave buys (1 − e^(−λpt)) / p times; over λ, given x purchases:
                let rest = |p: f64| -(r + x) * (p * weeks / (alpha + kind.age)).ln_1p();
                let come = integral(|p, q| -rest(p).exp_m1() / p * beta_density(a, b + x, p, q));
                near(model.expected(&kind, weeks), model.alive(&kind) * come, 1e-6);
            }
            assert_eq!(model.expected(&kind, 0.0), 0.0);
        }
        let new = model.expected_of_new(39.0);
        near(model.expected(&history(0, 0.0, 0.0), 39.0), new, 1e-12);
    }
}

#[test]
fn what_a_purchase_is_worth_is_that_of_customers_whose_means_are_integrated_out() {
    let GammaGamma { p, q, v } = GammaGamma { p: 3.1, q: 2.7, v: 14.0 };
    let model = GammaGamma { p, q, v };
    for spent in [Spent { repeats: 1, mean: 4.0 }, Spent { repeats: 6, mean: 31.0 }] {
        let x = f64::from(spent.repeats);
        // The mean of x purchases with shape p and rate ν each has shape px and rate νx.
        let chance = |rate: f64| gamma_density(p * x, rate * x, spent.mean) * gamma_density(q, v, rate);
        let all = half_line(q / v, chance);
        let worth = half_line(q / v, |rate| p / rate * chance(rate));
        near(model.expected(&spent).unwrap(), worth / all, 1e-8);
    }
    near(model.expected(&Spent { repeats: 0, mean: 0.0 }).unwrap(), p * v / (q - 1.0), 1e-12);
    // Where the mean of all is infinite, nothing can be said of somebody new.
    assert_eq!(GammaGamma { q: 0.9, ..model }.expected(&Spent { repeats: 0, mean: 0.0 }), None);
}

/// Draws by inversion and rejection; Marsaglia and Tsang, ACM TOMS 26 (2000), for gamma variates.
struct Draw(Xoshiro256PlusPlus);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0.random_range(1e-12..1.0)
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.unit().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let z = self.normal();
            let cube = (1.0 + z / (9.0 * d).sqrt()).powi(3);
            if cube > 0.0 && self.unit().ln() < z * z / 2.0 + d - d * cube + d * cube.ln() {
                return d * cube;
            }
        }
    }

    fn history(&mut self, model: &BgNbd) -> History {
        let (rate, age) = (self.gamma(model.r) / model.alpha, 40.0 + 40.0 * self.unit());
        let (stay, leave) = (self.gamma(model.b), self.gamma(model.a));
        let chance = leave / (leave + stay);
        let mut history = History { repeats: 0, last: 0.0, age };
        let mut at = 0.0;
        loop {
            at -= self.unit().ln() / rate;
            if at > age {
                return history;
            }
            (history.repeats, history.last) = (history.repeats + 1, at);
            if self.unit() < chance {
                return history;
            }
        }
    }
}

fn draw(seed: u64) -> Draw {
    Draw(Xoshiro256PlusPlus::seed_from_u64(seed))
}

#[test]
fn customers_drawn_from_a_model_give_it_back() {
    let mut random = draw(7);
    let histories: Vec<History> = (0..30_000).map(|_| random.history(&MODEL)).collect();
    let fitted = BgNbd::fit(&histories).unwrap();
    let found = fitted.model;
    for (found, expected) in [(found.r, MODEL.r), (found.alpha, MODEL.alpha), (found.a, MODEL.a), (found.b, MODEL.b)] {
        near(found, expected, 0.1);
    }
    // No parameters are more likely than those that were found; those that it was drawn from hardly less.
    let below = fitted.log_likelihood - MODEL.log_likelihood(&histories).unwrap();
    assert!((0.0..10.0).contains(&below), "{below}");
    let moved = BgNbd { r: found.r * 1.02, ..found };
    assert!(moved.log_likelihood(&histories).unwrap() < fitted.log_likelihood);
    // In the mean what is foretold of them comes: what they bought is what new customers were to be expected to.
    let foretold: f64 = histories.iter().map(|history| MODEL.expected_of_new(history.age)).sum();
    let came: f64 = histories.iter().map(|history| f64::from(history.repeats)).sum();
    near(foretold, came, 0.03);

    let stays = Nbd { r: 0.8, alpha: 6.0 };
    let never = BgNbd { r: stays.r, alpha: stays.alpha, a: 1e-9, b: 1e3 };
    let histories: Vec<History> = (0..30_000).map(|_| random.history(&never)).collect();
    let found = Nbd::fit(&histories).unwrap().model;
    near(found.r, stays.r, 0.05);
    near(found.alpha, stays.alpha, 0.05);
    // Nobody left, so that no chance to leave can be found.
    assert!(matches!(BgNbd::fit(&histories), Err(Error::RunsAway { parameter: "a" | "b", .. })));

    let model = GammaGamma { p: 4.0, q: 3.5, v: 20.0 };
    let spent: Vec<Spent> = (0..20_000)
        .map(|at| {
            let (repeats, rate) = (1 + at % 7, random.gamma(model.q) / model.v);
            Spent { repeats, mean: random.gamma(model.p * f64::from(repeats)) / (rate * f64::from(repeats)) }
        })
        .collect();
    let (fitted, correlation) = GammaGamma::fit(&spent).unwrap();
    let found = fitted.model;
    for (found, expected) in [(found.p, model.p), (found.q, model.q), (found.v, model.v)] {
        near(found, expected, 0.1);
    }
    assert!(correlation.unwrap().abs() < 0.03);
}

#[test]
fn what_says_too_little_is_refused_by_name() {
    let too_few = |found| Error::TooFew { found, what: "bought on a second day", least: LEAST };
    assert_eq!(BgNbd::fit(&[]), Err(too_few(0)));
    assert_eq!(BgNbd::fit(&[history(3, 5.0, 6.0)]), Err(too_few(1)));
    assert_eq!(BgNbd::fit(&vec![history(0, 0.0, 6.0); 1000]), Err(too_few(0)));
    assert_eq!(Nbd::fit(&vec![history(0, 0.0, 6.0); 1000]), Err(too_few(0)));
    // All alike: there is nothing in which customers differ.
    assert!(matches!(BgNbd::fit(&vec![history(5, 50.0, 60.0); 100]), Err(Error::RunsAway { .. })));
    assert!(matches!(Nbd::fit(&vec![history(5, 50.0, 60.0); 100]), Err(Error::RunsAway { parameter: "r", .. })));
    for (wrong, what) in [
        (History { repeats: 1, last: f64::NAN, age: 3.0 }, "not a number"),
        (History { repeats: 1, last: 4.0, age: 3.0 }, "after the end"),
        (History { repeats: 1, last: -1.0, age: 3.0 }, "before the first"),
        (History { repeats: 0, last: 1.0, age: 3.0 }, "no second"),
    ] {
        let error = BgNbd::fit(&[history(0, 0.0, 1.0), wrong]).unwrap_err();
        assert!(matches!(error, Error::Impossible { at: 1, .. }) && error.to_string().contains(what), "{error}");
    }
    let worth = |mean: f64| vec![Spent { repeats: 2, mean }; 100];
    for customers in [worth(0.0), worth(-3.0), vec![Spent { repeats: 0, mean: 0.0 }; 100], worth(5.0)[..9].to_vec()] {
        let found = if customers.len() == 9 { 9 } else { 0 };
        let error = GammaGamma::fit(&customers).unwrap_err();
        assert!(matches!(error, Error::TooFew { found: n, .. } if n == found), "{error}");
    }
    assert!(matches!(GammaGamma::fit(&worth(f64::NAN)), Err(Error::Impossible { at: 0, .. })));
    assert!(matches!(GammaGamma::fit(&worth(5.0)), Err(Error::RunsAway { .. } | Error::NoMaximum { .. })));
    // Customers who sent back as much as they bought do not spoil it for the others.
    let mut random = draw(3);
    let some: Vec<Spent> = (0..500)
        .map(|at| {
            let (repeats, rate) = (1 + at % 4, random.gamma(3.0) / 20.0);
            Spent { repeats, mean: random.gamma(2.0 * f64::from(repeats)) / (rate * f64::from(repeats)) }
        })
        .collect();
    let (with, _) = GammaGamma::fit(&[some.clone(), worth(-1.0), worth(0.0)].concat()).unwrap();
    assert_eq!((with.customers, with.model), (500, GammaGamma::fit(&some).unwrap().0.model));
}

fn histories() -> impl Strategy<Value = Vec<History>> {
    let one = (0u32..40, 0.0..1.0, 1.0..200.0).prop_map(|(repeats, part, age)| history(repeats, part * age, age));
    prop::collection::vec(one, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn neither_order_nor_workers_change_a_bit(mut customers in histories(), seed in 0u64..1000) {
        let first = BgNbd::fit(&customers);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let mut random = draw(seed);
        for at in (1..customers.len()).rev() {
            customers.swap(at, random.0.random_range(0..=at));
        }
        prop_assert_eq!(first, pool.install(|| BgNbd::fit(&customers)));
    }

    #[test]
    fn chances_and_purchases_keep_within_reason(
        r in 0.05..20.0f64, alpha in 0.1..50.0f64, a in 0.05..20.0f64, b in 0.05..200.0f64,
        customers in histories(), weeks in 0.1..300.0f64,
    ) {
        let model = BgNbd { r, alpha, a, b };
        for customer in customers {
            let alive = model.alive(&customer);
            prop_assert!((0.0..=1.0).contains(&alive));
            let later = History { age: customer.age + 10.0, ..customer };
            prop_assert!(model.alive(&later) <= alive);
            let (some, more) = (model.expected(&customer, weeks), model.expected(&customer, 2.0 * weeks));
            // No more than somebody buys who never leaves, and the longer the more.
            let most = Nbd { r, alpha }.expected(&customer, weeks) * alive;
            prop_assert!(some >= 0.0 && some <= more * (1.0 + 1e-9) && some <= most * (1.0 + 1e-6), "{some} {more} {most}");
        }
    }

    #[test]
    fn gaps_are_counted_as_they_are_sorted(gaps in prop::collection::vec(0u32..60, 1..40), prior in 0.0..9.0f64) {
        let mut counted = Gaps::default();
        gaps.iter().for_each(|gap| counted.add(*gap));
        let mut sorted: Vec<f64> = gaps.iter().map(|gap| f64::from(*gap)).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let middle = if n % 2 == 1 { sorted[n / 2] } else { (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0 };
        prop_assert_eq!((counted.median(), median(&gaps)), (Some(middle), middle));
        // A blend lies between what it blends, and is the own median where nothing is taken for known before.
        let said = blend(middle, n, 20.0, prior);
        let (low, high) = (middle.clamp(1.0, 20.0), middle.max(20.0));
        prop_assert!(said >= low * (1.0 - 1e-12) && said <= high * (1.0 + 1e-12), "{}", said);
        prop_assert!((blend(middle, n, 20.0, 0.0) - middle.max(1.0)).abs() < 1e-9);
        let typical = Typical::of([(2, &counted)].into_iter());
        prop_assert_eq!((typical.category(2), typical.category(0), typical.category(9)), (Some(middle), Some(middle), Some(middle)));
        let mut trial = Trial::default();
        trial.add(&gaps, &typical, 2, prior);
        prop_assert_eq!(trial.pairs, u64::from(n > 1));
        if let Some((last, known)) = gaps.split_last().filter(|(_, known)| !known.is_empty()) {
            prop_assert!((trial.own - (f64::from(*last) - median(known)).abs()).abs() < 1e-12);
            prop_assert!((trial.category - (f64::from(*last) - middle).abs()).abs() < 1e-12);
        }
    }
}

#[test]
fn of_nothing_there_is_no_median() {
    assert_eq!((Gaps::default().median(), median(&[])), (None, 0.0));
    assert_eq!(Typical::default().category(0), None);
    let mut trial = Trial::default();
    trial.add(&[3, 4, 5], &Typical::default(), 0, 3.0);
    assert_eq!(trial, Trial::default());
}
