//! Softmax matrix factorization against slow twins, on small random data.

#![allow(clippy::unwrap_used)]
use lookalike_bundle::Row;
use lookalike_dataset::Pair;
use proptest::prelude::*;

use super::*;
use crate::device::{DeviceChoice, DeviceError, open};
use crate::preset::{Confidence, Loss, PoolDraw};
use host::Host;
use step::{Step, countable};

fn knobs(loss: Loss, optimizer: Optimizer) -> Knobs {
    Knobs {
        loss,
        tau: 0.3,
        negative_weight: 1.3,
        margin: 0.1,
        negatives: 9,
        draw: PoolDraw::Uniform,
        confidence: Confidence::Linear,
        batch: 20,
        lr: 0.01,
        l2: 0.003,
        dropout: 0.2,
        optimizer,
    }
}

fn random(users: usize, items: usize, pairs: usize, seed: u64) -> Csr<UserRow, ItemRow> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut pair = || Pair {
        row: UserRow::new(rng.random_range(0..users as u32)),
        col: ItemRow::new(rng.random_range(0..items as u32)),
        weight: rng.random_range(1..4) as f32,
    };
    Csr::from_pairs(users, items, &(0..pairs).map(|_| pair()).collect::<Vec<_>>())
}

fn table(rows: usize, dim: usize, seed: u64) -> Matrix {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    Matrix::from_vec(rows, dim, (0..rows * dim).map(|_| rng.random_range(-1.0..1.0)).collect()).unwrap()
}

/// The loss as it stands at the top of `host.rs`, in `f64`, of tables of raw embeddings.
fn slow(train: &Csr<UserRow, ItemRow>, step: &Step, knobs: &Knobs, users: &[f64], items: &[f64], dim: usize) -> f64 {
    let unit = |table: &[f64], row: u32| -> Vec<f64> {
        let row = &table[row as usize * dim..][..dim];
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter().map(|x| x / length).collect()
    };
    let (tau, share, margin) = (f64::from(knobs.tau), f64::from(knobs.negative_weight), f64::from(knobs.margin));
    let (mut loss, mut all) = (0.0, 0.0);
    for (row, &user) in step.users.iter().enumerate() {
        let mut u = unit(users, user);
        if !step.keep.is_empty() {
            u.iter_mut().zip(&step.keep[row * dim..]).for_each(|(x, keep)| *x *= f64::from(*keep));
        }
        let cosine = |item: u32| -> f64 { unit(items, item).iter().zip(&u).map(|(a, b)| a * b).sum() };
        let had = train.cols(UserRow::new(user));
        let own: Vec<(f64, f64)> = had
            .iter()
            .zip(train.weights(UserRow::new(user)))
            .map(|(&item, &n)| (f64::from(knobs.confidence.weigh(n)), cosine(item)))
            .collect();
        let weight: f64 = own.iter().map(|(w, _)| w).sum();
        let others: Vec<(f64, f64)> = step
            .pool
            .iter()
            .enumerate()
            .map(|(place, &slot)| {
                (step.items[slot as usize], step.log_weights.get(place).map_or(0.0, |&w| f64::from(w)))
            })
            .filter(|(item, _)| !had.contains(item))
            .map(|(item, log_weight)| (cosine(item), log_weight))
            .collect();
        let log_sum = || match others.is_empty() {
            true => 0.0,
            false => others.iter().map(|(s, w)| (s / tau + w).exp()).sum::<f64>().ln(),
        };
        loss += match knobs.loss {
            Loss::Sl => own.iter().map(|(w, s)| -w * s / tau).sum::<f64>() + weight * share * log_sum(),
            Loss::Bsl => {
                let mean = own.iter().map(|(w, s)| w * (s / (tau * share)).exp()).sum::<f64>() / weight;
                -weight * mean.ln() + weight * log_sum()
            }
            Loss::Ccl => {
                let push: f64 = others.iter().map(|(s, _)| (s - margin).max(0.0)).sum();
                own.iter().map(|(w, s)| w * (1.0 - s)).sum::<f64>() + weight * share * push / step.pool.len() as f64
            }
        };
        all += weight;
    }
    loss / all
}

