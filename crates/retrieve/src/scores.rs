//! The scores of all items for many users, whatever a model learned.

use lookalike_bundle::{ItemRow, Learned, Matrix, Row, UserRow};
use rayon::prelude::*;

use crate::exact::{Exact, Search};
use crate::maxima::{Aided, BlockMaxima};
use crate::topk::{Hit, Ties, mask, select};

/// Users scored by one thread at a time from item weights.
const BLOCK: usize = 16;

/// Calls `work(at, scores)` for every one of `users` with its scores of all items, which `work` may change, and returns
/// what it returns, in their order. `history` tells items (ascending) and weights of a user. Runs on all threads; the
/// result depends neither on their number nor on who is asked for together.
pub fn map_scores<'h, T: Send>(
    learned: &Learned,
    users: &[UserRow],
    history: &(dyn Fn(UserRow) -> (&'h [u32], &'h [f32]) + Sync),
    work: impl Fn(usize, &mut [f32]) -> T + Sync,
) -> Vec<T> {
    match learned {
        Learned::Embeddings { users: table, items } => Exact::new(items).map_scores(&queries(table, users), work),
        Learned::ItemWeights(weights) => {
            let block = |(block, users): (usize, &[UserRow])| {
                let mut scores = vec![0.0; weights.items()];
                let mut one = |at: usize, user: UserRow| {
                    let (items, counts) = history(user);
                    weights.score(items, counts, &mut scores);
                    work(block * BLOCK + at, &mut scores)
                };
                users.iter().enumerate().map(|(at, &user)| one(at, user)).collect::<Vec<T>>()
            };
            users.par_chunks(BLOCK).enumerate().flat_map_iter(block).collect()
        }
    }
}

/// For every one of `users` the `k` best items that are not in its history; as [`map_scores`] otherwise. A device that
/// knows the model's embeddings of items may help; the lists are the same.
pub fn new_items<'h>(
    learned: &Learned,
    users: &[UserRow],
    history: &(dyn Fn(UserRow) -> (&'h [u32], &'h [f32]) + Sync),
    k: usize,
    ties: Ties,
    by: Option<&dyn BlockMaxima>,
) -> Vec<Vec<Hit<ItemRow>>> {
    match learned {
        Learned::Embeddings { users: table, items } => {
            let (exact, queries) = (Exact::new(items).with_ties(ties), queries(table, users));
            let had = |at: usize| history(users[at]).0;
            match by {
                Some(by) => Aided::new(exact, by).search_all(&queries, k, &had),
                None => exact.search_all(&queries, k, &had),
            }
        }
        Learned::ItemWeights(_) => map_scores(learned, users, history, |at, scores| {
            mask(scores, history(users[at]).0);
            select(scores, k, ties)
        }),
    }
}

/// The rows of `table` that belong to `users`.
pub(crate) fn queries(table: &Matrix, users: &[UserRow]) -> Matrix {
    let mut queries = Matrix::zeros(users.len(), table.cols());
    for (query, user) in users.iter().enumerate() {
        queries.row_mut(query).copy_from_slice(table.row(user.index()));
    }
    queries
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::{Input, ItemWeights};

    use super::*;
    use crate::testing::random;

    /// Weights that, for a history of one item each, score as these embeddings do.
    fn twins(count: usize) -> (Learned, Learned) {
        let table = random(count, 3, 1);
        let product = |a: usize, b: usize| table.row(a).iter().zip(table.row(b)).map(|(a, b)| a * b).sum::<f32>();
        let row = |a: usize| (0..count).map(|b| (b as u32, product(a, b))).collect();
        let weights = ItemWeights::from_rows(Input::One, &(0..count).map(row).collect::<Vec<_>>()).unwrap();
        (Learned::Embeddings { users: table.clone(), items: table }, Learned::ItemWeights(weights))
    }

    #[test]
    fn weights_and_embeddings_that_say_the_same_score_the_same() {
        let count = 5 * BLOCK + 3;
        let (embeddings, weights) = twins(count);
        let rows: Vec<u32> = (0..count as u32).collect();
        let users: Vec<_> = rows.iter().rev().map(|&row| UserRow::new(row)).collect();
        let history = |user: UserRow| (&rows[user.index()..][..1], &[7.0f32][..]);
        let scored = |learned: &Learned| map_scores(learned, &users, &history, |at, scores| (at, scores.to_vec()));
        for ((at, left), (also, right)) in scored(&embeddings).into_iter().zip(scored(&weights)) {
            assert!(at == also && left.iter().zip(&right).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        let places: Vec<usize> = map_scores(&weights, &users, &history, |at, _| at);
        assert!(places.into_iter().eq(0..count));
    }
}
