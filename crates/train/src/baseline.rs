//! Simple rankers that every model must stand beside: popularity, what friends had, chance, personal frequency, item-kNN.

use lookalike_bundle::{Input, ItemRow, ItemWeights, Row, UserRow, WeightsError};
use lookalike_dataset::{Csr, stream_seed};
use rayon::prelude::*;

/// Something that scores every item for a user: a higher score is better.
pub trait Scorer: Sync {
    /// The name in tables.
    fn name(&self) -> &'static str;
    /// Writes one score an item.
    fn score(&self, user: UserRow, scores: &mut [f32]);
}

/// Number of users who had the item.
pub struct Popularity(Vec<f32>);

impl Popularity {
    /// Counts users per item.
    pub fn new(history: &Csr<UserRow, ItemRow>) -> Self {
        let mut users = vec![0.0; history.n_cols()];
        for &item in history.all_cols() {
            users[item as usize] += 1.0;
        }
        Self(users)
    }
}

impl Scorer for Popularity {
    fn name(&self) -> &'static str {
        "popularity"
    }

    fn score(&self, _: UserRow, scores: &mut [f32]) {
        scores.copy_from_slice(&self.0);
    }
}

/// What friends of the user had comes first, then what is popular: friends who had the item + popularity / 10⁵.
pub struct Friends<'a> {
    friends: &'a Csr<UserRow, UserRow>,
    history: &'a Csr<UserRow, ItemRow>,
    /// Popularity as a part of one friend.
    popularity: Vec<f32>,
}

impl<'a> Friends<'a> {
    /// `friends` says who is a friend of whom.
    pub fn new(friends: &'a Csr<UserRow, UserRow>, history: &'a Csr<UserRow, ItemRow>) -> Self {
        let mut popularity = Popularity::new(history).0;
        // However popular, an item does not come before one that one friend more had.
        let most = popularity.iter().fold(1e5f32, |most, &users| most.max(users + 1.0));
        popularity.iter_mut().for_each(|users| *users /= most);
        Self { friends, history, popularity }
    }
}

impl Scorer for Friends<'_> {
    fn name(&self) -> &'static str {
        "friends"
    }

    fn score(&self, user: UserRow, scores: &mut [f32]) {
        scores.copy_from_slice(&self.popularity);
        for &friend in self.friends.cols(user) {
            self.history.cols(UserRow::new(friend)).iter().for_each(|&item| scores[item as usize] += 1.0);
        }
    }
}

/// Seeded chance.
pub struct Random(pub u64);

impl Scorer for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn score(&self, user: UserRow, scores: &mut [f32]) {
        for (item, score) in scores.iter_mut().enumerate() {
            *score = (stream_seed(self.0, u64::from(user.get()), item as u64) >> 40) as f32;
        }
    }
}

/// What the user had most often comes first, then what is popular: n + popularity / 10⁶.
pub struct PersonalFrequency<'a> {
    history: &'a Csr<UserRow, ItemRow>,
    popularity: Popularity,
}

impl<'a> PersonalFrequency<'a> {
    /// The weights of `history` are the frequencies.
    pub fn new(history: &'a Csr<UserRow, ItemRow>) -> Self {
        Self { history, popularity: Popularity::new(history) }
    }
}

impl Scorer for PersonalFrequency<'_> {
    fn name(&self) -> &'static str {
        "personal frequency"
    }

    fn score(&self, user: UserRow, scores: &mut [f32]) {
        for (score, popularity) in scores.iter_mut().zip(&self.popularity.0) {
            *score = popularity / 1e6;
        }
        for (&item, &n) in self.history.cols(user).iter().zip(self.history.weights(user)) {
            scores[item as usize] += n;
        }
    }
}

