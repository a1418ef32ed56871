//! Evaluation: full rankings of a model and of the baselines, judged against held-out items.
//!
//! `novel` ranks items the user never had, `repeat` only those they had, `all` every item. A model ranks novel items by
//! its own score and the other two by the blend of [`lookalike_retrieve::blend`]; a baseline by its one score.

#[cfg(test)]
mod golden;

use lookalike_bundle::{ItemRow, Learned, Row, UserRow};
use lookalike_dataset::{Csr, Dataset, HeldOut, stream_seed};
use lookalike_measure::{Judged, RankingMean, RankingSum, judge, ndcg};
use lookalike_retrieve::{
    BlockMaxima, CANDIDATES, Had, Hit, Ranker, Ties, blend_repeats, map_scores, mask, new_items, select, select_among,
};
use lookalike_train::Scorer;
use lookalike_train::device::Device;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::aid::Aid;
use crate::buckets::{Bucket, buckets};
use crate::ranker::Shortlists;

/// Ranks judged per list.
const DEPTH: usize = 20;
/// Weights tried for the history term; the last one all but ignores the model, save for ties and novel items.
const WEIGHTS: [f64; 8] = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0];
/// Users whose lists an epoch is judged by, at most: judging very many would take longer than learning from them.
const CHOSEN_BY: usize = 10_000;
/// Users scored at a time by a baseline.
const BLOCK: usize = 16;

/// How figures come about, in words; written into every bundle and printed with every evaluation.
pub const PROTOCOL: &str = "full ranking over all items known before the held-out part; recall@k = hits / held-out items \
    of the user; ndcg@k with the ideal of min(k, held-out); means over users with held-out items; ties in a fixed shuffled \
    order; novel: items the user had are masked; repeat: only items the user had; all: both; buckets: novel items by how many \
    different items the user had, precision@10 = hits / 10; cold: users without a history of whom something else is known, \
    who count in no other figure";

/// One model's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Model or baseline.
    pub name: String,
    /// Novel items: what `recommend` shows unless asked for repeats.
    #[serde(flatten)]
    pub shown: RankingMean,
    /// Where held-out items include some the user had before: all three views.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub views: Option<Views>,
    /// Novel items by how active users are; users without a history are here alone.
    #[serde(default)]
    pub buckets: Vec<Bucket>,
}

impl Figures {
    /// These with the buckets of another bench, of users without a history, before their own.
    pub fn behind(mut self, cold: Self) -> Self {
        self.buckets.splice(0..0, cold.buckets);
        self
    }
}

/// The three views on a ranking with repeats.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Views {
    /// Every item.
    pub all: RankingMean,
    /// Items the user had.
    pub repeat: RankingMean,
    /// Items the user never had.
    pub novel: RankingMean,
}

/// Held-out items of each user beside what the user had before.
pub struct Bench<'a> {
    history: &'a Csr<UserRow, ItemRow>,
    truth: &'a Csr<UserRow, ItemRow>,
    users: Vec<UserRow>,
    repeats: bool,
    ties: Ties,
    /// A GPU here helps with lists in which repeats do not count.
    device: Option<&'a Device>,
    /// New items per user that [`Self::choose`] keeps for a ranker to learn from, at least.
    kept: usize,
}

/// What a model is chosen by.
pub struct Choice {
    pub figure: f64,
    pub weight: Option<f64>,
    pub lists: Shortlists,
}

/// One user's three lists, judged; `None` where nothing of the kind is held out. Without repeats there is but one view.
struct Lists {
    all: Option<(Judged, Vec<u32>)>,
    repeat: Option<(Judged, Vec<u32>)>,
    novel: Option<(Judged, Vec<u32>)>,
}

impl<'a> Bench<'a> {
    pub fn new(history: &'a Csr<UserRow, ItemRow>, held_out: &'a HeldOut) -> Self {
        Self::of(history, &held_out.truth)
    }

    /// Users without a history, of whom something else is known.
    pub fn cold(history: &'a Csr<UserRow, ItemRow>, held_out: &'a HeldOut) -> Self {
        Self::of(history, &held_out.cold)
    }

