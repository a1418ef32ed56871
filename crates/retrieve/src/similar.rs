//! Nearest rows: items like an item, users like a user.

use lookalike_bundle::{ItemRow, ItemWeights, Matrix, Row};

use crate::product::Products;
use crate::topk::{Best, Hit, Ties, select};

/// The `k` rows of `table` whose vectors point most nearly where that of `row` does, best first; scores are cosines.
/// The row itself is left out, and so are vectors of zeros, which point nowhere.
pub fn similar<R: Row>(table: &Matrix, row: R, k: usize) -> Vec<Hit<R>> {
    similar_to(table, table.row(row.index()), Some(row), k)
}

/// The same for a vector (as long as a row) that need not be one of the table's; `except` is left out.
pub fn similar_to<R: Row>(table: &Matrix, vector: &[f32], except: Option<R>, k: usize) -> Vec<Hit<R>> {
    let products = Products::default();
    let length = |vector: &[f32]| products.of(vector, vector).sqrt();
    let mut cosines = Vec::new();
    products.of_all(vector, table, &mut cosines);
    let own = length(vector);
    for (other, cosine) in cosines.iter_mut().enumerate() {
        *cosine /= own * length(table.row(other)); // 0 / 0 is NaN, which never ranks
    }
    except.iter().for_each(|row| cosines[row.index()] = f32::NEG_INFINITY);
    select(&cosines, k, Ties::Shuffled)
}

/// How much each row is like some others, the seeds of an audience: the mean of its cosines with them. NaN for rows that
/// point nowhere; seeds that point nowhere count for nothing.
pub fn lookalike_scores<R: Row>(table: &Matrix, seeds: &[R]) -> Vec<f32> {
    let products = Products::default();
    let length = |vector: &[f32]| f64::from(products.of(vector, vector)).sqrt();
    // The mean of cosines is the cosine's numerator with the mean of directions, so all seeds cost what one does.
    let mut sum = vec![0.0f64; table.cols()];
    let mut count = 0;
    for seed in seeds {
        let vector = table.row(seed.index());
        let own = length(vector);
        if own > 0.0 {
            sum.iter_mut().zip(vector).for_each(|(sum, &number)| *sum += f64::from(number) / own);
            count += 1;
        }
    }
    let mean: Vec<f32> = sum.iter().map(|sum| (sum / f64::from(count.max(1))) as f32).collect();
    let mut scores = Vec::new();
    products.of_all(&mean, table, &mut scores);
    for (row, score) in scores.iter_mut().enumerate() {
        *score = (f64::from(*score) / length(table.row(row))) as f32; // 0 / 0 is NaN, which never ranks
    }
    scores
}

/// The `k` rows most like some others, best first; scores are those of [`lookalike_scores`]. The others are left out.
pub fn lookalikes<R: Row>(table: &Matrix, seeds: &[R], k: usize) -> Vec<Hit<R>> {
    let mut scores = lookalike_scores(table, seeds);
    seeds.iter().for_each(|seed| scores[seed.index()] = f32::NEG_INFINITY);
    select(&scores, k, Ties::Shuffled)
}

/// The `k` items that an item speaks for most, best first; scores are its weights. Those it speaks against are left out.
pub fn similar_by_weight(weights: &ItemWeights, item: ItemRow, k: usize) -> Vec<Hit<ItemRow>> {
    let mut best = Best::new(k.min(weights.cols(item).len()), Ties::Shuffled);
    for (&other, &weight) in weights.cols(item).iter().zip(weights.values(item)) {
        if weight > 0.0 && other != item.get() {
            best.offer(other, weight);
        }
    }
    best.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::{Input, UserRow};

    use super::*;

    fn table() -> Matrix {
        Matrix::from_vec(5, 2, vec![1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 1.0, 1.0, -2.0, 0.0]).unwrap()
    }

    #[test]
    fn direction_counts_and_length_does_not() {
        let hits = similar(&table(), ItemRow::new(0), 9);
        assert_eq!(hits.iter().map(|hit| hit.row.get()).collect::<Vec<_>>(), [1, 3, 4]);
        let expected = [1.0, 0.5f32.sqrt(), -1.0];
        assert!(hits.iter().zip(expected).all(|(hit, cosine)| (hit.score - cosine).abs() < 1e-6));
    }

    #[test]
    fn a_vector_of_zeros_is_like_nothing() {
        assert!(similar(&table(), UserRow::new(2), 3).is_empty());
    }

    #[test]
    fn a_vector_from_elsewhere_is_like_those_it_points_at() {
        let rows = |except| -> Vec<_> {
            similar_to(&table(), &[2.0, 2.0], except, 2).iter().map(|hit: &Hit<ItemRow>| hit.row.get()).collect()
        };
        assert_eq!(rows(None)[0], 3);
        assert!(!rows(Some(ItemRow::new(3))).contains(&3));
    }

    #[test]
    fn lookalikes_have_the_highest_mean_of_cosines() {
        let table = crate::testing::random(60, 7, 1);
        let seeds: Vec<UserRow> = [3, 17, 40, 41].map(UserRow::new).into();
        let norm = |row: usize| table.row(row).iter().map(|&n| f64::from(n).powi(2)).sum::<f64>().sqrt();
        let cosine = |a: usize, b: usize| {
            let product =
                table.row(a).iter().zip(table.row(b)).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            product / (norm(a) * norm(b))
        };
        let mean = |row: usize| seeds.iter().map(|seed| cosine(row, seed.index())).sum::<f64>() / 4.0;
        let found = lookalikes(&table, &seeds, 60);
        assert_eq!(found.len(), 56);
        assert!(found.iter().all(|hit| (f64::from(hit.score) - mean(hit.row.index())).abs() < 1e-5));
        assert!(found.is_sorted_by(|a, b| a.score >= b.score));
        let one = lookalikes(&table, &seeds[..1], 9);
        let near = similar(&table, seeds[0], 9);
        assert!(one.iter().zip(&near).all(|(a, b)| a.row == b.row && (a.score - b.score).abs() < 1e-6));
    }

    #[test]
    fn weights_above_zero_in_order() {
        let rows = [vec![(0, 9.0), (1, 0.5), (2, -3.0), (3, 2.0)], vec![], vec![], vec![]];
        let weights = ItemWeights::from_rows(Input::One, &rows).unwrap();
        let found = |item, k| -> Vec<u32> {
            similar_by_weight(&weights, ItemRow::new(item), k).iter().map(|hit| hit.row.get()).collect()
        };
        assert_eq!((found(0, 9), found(0, 1), found(1, 3)), (vec![3, 1], vec![3], vec![]));
    }

    #[test]
    fn no_more_than_asked_for() {
        assert_eq!(similar(&table(), ItemRow::new(1), 1).len(), 1);
    }
}