/// Items near those the user had. W = ln(1 + n) · ln(U / (1 + users of the item)); cosine between the item columns
/// of W; every item keeps its `neighbours` nearest (and those equal to the last); score(u, j) = Σ_i W(u, i) · C(i, j).
pub struct ItemKnn {
    rarity: Vec<f32>,
    weights: Csr<UserRow, ItemRow>,
    near: Vec<Vec<(u32, f32)>>,
}

impl ItemKnn {
    /// Computes the neighbours: time grows with the sum of squared history lengths.
    pub fn new(history: &Csr<UserRow, ItemRow>, neighbours: usize) -> Self {
        let users = history.rows_in_use() as f64;
        let popularity = Popularity::new(history).0;
        let rarity: Vec<f64> = popularity.iter().map(|&n| (users / (1.0 + f64::from(n))).ln()).collect();
        let weights = history.map_weights(|item, n| (f64::from(n).ln_1p() * rarity[item.index()]) as f32);
        let by_item = weights.transpose();
        let length = |item| by_item.weights(item).iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
        let lengths: Vec<f32> = by_item.rows().map(|item| length(item) as f32).collect();
        let near = (0..by_item.n_rows() as u32)
            .into_par_iter()
            .map_init(
                || (vec![0f32; by_item.n_rows()], Vec::new()),
                |(sums, touched), item| {
                    let row = ItemRow::new(item);
                    for (&user, &weight) in by_item.cols(row).iter().zip(by_item.weights(row)) {
                        let user = UserRow::new(user);
                        for (&other, &other_weight) in weights.cols(user).iter().zip(weights.weights(user)) {
                            if sums[other as usize] == 0.0 {
                                touched.push(other);
                            }
                            sums[other as usize] += weight * other_weight;
                        }
                    }
                    let cosine = |other: u32, sum: f32| sum / (lengths[item as usize] * lengths[other as usize]);
                    let mut near = Vec::with_capacity(touched.len());
                    for other in touched.drain(..) {
                        let sum = std::mem::take(&mut sums[other as usize]);
                        if other != item && sum != 0.0 {
                            near.push((other, cosine(other, sum)));
                        }
                    }
                    nearest(near, neighbours)
                },
            )
            .collect();
        Self { rarity: rarity.into_iter().map(|number| number as f32).collect(), weights, near }
    }

    /// The same as weights from item to item, which score up to rounding as this does.
    pub(crate) fn item_weights(&self) -> Result<ItemWeights, WeightsError> {
        let row = |(near, &rarity): (&Vec<(u32, f32)>, &f32)| {
            near.iter().map(|&(other, cosine)| (other, rarity * cosine)).collect::<Vec<_>>()
        };
        ItemWeights::from_rows(Input::Log, &self.near.iter().zip(&self.rarity).map(row).collect::<Vec<_>>())
    }
}

/// The `keep` largest values and those equal to the last of them, by item.
fn nearest(mut near: Vec<(u32, f32)>, keep: usize) -> Vec<(u32, f32)> {
    if near.len() > keep && keep > 0 {
        let (_, &mut (_, last), _) = near.select_nth_unstable_by(keep - 1, |a, b| b.1.total_cmp(&a.1));
        near.retain(|&(_, value)| value >= last);
    }
    near.sort_unstable_by_key(|&(item, _)| item);
    near.dedup_by_key(|&mut (item, _)| item);
    // Made with room for every item that shares a user: kept for all items, that room would be gigabytes.
    near.shrink_to_fit();
    near
}