    fn of(history: &'a Csr<UserRow, ItemRow>, truth: &'a Csr<UserRow, ItemRow>) -> Self {
        let users: Vec<_> = truth.rows().filter(|&user| !truth.cols(user).is_empty()).collect();
        let had = |user: UserRow, item: &u32| history.cols(user).binary_search(item).is_ok();
        let repeats = users.iter().any(|&user| truth.cols(user).iter().any(|item| had(user, item)));
        Self { history, truth, users, repeats, ties: Ties::Shuffled, device: None, kept: 0 }
    }

    /// The validation part, for [`Self::choose`]: at most [`CHOSEN_BY`] users, drawn by the seed.
    pub fn to_choose_by(data: &'a Dataset, device: &'a Device, seed: u64) -> Self {
        Self { device: Some(device), ..Self::new(&data.train, &data.validation) }.of_at_most(CHOSEN_BY, seed)
    }

    /// Keeps what a ranker learns from.
    pub fn keeping(self) -> Self {
        Self { kept: CANDIDATES, ..self }
    }

    /// The same with another order of equal scores.
    #[cfg(test)]
    pub fn with_ties(self, ties: Ties) -> Self {
        Self { ties, ..self }
    }

    fn of_at_most(mut self, most: usize, seed: u64) -> Self {
        if self.users.len() > most {
            let key = |user: &UserRow| stream_seed(seed, 30, u64::from(user.get()));
            self.users.select_nth_unstable_by_key(most, |user| (key(user), *user));
            self.users.truncate(most);
            self.users.sort_unstable();
        }
        self
    }

    /// Figures of a baseline.
    pub fn baseline(&self, scorer: &dyn Scorer) -> Figures {
        let lists = self.users.par_chunks(BLOCK).flat_map_iter(|users| {
            let mut scores = vec![0.0; self.truth.n_cols()];
            let judge_one = move |&user: &UserRow| {
                scorer.score(user, &mut scores);
                self.lists(user, &mut scores, None)
            };
            users.iter().map(judge_one)
        });
        self.figures(scorer.name(), lists.collect())
    }

    /// Figures of a model; `weight` is that of the history term in the blend.
    pub fn model(&self, name: &str, learned: &Learned, weight: Option<f64>) -> Figures {
        let lists = match self.repeats {
            true => self.map_scores(learned, |user, scores| self.lists(user, scores, weight)),
            false => {
                let judge_one = |(list, truth): (Vec<u32>, &[u32])| Lists {
                    all: None,
                    repeat: None,
                    novel: Some((judge(&list, truth), list)),
                };
                self.novel_lists(learned, DEPTH).map(|(hits, truth)| judge_one((rows(&hits), truth))).collect()
            }
        };
        self.figures(name, lists)
    }

    /// Figures of a model whose candidates a ranker orders once more, in the lists that it is used for.
    pub fn ranked(&self, name: &str, learned: &Learned, weight: Option<f64>, ranker: &Ranker<'_>) -> Figures {
        let lists = self.map_scores(learned, |user, scores| {
            let (had, times) = (self.history.cols(user), self.history.weights(user));
            let whole = ranker.ranks_new() && (ranker.ranks_all() || !self.repeats);
            let mut lists = match whole && !had.is_empty() {
                true => Lists { all: None, repeat: None, novel: None },
                false => self.lists(user, &mut scores.to_vec(), weight),
            };
            if had.is_empty() {
                return lists;
            }
            let (known, new) = self.parted(user);
            if ranker.ranks_all() && self.repeats {
                let mine: Vec<f32> = had.iter().map(|&item| scores[item as usize]).collect();
                let all = ranker.all_items(user, &mut scores.to_vec(), None, DEPTH);
                lists.all = Some(ranked(&all, self.truth.cols(user)));
                lists.repeat = (!known.is_empty()).then(|| ranked(&ranker.again(user, &mine, DEPTH), &known));
            }
            if ranker.ranks_new() && !new.is_empty() {
                mask(scores, had);
                let hits = select(scores, CANDIDATES, self.ties);
                let hits = ranker.new_items(Had { items: had, weights: times }, hits, DEPTH);
                lists.novel = Some(ranked(&hits, &new));
            }
            lists
        });
        self.figures(name, lists)
    }

