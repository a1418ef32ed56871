//! Random tables and bundles for tests.
#![allow(clippy::unwrap_used)]

use lookalike_bundle::{Bundle, History, ItemInfo, ItemRow, Learned, Manifest, Matrix, Repeat, Row, UserRow, Vocab};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::Value;

/// Numbers from -1 to 1.
pub(crate) fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut table = Matrix::zeros(rows, cols);
    table.data_mut().iter_mut().for_each(|number| *number = rng.random_range(-1.0..1.0));
    table
}

/// Every user has a history of the items 0, 7, 14, …, shifted by the user's row.
pub(crate) fn bundle(users: usize, items: usize) -> Bundle {
    let ids = |count: usize| (0..count).map(|row| row.to_string()).collect();
    let seen = (0..users).flat_map(|user| (user % 7..items).step_by(7).map(move |item| (user, item)));
    let entries = seen.map(|(user, item)| (UserRow::new(user as u32), ItemRow::new(item as u32), 3.0));
    let text = String::new;
    Bundle {
        manifest: Manifest {
            product: text(),
            project: text(),
            model: "ials".into(),
            preset: Value::Null,
            seed: 0,
            device: text(),
            data: text(),
            split: text(),
            learned_before: None,
            protocol: text(),
            epochs: 1,
            best_epoch: 1,
            repeat: Some(Repeat { weight: 100.0, made_of: text() }),
            few: None,
            ranker: None,
            metrics: Value::Null,
            index: None,
        },
        users: Vocab::new(ids(users)).unwrap(),
        items: Vocab::new(ids(items)).unwrap(),
        item_info: vec![ItemInfo::default(); items],
        learned: Learned::Embeddings { users: random(users, 5, 1), items: random(items, 5, 2) },
        tensors: Default::default(),
        history: History::new(users, items, entries).unwrap(),
        extra: Default::default(),
    }
}
