//! The fast step beside plain loops in 64 bits, and beside differences.
#![allow(clippy::unwrap_used)]

use lookalike_bundle::{ItemRow, Matrix, Row, UserRow};
use lookalike_dataset::{Csr, Features, Pair};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::ahead::Ahead;
use super::base::{Base, Scale};
use super::host::{HostSide, learn, softmax};
use super::inputs::{History, Inputs};
use super::layers::Layers;
use super::step::{Compared, Step, Steps};
use crate::bags::Bags;
use crate::host_table::HostTable;
use crate::preset::{Knobs, Preset, TwoTower};

fn knobs() -> TwoTower {
    let Knobs::TwoTower(knobs) = Preset::load("two-tower").unwrap().knobs else { panic!("not a two-tower") };
    let (id_dropout, base) = ([0.0, 0.0], None);
    TwoTower { history: 3, negatives: 20, id_dropout, tau: 0.1, logq: true, base, ..knobs }
}

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..count).map(|_| rng.random::<f32>() - 0.5).collect()
}

/// Each user had about a tenth of the items.
fn history(users: usize, items: usize) -> Csr<UserRow, ItemRow> {
    let pair = |at: usize| Pair {
        row: UserRow::new((at / items) as u32),
        col: ItemRow::new((at % items) as u32),
        weight: 1.0,
    };
    let pairs: Vec<_> = (0..users * items).filter(|at| at.wrapping_mul(2_654_435_761) % 97 < 10).map(pair).collect();
    Csr::from_pairs(users, items, &pairs)
}

fn step(train: &Csr<UserRow, ItemRow>, batch: &[Pair<UserRow, ItemRow>], knobs: &TwoTower, seed: u64) -> Step {
    let none = Features::none;
    let history = Some(History { had: train, ages: &[], half_life: f32::INFINITY, most: knobs.history });
    let users = Inputs::new("user", vec![true; train.n_rows()], none(train.n_rows()), history).unwrap();
    let items = Inputs::new("item", vec![true; train.n_cols()], none(train.n_cols()), None).unwrap();
    Steps::new(train).step(batch, [&users, &items], knobs, seed).unwrap()
}

/// The columns that an example is not compared with.
fn known(step: &Step, example: usize) -> &[u32] {
    let Compared::AllBut(known) = &step.compared else { panic!("a step of pairs") };
    known.of(example)
}

/// The softmax loss and its gradients, number by number.
fn plain(step: &Step, knobs: &TwoTower, dim: usize, u: &[f32], v: &[f32]) -> (f64, [Vec<f64>; 2]) {
    let (mut loss, mut by_user, mut by_item) = (0.0, vec![0.0; u.len()], vec![0.0; v.len()]);
    let pieces =
        (0..step.examples()).map(|example| f64::from(step.weights[example]) * step.own.of(example).len() as f64);
    let scale = 1.0 / (f64::from(knobs.tau) * pieces.sum::<f64>());
    for example in 0..step.examples() {
        let product = |column: usize| -> f64 {
            (0..dim).map(|d| f64::from(u[example * dim + d]) * f64::from(v[column * dim + d])).sum()
        };
        let own = |column: usize| step.own.of(example).contains(&(column as u32));
        let log_q = |column: usize| if own(column) { 0.0 } else { f64::from(step.log_q[column]) };
        let score = |column: usize| product(column) / f64::from(knobs.tau) - log_q(column);
        let counts = |column: &usize| match &step.compared {
            Compared::AllBut(known) => !known.of(example).contains(&(*column as u32)),
            Compared::Only(listed) => listed.of(example).contains(&(*column as u32)),
        };
        let columns: Vec<usize> = (0..step.columns()).filter(counts).collect();
        let total: f64 = columns.iter().map(|&column| score(column).exp()).sum();
        // One softmax for each of the items to be foretold.
        for &target in step.own.of(example) {
            let weight = f64::from(step.weights[example]);
            loss += weight * (total.ln() - score(target as usize));
            for &column in &columns {
                let hit = f64::from(u8::from(column == target as usize));
                let pull = weight * (score(column).exp() / total - hit) * scale;
                for d in 0..dim {
                    by_user[example * dim + d] += pull * f64::from(v[column * dim + d]);
                    by_item[column * dim + d] += pull * f64::from(u[example * dim + d]);
                }
            }
        }
    }
    (loss, [by_user, by_item])
}

#[test]
fn the_softmax_is_that_of_plain_loops_at_odd_sizes() {
    for (users, items, batch, dim) in [(1, 2, 1, 1), (7, 31, 5, 3), (40, 90, 33, 17), (61, 200, 301, 64)] {
        let train = history(users, items);
        let pairs: Vec<_> = train.pairs().take(batch).collect();
        if pairs.is_empty() {
            continue;
        }
        let knobs = knobs();
        is_that_of_plain_loops(&step(&train, &pairs, &knobs, 5), &knobs, dim);
    }
}