    /// The users with held-out items, in the order of their rows.
    pub fn users(&self) -> &[UserRow] {
        &self.users
    }

    /// How many items there are.
    pub fn items(&self) -> usize {
        self.truth.n_cols()
    }

    /// What is held out of a user: items that the user had before, and new ones.
    pub fn parted(&self, user: UserRow) -> (Vec<u32>, Vec<u32>) {
        let had = self.history.cols(user);
        self.truth.cols(user).iter().partition(|item| had.binary_search(item).is_ok())
    }

    /// What an epoch is judged by: ndcg@`depth` on novel items, and the weight of the history term that does best on all
    /// items (ndcg@10), if repeats exist. With it come the lists that a ranker learns from, if they are kept.
    pub fn choose(&self, learned: &Learned, depth: usize) -> Choice {
        let mean = |figures: Vec<f64>| figures.iter().sum::<f64>() / figures.len().max(1) as f64;
        let most = depth.max(self.kept);
        if !self.repeats {
            let lists: Vec<_> = self.novel_lists(learned, most).collect();
            let judged = |(hits, truth): &(Vec<Hit<ItemRow>>, &[u32])| ndcg(&rows(hits), truth, depth);
            let figure = mean(lists.iter().map(judged).collect());
            let lists = lists.into_iter().map(|(hits, _)| (hits, Vec::new()));
            let lists = if self.kept > 0 { Shortlists::new(lists) } else { Shortlists::default() };
            return Choice { figure, weight: None, lists };
        }
        let judged = self.map_scores(learned, |user, scores| {
            let (had, mut standard) = (self.history.cols(user), scores.to_vec());
            blend_repeats(&mut standard, &[], &[], 0.0);
            let blended = self.blended(user, &standard);
            let mine: Vec<f32> = had.iter().map(|&item| standard[item as usize]).collect();
            mask(scores, had);
            let mut hits = select(scores, most, self.ties);
            let (_, new) = self.parted(user);
            let figure = (!new.is_empty()).then(|| ndcg(&rows(&hits), &new, depth));
            hits.iter_mut().for_each(|hit| hit.score = standard[hit.row.index()]);
            (figure, blended, (hits, mine))
        });
        let total = |at: usize| judged.iter().map(|(_, blended, _)| blended[at]).sum::<f64>();
        let totals: Vec<f64> = (0..WEIGHTS.len()).map(total).collect();
        let first_best = (0..WEIGHTS.len()).rev().max_by(|&a, &b| totals[a].total_cmp(&totals[b]));
        let figure = mean(judged.iter().filter_map(|(novel, ..)| *novel).collect());
        let lists = judged.into_iter().map(|(.., lists)| lists);
        let lists = if self.kept > 0 { Shortlists::new(lists) } else { Shortlists::default() };
        Choice { figure, weight: Some(WEIGHTS[first_best.unwrap_or(0)]), lists }
    }

    /// ndcg@10 on all items for each of [`WEIGHTS`], from standardised scores. Only what the user had and the best of the
    /// rest can come first, whatever the weight, so no more than these are ranked again for each.
    fn blended(&self, user: UserRow, standard: &[f32]) -> Vec<f64> {
        let (had, times) = (self.history.cols(user), self.history.weights(user));
        let mut others = standard.to_vec();
        mask(&mut others, had);
        let others = select::<ItemRow>(&others, DEPTH, self.ties);
        let rows: Vec<u32> = had.iter().copied().chain(others.iter().map(|hit| hit.row.get())).collect();
        let mut blended = standard.to_vec();
        let judge_one = |&weight: &f64| {
            for (&item, &n) in had.iter().zip(times) {
                blended[item as usize] = standard[item as usize] + (weight * f64::from(n).ln_1p()) as f32;
            }
            ranked(&select_among(&blended, &rows, DEPTH, self.ties), self.truth.cols(user)).0.ndcg_10()
        };
        WEIGHTS.iter().map(judge_one).collect()
    }