impl Scorer for ItemKnn {
    fn name(&self) -> &'static str {
        "item-kNN"
    }

    fn score(&self, user: UserRow, scores: &mut [f32]) {
        scores.fill(0.0);
        for (&item, &weight) in self.weights.cols(user).iter().zip(self.weights.weights(user)) {
            for &(near, cosine) in &self.near[item as usize] {
                scores[near as usize] += weight * cosine;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_dataset::Pair;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    const USERS: usize = 23;
    const ITEMS: usize = 17;

    fn history() -> Csr<UserRow, ItemRow> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut pair = || Pair {
            row: UserRow::new(rng.random_range(0..USERS as u32)),
            col: ItemRow::new(rng.random_range(0..ITEMS as u32)),
            weight: rng.random_range(1..6) as f32,
        };
        Csr::from_pairs(USERS, ITEMS, &(0..90).map(|_| pair()).collect::<Vec<_>>())
    }

    #[test]
    fn item_knn_is_its_definition_on_dense_matrices() {
        let history = history();
        let mut w = vec![[0f64; ITEMS]; USERS];
        let users = |item: u32| history.all_cols().iter().filter(|&&col| col == item).count() as f64;
        for p in history.pairs() {
            w[p.row.index()][p.col.index()] =
                f64::from(p.weight).ln_1p() * (USERS as f64 / (1.0 + users(p.col.get()))).ln();
        }
        let dot = |a: usize, b: usize| w.iter().map(|row| row[a] * row[b]).sum::<f64>();
        let mut c = vec![[0f64; ITEMS]; ITEMS];
        for (a, row) in c.iter_mut().enumerate() {
            for b in (0..ITEMS).filter(|&b| b != a && dot(a, b) != 0.0) {
                row[b] = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            }
            let mut sorted = *row;
            sorted.sort_by(|x, y| y.total_cmp(x));
            row.iter_mut().filter(|x| **x < sorted[4] - 1e-9).for_each(|x| *x = 0.0);
        }
        let knn = ItemKnn::new(&history, 5);
        let mut scores = vec![0.0; ITEMS];
        for (user, w) in w.iter().enumerate() {
            knn.score(UserRow::new(user as u32), &mut scores);
            for (item, &got) in scores.iter().enumerate() {
                let want: f64 = (0..ITEMS).map(|i| w[i] * c[i][item]).sum();
                assert!((f64::from(got) - want).abs() < 1e-4, "user {user}, item {item}: {got} is not {want}");
            }
        }
    }

    #[test]
    fn item_weights_score_as_item_knn_does() {
        let history = history();
        let knn = ItemKnn::new(&history, 5);
        let weights = knn.item_weights().unwrap();
        let (mut own, mut theirs) = (vec![0.0; ITEMS], vec![0.0; ITEMS]);
        for user in history.rows() {
            knn.score(user, &mut own);
            weights.score(history.cols(user), history.weights(user), &mut theirs);
            assert!(own.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }

    #[test]
    fn one_friend_more_comes_before_popularity() {
        let history = history();
        let pair = |&(a, b): &(u32, u32)| Pair { row: UserRow::new(a), col: UserRow::new(b), weight: 1.0 };
        let friends = Csr::from_pairs(USERS, USERS, &[(0, 1), (0, 2), (0, 3), (1, 0)].map(|ends| pair(&ends)));
        let scorer = Friends::new(&friends, &history);
        let mut scores = vec![0.0; ITEMS];
        for user in [0, 1, 4] {
            scorer.score(UserRow::new(user), &mut scores);
            for item in 0..ITEMS as u32 {
                let had = |other: &UserRow| history.cols(*other).contains(&item);
                let of =
                    friends.cols(UserRow::new(user)).iter().map(|&friend| UserRow::new(friend)).filter(had).count();
                let want = of as f64 + history.rows().filter(had).count() as f64 / 1e5;
                assert!((f64::from(scores[item as usize]) - want).abs() < 1e-6, "user {user}, item {item}");
            }
        }
    }

    #[test]
    fn frequency_comes_before_popularity() {
        let history = history();
        let mut scores = vec![0.0; ITEMS];
        PersonalFrequency::new(&history).score(UserRow::new(1), &mut scores);
        let own = history.cols(UserRow::new(1));
        let least = own.iter().map(|&item| scores[item as usize]).fold(f32::INFINITY, f32::min);
        let others = (0..ITEMS as u32).filter(|item| !own.contains(item));
        assert!(others.into_iter().all(|item| scores[item as usize] < least));
    }
}