/// Steps with Adagrad from zero memory move a row by `lr · g / √(mean g²)`: its direction is that of the gradient.
fn check(loss: Loss, draw: PoolDraw, negatives: usize, dropout: f32, seed: u64) {
    let (n_users, n_items, dim) = (13, 31, 5);
    let knobs = Knobs { draw, negatives, dropout, l2: 0.0, ..knobs(loss, Optimizer::Adagrad) };
    let train = random(n_users, n_items, 60, seed);
    let (users, items) = (table(n_users, dim, seed ^ 1), table(n_items, dim, seed ^ 2));
    let mut steps = Steps::new(&train, dim, &knobs, seed);
    let batch = steps.epoch(1).swap_remove(0);
    let step = steps.step(batch, 7);
    let rows = |start: &Matrix| Rows::new(start.clone(), knobs.optimizer);
    let mut host = Host::new(rows(&users), rows(&items));
    let pace = Pace { optimizer: Optimizer::Adagrad, lr: 1.0, l2: 0.0, beta: USER_BETA };
    let got = host.step(&step, &knobs, [pace, pace]) / step.total();

    let wide = |table: &Matrix| table.data().iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let (mut users64, mut items64) = (wide(&users), wide(&items));
    let want = slow(&train, &step, &knobs, &users64, &items64, dim);
    assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "loss {got} is not {want}");

    const TINY: f64 = 1e-5;
    for side in 0..2 {
        let (start, now) = match side {
            0 => (&users, host.users.parts()),
            _ => (&items, host.items.parts()),
        };
        for row in 0..start.rows() {
            let gradient: Vec<f64> = (0..dim)
                .map(|j| {
                    let mut at = |shift: f64| {
                        let table = if side == 0 { &mut users64 } else { &mut items64 };
                        table[row * dim + j] += shift;
                        let loss = slow(&train, &step, &knobs, &users64, &items64, dim);
                        let table = if side == 0 { &mut users64 } else { &mut items64 };
                        table[row * dim + j] -= shift;
                        loss
                    };
                    (at(TINY) - at(-TINY)) / (2.0 * TINY)
                })
                .collect();
            let mean = gradient.iter().map(|g| g * g).sum::<f64>() / dim as f64;
            for (j, &gradient) in gradient.iter().enumerate() {
                let moved = f64::from(start.row(row)[j]) - f64::from(now.0[row * dim + j]);
                // What the step moved, times the root it was divided by, is the gradient.
                let got = moved * f64::from(now.1[row]).sqrt();
                assert!((got - gradient).abs() < 3e-5, "side {side}, row {row}: {got} is not {gradient}");
                assert!((f64::from(now.1[row]) - mean).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn a_user_who_has_every_negative_pushes_none_away() {
    // With one negative, some user of some batch has it.
    for (seed, loss) in (0..9).zip([Loss::Sl, Loss::Bsl, Loss::Ccl].into_iter().cycle()) {
        check(loss, PoolDraw::Uniform, 1, 0.0, seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_step_follows_the_gradient_of_the_loss(
        loss in prop::sample::select(vec![Loss::Sl, Loss::Bsl, Loss::Ccl]),
        draw in prop::sample::select(vec![PoolDraw::Uniform, PoolDraw::Popularity]),
        negatives in prop::sample::select(vec![0usize, 1, 9, 30]),
        dropout in prop::sample::select(vec![0.0f32, 0.3]),
        seed: u64,
    ) {
        check(loss, draw, negatives, dropout, seed);
    }

    #[test]
    fn an_epoch_visits_every_pair_once(
        users in 1usize..20, items in 1usize..40, pairs in 1usize..120, batch in 1usize..50, negatives in 0usize..50, seed: u64,
    ) {
        let train = random(users, items, pairs, seed);
        for draw in [PoolDraw::Uniform, PoolDraw::Popularity] {
            let knobs = Knobs { batch, negatives, draw, ..knobs(Loss::Sl, Optimizer::Adam) };
            let mut steps = Steps::new(&train, 3, &knobs, seed);
            let mut seen = Vec::new();
            for (number, batch) in steps.epoch(2).into_iter().enumerate() {
                let step = steps.step(batch, number as u64);
                prop_assert!(step.items.is_sorted_by(|a, b| a < b) && step.pool.is_sorted_by(|a, b| a < b));
                if draw == PoolDraw::Uniform {
                    prop_assert_eq!(step.pool.len(), if negatives == 0 { items } else { negatives.min(items) });
                }
                for (row, &user) in step.users.iter().enumerate() {
                    for pair in step.pairs_of(row) {
                        prop_assert_eq!(step.rows()[pair] as usize, row);
                        seen.push((user, step.items[step.slots()[pair] as usize], step.weights()[pair]));
                    }
                }
                for slot in 0..step.items.len() {
                    prop_assert!(step.pairs_about(slot).iter().all(|&pair| step.slots()[pair as usize] as usize == slot));
                    if let Some(place) = step.place(slot) {
                        prop_assert_eq!(step.pool[place] as usize, slot);
                    }
                }
            }
            seen.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let all: Vec<_> = train.pairs().map(|p| (p.row.get(), p.col.get(), p.weight)).collect();
            prop_assert_eq!(seen, all);
        }
    }
}

/// Two epochs on small data, as bytes.
fn trained(loss: Loss, optimizer: Optimizer, threads: usize) -> (Vec<f32>, Vec<f32>) {
    let train = random(300, 200, 3000, 3);
    let knobs = Knobs { batch: 700, negatives: 64, lr: 0.05, ..knobs(loss, optimizer) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let device = Device::cpu("in a test".into());
        let mut model = SoftmaxModel::new(&train, 17, &knobs, &device, 5).unwrap();
        for epoch in 1..=2 {
            model.epoch(epoch, &mut |_, _| Ok(())).unwrap();
        }
        let Learned::Embeddings { users, items } = model.learned().unwrap() else { unreachable!() };
        (users.data().to_vec(), items.data().to_vec())
    })
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (loss, optimizer) in
        [(Loss::Sl, Optimizer::Adam), (Loss::Bsl, Optimizer::Adagrad), (Loss::Ccl, Optimizer::Adam)]
    {
        assert!(trained(loss, optimizer, 1) == trained(loss, optimizer, 3));
    }
}

#[test]
fn planted_tastes_are_found() {
    // Users and items of one of four kinds; users have items of their own kind.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
    let pairs: Vec<_> = (0..400u32)
        .flat_map(|user| {
            let mut pair = || Pair {
                row: UserRow::new(user),
                col: ItemRow::new(rng.random_range(0..40) * 4 + user % 4),
                weight: 1.0,
            };
            (0..8).map(|_| pair()).collect::<Vec<_>>()
        })
        .collect();
    let train = Csr::from_pairs(400, 160, &pairs);
    for optimizer in [Optimizer::Adam, Optimizer::Adagrad] {
        let lr = if optimizer == Optimizer::Adam { 0.01 } else { 0.1 };
        let knobs = Knobs { lr, l2: 0.0, batch: 300, negatives: 50, ..knobs(Loss::Sl, optimizer) };
        let device = Device::cpu("in a test".into());
        let mut model = SoftmaxModel::new(&train, 8, &knobs, &device, 5).unwrap();
        for epoch in 1..=15 {
            model.epoch(epoch, &mut |_, _| Ok(())).unwrap();
        }
        let Learned::Embeddings { users, items } = model.learned().unwrap() else { unreachable!() };
        let score =
            |user: usize, item: usize| users.row(user).iter().zip(items.row(item)).map(|(a, b)| a * b).sum::<f32>();
        let right = (0..400).filter(|&user| {
            let best = (0..160).max_by(|&a, &b| score(user, a).total_cmp(&score(user, b))).unwrap();
            best % 4 == user % 4
        });
        let right = right.count();
        assert!(right > 390, "{optimizer:?}: {right} of 400");
    }
}

/// The adapter named by `LOOKALIKE_TEST_ADAPTER`; without the variable, no GPU is looked for.
fn adapter() -> Option<Device> {
    let name = std::env::var("LOOKALIKE_TEST_ADAPTER").ok()?;
    Some(open(&DeviceChoice::Named(name)).unwrap())
}

/// Embeddings and memories after three steps on one device, and the loss of each step.
fn three_steps(device: &Device, knobs: &Knobs, dim: usize) -> [Vec<f32>; 5] {
    let train = random(13, 31, 60, 4);
    let mut steps = Steps::new(&train, dim, knobs, 4);
    let rows = |rows, seed| Rows::new(table(rows, dim, seed), knobs.optimizer);
    let mut engine = Engine::open(device, rows(13, 1), rows(31, 2), &steps.largest()).unwrap();
    let pace = |beta| Pace { optimizer: knobs.optimizer, lr: 0.05, l2: knobs.l2, beta };
    let mut losses = Vec::new();
    for (number, batch) in steps.epoch(1).into_iter().take(3).enumerate() {
        let step = steps.step(batch, number as u64);
        let (loss, ()) = engine.step(&step, knobs, [pace(USER_BETA), pace(ITEM_BETA)], || ()).unwrap();
        losses.push((loss / step.total()) as f32);
    }
    let [users, items] = engine.rows(knobs).unwrap();
    let parts = [users.parts(), items.parts()].map(|(data, memory)| [data.to_vec(), memory.to_vec()]);
    let [[users, user_memory], [items, item_memory]] = parts;
    [users, user_memory, items, item_memory, losses]
}

/// What a number may differ by between devices, as a share of it where it is above 1. Sums run in another order, and
/// exponentials are rounded elsewhere: software Vulkan stays below 10⁻⁶, and the rest is for other devices.
const TOLERANCE: f32 = 1e-4;

#[test]
fn a_gpu_steps_as_the_cpu_does() {
    let Some(device) = adapter() else { return };
    let cpu = Device::cpu("in a test".into());
    for (nth, loss) in [Loss::Sl, Loss::Bsl, Loss::Ccl].into_iter().enumerate() {
        for (optimizer, draw) in [(Optimizer::Adam, PoolDraw::Uniform), (Optimizer::Adagrad, PoolDraw::Popularity)] {
            let (negatives, dropout, dim) = [(1, 0.2, 17), (0, 0.0, 3), (9, 0.5, 1)][nth];
            // So little in one buffer splits the tables, and where all items are negatives it cuts a step into blocks.
            let narrow = device.clone().with_binding_limit(31 * dim.max(2) as u64 * 4 + 8);
            let knobs = Knobs { draw, negatives, dropout, ..knobs(loss, optimizer) };
            let want = three_steps(&cpu, &knobs, dim);
            for device in [&device, &narrow] {
                let got = three_steps(device, &knobs, dim);
                assert!(got == three_steps(device, &knobs, dim), "{loss:?}, {optimizer:?}: two runs differ");
                for (part, (got, want)) in got.iter().zip(&want).enumerate() {
                    assert_eq!(got.len(), want.len());
                    for (at, (g, w)) in got.iter().zip(want).enumerate() {
                        let close = (g - w).abs() <= TOLERANCE * w.abs().max(1.0);
                        assert!(close, "{loss:?}, {optimizer:?}, part {part}, number {at}: {g} is not {w}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_step_too_large_for_a_gpu_is_refused_before_it() {
    let Some(device) = adapter() else { return };
    let train = random(13, 31, 60, 4);
    let knobs = Knobs { negatives: 0, ..knobs(Loss::Sl, Optimizer::Adagrad) };
    let narrow = |limit| {
        let device = device.clone().with_binding_limit(limit);
        let error = SoftmaxModel::new(&train, 5, &knobs, &device, 1).err();
        error.map(|error| match error {
            FitError::Device(DeviceError::TooLarge { what, .. }) => what,
            error => panic!("{error}"),
        })
    };
    assert_eq!(
        [narrow(31 * 4 - 1), narrow(31 * 4 * 5 - 1), narrow(31 * 4 * 5)],
        [Some("scores of one user"), Some("items of a step"), None]
    );
}

#[test]
fn a_step_has_no_more_pairs_than_32_bits_count() {
    let most = u32::MAX as usize;
    assert!(countable(16_384, most - 16_384).is_ok());
    for (batch, longest) in [(16_384, most - 16_383), (1, most), (1, usize::MAX)] {
        let message = countable(batch, longest).unwrap_err().to_string();
        let end = "more than the 32-bit offsets of a step can count";
        assert_eq!(message, format!("`users` have up to {longest} items, {end}"));
    }
}