fn is_that_of_plain_loops(step: &Step, knobs: &TwoTower, dim: usize) {
    let (u, v) = (numbers(step.examples() * dim, 1), numbers(step.columns() * dim, 2));
    let (loss, gradients) = softmax(step, knobs, dim, &u, &v);
    let (expected, plain) = plain(step, knobs, dim, &u, &v);
    assert!((loss - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{loss} is not {expected}");
    for (found, plain) in gradients.iter().zip(&plain) {
        let most = plain.iter().fold(0.0f64, |most, number| most.max(number.abs()));
        for (found, plain) in found.iter().zip(plain) {
            assert!((f64::from(*found) - plain).abs() < 2e-5 * (most + 1e-3), "{found} is not {plain}");
        }
    }
}

/// What was known, and what was known later: a third of it is new.
fn earlier(later: &Csr<UserRow, ItemRow>) -> Csr<UserRow, ItemRow> {
    let kept: Vec<_> = later.pairs().filter(|pair| !(pair.row.get() + pair.col.get()).is_multiple_of(3)).collect();
    Csr::from_pairs(later.n_rows(), later.n_cols(), &kept)
}

#[test]
fn beside_a_base_the_hard_items_are_those_it_puts_first() {
    let (mut all, mut drawn) = (0, 0);
    for (users, items, batch, hard, negatives) in [(7, 31, 2, 9, 0), (40, 90, 17, 30, 20), (61, 200, 64, 500, 0)] {
        let later = history(users, items);
        let had = earlier(&later);
        let table = |rows: usize, seed| Matrix::from_vec(rows, 5, numbers(rows * 5, seed)).unwrap();
        let mut base = Base { tables: [table(users, 1), table(items, 2)] };
        // Of this one the base knows nothing: what is popular is hard.
        base.tables[0].row_mut(users - 1).fill(0.0);
        let none = Features::none;
        let of_users = Inputs::new("user", vec![true; users], none(users), None).unwrap();
        let of_items = Inputs::new("item", vec![true; items], none(items), None).unwrap();
        let knobs = TwoTower { hard, batch, negatives, history: 0, ..knobs() };
        let mut ahead = Ahead::new(&had, &later);
        let mut met = Vec::new();
        for number in 0..ahead.steps(batch) {
            let step = ahead.step(number, &base, [&of_users, &of_items], &knobs, 3).unwrap().unwrap();
            let Compared::Only(listed) = &step.compared else { panic!("not a list") };
            let column = |column: u32| step.items.bag(column as usize)[0];
            for example in 0..step.examples() {
                let user = UserRow::new(step.users.bag(example)[0]);
                met.push(user.get());
                let popularity = |item: u32| had.all_cols().iter().filter(|&&other| other == item).count() as f32;
                let (row, known) = (base.tables[0].row(user.index()), had.cols(user));
                let score = |item: u32| match row.iter().all(|&number| number == 0.0) {
                    true => popularity(item),
                    false => row.iter().zip(base.tables[1].row(item as usize)).map(|(a, b)| a * b).sum(),
                };
                let mut best: Vec<u32> = (0..items as u32).collect();
                best.retain(|item| popularity(*item) > 0.0 && !known.contains(item));
                best.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
                best.truncate(hard);
                best.sort_unstable();
                let found: Vec<u32> = listed.of(example).iter().map(|&place| column(place)).collect();
                if negatives == 0 {
                    assert_eq!(found, best);
                } else {
                    // Beside them some that somebody else had.
                    let further = found.iter().filter(|item| !best.contains(item));
                    assert!(further.clone().all(|item| popularity(*item) > 0.0 && !known.contains(item)));
                    assert!(best.iter().all(|item| found.contains(item)) && found.is_sorted_by(|a, b| a < b));
                    drawn += further.count();
                }
                let own: Vec<u32> = step.own.of(example).iter().map(|&place| column(place)).collect();
                let next = later.cols(user).iter().copied();
                assert_eq!(own, next.filter(|item| found.contains(item)).collect::<Vec<_>>());
                assert!((step.weights[example] - 1.0 / (own.len() as f32).sqrt()).abs() < 1e-6);
            }
            is_that_of_plain_loops(&step, &knobs, 5);
        }
        met.sort_unstable();
        met.dedup();
        all += met.len();
        assert!(ahead.step(99, &base, [&of_users, &of_items], &knobs, 3).unwrap().is_none());
    }
    assert!(all > 50 && drawn > 100, "{all} users, {drawn} further items");
}

#[test]
fn a_step_names_what_it_compares() {
    let train = history(40, 90);
    let pairs: Vec<_> = train.pairs().step_by(3).take(50).collect();
    let knobs = knobs();
    let step = step(&train, &pairs, &knobs, 9);
    // Items of a side without features and history are their own rows.
    let column = |column: u32| step.items.bag(column as usize)[0];
    assert!(step.columns() > 50usize.div_ceil(10) && step.columns() <= 70);
    for (example, pair) in pairs.iter().enumerate() {
        assert_eq!(column(step.own.of(example)[0]), pair.col.get());
        let had: Vec<u32> = known(&step, example).iter().map(|&known| column(known)).collect();
        let expected: Vec<u32> = (0..step.columns() as u32)
            .map(column)
            .filter(|item| *item != pair.col.get() && train.cols(pair.row).contains(item))
            .collect();
        assert_eq!(had, expected);
        // The id, then at most three items of the history, and never the one to be foretold.
        let bag: Vec<_> = step.users.weighed(example).collect();
        assert_eq!(bag[0], (pair.row.get(), 1.0));
        let drawn: Vec<u32> = bag[1..].iter().map(|(row, _)| row - train.n_rows() as u32).collect();
        assert_eq!(drawn.len(), (train.cols(pair.row).len() - 1).min(3));
        assert!(drawn.iter().all(|item| *item != pair.col.get() && train.cols(pair.row).contains(item)));
        let total: f32 = bag[1..].iter().map(|(_, weight)| weight).sum();
        assert!(drawn.is_empty() || (total - 1.0).abs() < 1e-6);
    }
}

#[test]
fn the_chance_of_a_column_is_what_is_counted() {
    let train = history(30, 40);
    let all: Vec<_> = train.pairs().collect();
    let knobs = TwoTower { negatives: 6, ..knobs() };
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let (mut met, mut said) = (vec![0.0; 40], vec![0.0f32; 40]);
    let rounds = 4000;
    for round in 0..rounds {
        let batch: Vec<_> = (0..8).map(|_| all[rng.random_range(0..all.len())]).collect();
        let step = step(&train, &batch, &knobs, round);
        for (column, log_q) in step.log_q.iter().enumerate() {
            let item = step.items.bag(column)[0] as usize;
            met[item] += 1.0 / rounds as f32;
            said[item] = log_q.exp();
        }
    }
    for (met, said) in met.iter().zip(&said).filter(|(met, _)| **met > 0.0) {
        assert!((met - said).abs() < 0.05, "{met} of the steps, where {said} are foretold");
    }
}

#[test]
fn ids_are_left_out_as_often_as_asked_for() {
    let train = history(40, 90);
    let pairs: Vec<_> = train.pairs().take(300).collect();
    let knobs = TwoTower { id_dropout: [0.4, 0.0], history: 0, ..knobs() };
    let step = step(&train, &pairs, &knobs, 2);
    let left_out = (0..step.examples()).filter(|&example| step.users.bag(example).is_empty()).count();
    assert!((90..150).contains(&left_out), "{left_out} of 300");
}

#[test]
fn a_step_of_the_weights_is_that_of_plain_loops() {
    for (pull, lr, decay) in [(0.1f32, 0.01f32, 0.5f32), (900.0, 0.05, 0.0), (900.0, 0.05, 0.1)] {
        let mut layers = Layers::new("t", 4, &[5], false, 3);
        let before = layers.clone();
        let gradient = |p: usize, at: usize, step: usize| f64::from(pull) * ((p * 31 + at * 7 + step) as f64).sin();
        let mut moments: Vec<Vec<[f64; 3]>> =
            before.parameters.iter().map(|p| p.value.iter().map(|&v| [f64::from(v), 0.0, 0.0]).collect()).collect();
        for step in 1..=3usize {
            let mut all: Vec<Vec<f32>> = (0..before.parameters.len())
                .map(|p| (0..before.parameters[p].value.len()).map(|at| gradient(p, at, step) as f32).collect())
                .collect();
            let length = all.iter().flatten().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let share = (10.0 / length).min(1.0);
            assert_eq!(share < 1.0, pull > 1.0);
            layers.step(&mut all, lr, decay);
            for (p, numbers) in moments.iter_mut().enumerate() {
                for (at, [value, mean, square]) in numbers.iter_mut().enumerate() {
                    let g = gradient(p, at, step) * share;
                    *mean = 0.9 * *mean + 0.1 * g;
                    *square = 0.999 * *square + 0.001 * g * g;
                    let (m, s) =
                        (*mean / (1.0 - 0.9f64.powi(step as i32)), *square / (1.0 - 0.999f64.powi(step as i32)));
                    let taken = if p % 2 == 0 { f64::from(decay) * *value } else { 0.0 };
                    *value -= f64::from(lr) * (m / (s.sqrt() + 1e-8) + taken);
                }
            }
        }
        for (parameter, plain) in layers.parameters.iter().zip(&moments) {
            for (found, [value, ..]) in parameter.value.iter().zip(plain) {
                assert!((f64::from(*found) - value).abs() < 1e-4, "{found} is not {value}");
            }
        }
    }
}

/// A fixed product of what comes out is what is lost; its gradients are compared with differences.
#[test]
fn the_way_back_is_that_of_differences() {
    for (rows, dim, widths, unit) in [(1, 3, vec![], true), (5, 4, vec![6], true), (37, 5, vec![7, 3], false)] {
        let mut layers = Layers::new("t", dim, &widths, unit, 3);
        // The last layer starts at zero, where nothing would be seen of those before it.
        let count = layers.parameters.len();
        layers.parameters[count - 2].value.iter_mut().zip(numbers(1000, 8)).for_each(|(w, n)| *w = n);
        let (input, pull) = (numbers(rows * dim, 4), numbers(rows * dim, 5));
        let loss = |layers: &Layers, input: &[f32]| -> f64 {
            let out: Vec<f32> = layers.forward(input).into_iter().flat_map(|part| part.out).collect();
            out.iter().zip(&pull).map(|(o, p)| f64::from(*o) * f64::from(*p)).sum()
        };
        let mut gradient = pull.clone();
        let dense = layers.backward(&layers.forward(&input), &mut gradient);
        let step = 1e-3;
        let here = loss(&layers, &input);
        // Where a unit of a layer is switched on or off in between, the gradient is that of either side.
        let close = |found: f32, more: f64, less: f64| {
            let sides = [more - here, here - less].map(|difference| difference / f64::from(step));
            let room = 2e-2 * (1.0 + sides[0].abs());
            let (low, high) = (sides[0].min(sides[1]) - room, sides[0].max(sides[1]) + room);
            assert!((low..=high).contains(&f64::from(found)), "{found} is not from {low} to {high}");
        };
        for at in 0..input.len() {
            let moved = |by: f32| {
                let mut input = input.clone();
                input[at] += by;
                loss(&layers, &input)
            };
            close(gradient[at], moved(step), moved(-step));
        }
        for (nth, dense) in dense.iter().enumerate() {
            for (at, &found) in dense.iter().enumerate() {
                let moved = |by: f32| {
                    let mut layers = layers.clone();
                    layers.parameters[nth].value[at] += by;
                    loss(&layers, &input)
                };
                close(found, moved(step), moved(-step));
            }
        }
    }
}

/// Step sizes are zero, so that a step says what is lost and changes nothing.
#[test]
fn what_is_lost_follows_the_weights_of_bags_as_the_step_says() {
    let train = history(20, 30);
    let pairs: Vec<_> = train.pairs().step_by(4).take(9).collect();
    let knobs = TwoTower { attention: true, lr: 0.0, tower_lr: 0.0, decay: 0.0, ..knobs() };
    let mut step = step(&train, &pairs, &knobs, 5);
    let dim = 4;
    let mut sides = [50, 30].map(|rows| {
        let table = Matrix::from_vec(rows, dim, numbers(rows * dim, rows as u64)).unwrap();
        let mut layers = Layers::new("t", dim, &[6], true, 3);
        let last = layers.parameters.len() - 2;
        layers.parameters[last].value.iter_mut().zip(numbers(1000, 8)).for_each(|(w, n)| *w = n);
        HostSide::new(HostTable::new(&table, &vec![0.0; rows]), layers)
    });
    let mut told = |step: &Step| learn(sides.each_mut(), &mut Scale::new(), step, &knobs, 1.0);
    let found = told(&step).by_weight;
    let (offsets, rows) = (step.users.offsets().to_vec(), step.users.rows().to_vec());
    let weights = step.users.weights().to_vec();
    assert!(found.len() == rows.len() && rows.len() > 20);
    for (at, found) in found.iter().enumerate() {
        let mut lost = |by: f32| {
            let mut weights = weights.clone();
            weights[at] += by;
            step.users = Bags::new(offsets.clone(), rows.clone()).unwrap().weighted(weights).unwrap();
            told(&step).loss / f64::from(step.weight())
        };
        let due = (lost(1e-2) - lost(-1e-2)) / 2e-2;
        assert!((f64::from(*found) - due).abs() < 2e-3 * (1.0 + due.abs()), "{found} is not {due}");
    }
    assert!(found.iter().any(|gradient| gradient.abs() > 0.01));
}