    /// Calls `work` with the scores of every user with held-out items.
    fn map_scores<T: Send>(&self, learned: &Learned, work: impl Fn(UserRow, &mut [f32]) -> T + Sync) -> Vec<T> {
        let history = |user| (self.history.cols(user), self.history.weights(user));
        map_scores(learned, &self.users, &history, |at, scores| work(self.users[at], scores))
    }

    /// The list of every user with its truth, where nothing held out is a repeat: what the user had is masked as the
    /// scores come, and whole rows of scores are never kept.
    fn novel_lists(&self, learned: &Learned, depth: usize) -> impl Iterator<Item = (Vec<Hit<ItemRow>>, &[u32])> {
        let history = |user| (self.history.cols(user), self.history.weights(user));
        // Lists are the same with and without help, so a device that cannot take the table is no failure.
        let aid = self.device.zip(learned.items()).and_then(|(device, items)| Aid::new(device, items).ok()?);
        let by = aid.as_ref().map(|aid| aid as &dyn BlockMaxima);
        let lists = new_items(learned, &self.users, &history, depth, self.ties, by);
        let truth = self.users.iter().map(|&user| self.truth.cols(user));
        lists.into_iter().zip(truth)
    }

    fn lists(&self, user: UserRow, scores: &mut [f32], weight: Option<f64>) -> Lists {
        let all = self.repeats.then(|| self.all(user, scores, weight));
        let (had, (known, _)) = (self.history.cols(user), self.parted(user));
        let repeat = (!known.is_empty()).then(|| {
            let mut scores = scores.to_vec();
            if let Some(weight) = weight {
                blend_repeats(&mut scores, had, self.history.weights(user), weight);
            }
            ranked(&select_among(&scores, had, DEPTH, self.ties), &known)
        });
        let novel = self.novel(user, scores, DEPTH).map(|(list, truth)| (judge(&list, &truth), list));
        Lists { all, repeat, novel }
    }

    fn all(&self, user: UserRow, scores: &[f32], weight: Option<f64>) -> (Judged, Vec<u32>) {
        let truth = self.truth.cols(user);
        let Some(weight) = weight else { return ranked(&select(scores, DEPTH, self.ties), truth) };
        let mut scores = scores.to_vec();
        blend_repeats(&mut scores, self.history.cols(user), self.history.weights(user), weight);
        ranked(&select(&scores, DEPTH, self.ties), truth)
    }

    /// The list of new items and what of them is held out. Uses the scores up: those of items the user had are masked.
    fn novel(&self, user: UserRow, scores: &mut [f32], depth: usize) -> Option<(Vec<u32>, Vec<u32>)> {
        let (had, (_, truth)) = (self.history.cols(user), self.parted(user));
        (!truth.is_empty()).then(|| {
            mask(scores, had);
            (rows(&select(scores, depth, self.ties)), truth)
        })
    }

    fn figures(&self, name: &str, lists: Vec<Lists>) -> Figures {
        let [mut all, mut repeat, mut novel] = [(); 3].map(|()| RankingSum::new(self.truth.n_cols()));
        for lists in &lists {
            for (sum, list) in [(&mut all, &lists.all), (&mut repeat, &lists.repeat), (&mut novel, &lists.novel)] {
                if let Some((judged, ranked)) = list {
                    sum.add(*judged, ranked);
                }
            }
        }
        let views = Views { all: all.mean(), repeat: repeat.mean(), novel: novel.mean() };
        let had = |user: &UserRow| self.history.cols(*user).len();
        let active = self.users.iter().zip(&lists);
        let buckets = buckets(active.filter_map(|(user, lists)| Some((had(user), lists.novel.as_ref()?.0))));
        Figures { name: name.to_owned(), shown: views.novel, views: self.repeats.then_some(views), buckets }
    }
}

fn ranked(hits: &[Hit<ItemRow>], truth: &[u32]) -> (Judged, Vec<u32>) {
    let rows = rows(hits);
    (judge(&rows, truth), rows)
}

fn rows(hits: &[Hit<ItemRow>]) -> Vec<u32> {
    hits.iter().map(|hit| hit.row.get()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::Matrix;
    use lookalike_dataset::Pair;
    use lookalike_train::device::{self, DeviceChoice};
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// A bench's parts: history and held-out items, drawn apart from each other where `apart` says so.
    fn parts(users: usize, items: usize, apart: bool) -> (Csr<UserRow, ItemRow>, HeldOut, [Matrix; 2]) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        let mut csr = |per_user: usize, among: std::ops::Range<u32>| {
            let mut pair = |user: usize| Pair {
                row: UserRow::new(user as u32),
                col: ItemRow::new(rng.random_range(among.clone())),
                weight: rng.random_range(1..9) as f32,
            };
            let pairs: Vec<_> = (0..users * per_user).map(|at| pair(at % users)).collect();
            Csr::from_pairs(users, items, &pairs)
        };
        let items_u32 = items as u32;
        let (first, second) =
            if apart { (0..items_u32 / 2, items_u32 / 2..items_u32) } else { (0..items_u32, 0..items_u32) };
        let (history, truth) = (csr(40, first), csr(30, second));
        let mut table = |rows: usize| {
            let mut table = Matrix::zeros(rows, 4);
            table.data_mut().fill_with(|| rng.random_range(-1.0..1.0));
            table
        };
        let tables = [table(users), table(items)];
        let cold = Csr::from_pairs(users, items, &[]);
        (history, HeldOut { pairs: truth.len(), truth, cold, unknown: 0 }, tables)
    }

    #[test]
    fn ranking_candidates_again_is_ranking_everything_again() {
        let (history, held_out, [users, items]) = parts(9, 300, false);
        let learned = Learned::Embeddings { users, items };
        let bench = Bench::new(&history, &held_out);
        assert!(bench.repeats);
        bench.map_scores(&learned, |user, scores| {
            let mut standard = scores.to_vec();
            blend_repeats(&mut standard, &[], &[], 0.0);
            let dense: Vec<_> = WEIGHTS.iter().map(|&w| bench.all(user, scores, Some(w)).0.ndcg_10()).collect();
            assert_eq!(bench.blended(user, &standard), dense);
        });
    }

    #[test]
    fn a_sample_of_users_is_drawn_by_the_seed() {
        let (history, held_out, _) = parts(200, 3000, true);
        let drawn = |most, seed| Bench::new(&history, &held_out).of_at_most(most, seed).users;
        assert_eq!(drawn(500, 1), Bench::new(&history, &held_out).users);
        assert_eq!((drawn(20, 1).len(), drawn(20, 1)), (20, drawn(20, 1)));
        assert!(drawn(20, 1) != drawn(20, 2) && drawn(20, 1).is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn without_repeats_the_short_way_finds_the_same_figures() {
        let (history, held_out, [users, items]) = parts(200, 3000, true);
        let learned = Learned::Embeddings { users, items };
        let short = Bench::new(&history, &held_out);
        assert!(!short.repeats);
        let long = Bench { repeats: true, ..Bench::new(&history, &held_out) };
        assert_eq!(short.model("m", &learned, None).shown, long.model("m", &learned, None).shown);
        assert_eq!(short.model("m", &learned, None).buckets, long.model("m", &learned, None).buckets);
        assert!(short.model("m", &learned, None).views.is_none());
        for depth in [1, 10, 20] {
            assert_eq!(short.choose(&learned, depth).figure, long.choose(&learned, depth).figure);
        }
        let figure = short.choose(&learned, 10).figure;
        assert!(figure > 0.0 && (figure - short.model("m", &learned, None).shown.ndcg_10).abs() < 1e-12);
    }
    #[test]
    fn a_gpu_helps_to_the_same_figures() {
        let Ok(name) = std::env::var("LOOKALIKE_TEST_ADAPTER") else { return };
        let device = device::open(&DeviceChoice::Named(name)).unwrap();
        let (history, held_out, [users, items]) = parts(200, 3000, true);
        let learned = Learned::Embeddings { users, items };
        let alone = Bench::new(&history, &held_out);
        let helped = Bench { device: Some(&device), ..Bench::new(&history, &held_out) };
        assert_eq!(helped.choose(&learned, 10).figure, alone.choose(&learned, 10).figure);
        assert_eq!(helped.model("m", &learned, None).shown, alone.model("m", &learned, None).shown);
    }
}
