//! Learning to rank: the weights of a ranker from the validation part, and whether it is used at all.
//!
//! What is learned from is what the model put first when it knew the training part alone, with the signals as of the end of
//! that part. Users are dealt into parts by a hash; lists of each are ranked by the weights of the others, and where that is
//! no better than the model's own lists, beyond chance, the model's lists stay. The test part is not looked at.

use std::sync::Arc;

use lookalike_bundle::{Data, History, ItemInfo, ItemRow, Moments, Row, Tensor, Tensors, UserRow};
use lookalike_dataset::{Dataset, stream_seed};
use lookalike_measure::{ndcg, student_two_sided};
use lookalike_retrieve::{
    AGAIN, Again, CANDIDATES, Choices, Hit, Linear, NEW, Ranker, Signals, Ties, Weights, select_among,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::judge::Bench;

/// Parts that users are dealt into.
const FOLDS: u64 = 5;
/// Lists are judged by ndcg at this depth.
const DEPTH: usize = 10;
/// Fewer users decide nothing.
const LEAST: usize = 30;
/// A gain counts where chance alone has one as large less often than this.
const CHANCE: f64 = 0.05;

/// What a model puts first for some users, and its scores of what they had.
#[derive(Default)]
pub struct Shortlists {
    lists: Vec<(Vec<Hit<ItemRow>>, Vec<f32>)>,
}

impl Shortlists {
    pub fn new(lists: impl Iterator<Item = (Vec<Hit<ItemRow>>, Vec<f32>)>) -> Self {
        Self { lists: lists.collect() }
    }

    /// As a checkpoint keeps them; nothing where there are none.
    pub fn into_tensors(self) -> Tensors {
        if self.lists.is_empty() {
            return Tensors::new();
        }
        let (lists, hits) = (self.lists.iter(), || self.lists.iter().flat_map(|(hits, _)| hits));
        let (new, had) = lists.map(|(hits, mine)| (hits.len() as u32, mine.len() as u32)).unzip();
        Tensors::from([
            ("new.counts".to_owned(), Tensor::u32s(new)),
            ("new.items".to_owned(), Tensor::u32s(hits().map(|hit| hit.row.get()).collect())),
            ("new.scores".to_owned(), Tensor::f32s(hits().map(|hit| hit.score).collect())),
            ("had.counts".to_owned(), Tensor::u32s(had)),
            (
                "had.scores".to_owned(),
                Tensor::f32s(self.lists.iter().flat_map(|list| list.1.iter().copied()).collect()),
            ),
        ])
    }

    /// Nothing where the tensors are none of a shortlist.
    pub fn from_tensors(tensors: &Tensors) -> Option<Self> {
        let counts = |name: &str| match &tensors.get(name)?.data {
            Data::U32(numbers) => Some(numbers),
            _ => None,
        };
        let scores = |name: &str| match &tensors.get(name)?.data {
            Data::F32(numbers) => Some(numbers),
            _ => None,
        };
        let mut hits = counts("new.items")?.iter().zip(scores("new.scores")?);
        let mut had = scores("had.scores")?.iter().copied();
        let list = |(&new, &mine): (&u32, &u32)| {
            let hit = |(&row, &score)| Hit { row: ItemRow::new(row), score };
            (hits.by_ref().take(new as usize).map(hit).collect(), had.by_ref().take(mine as usize).collect())
        };
        Some(Self::new(counts("new.counts")?.iter().zip(counts("had.counts")?).map(list)))
    }
}

/// What was found on the validation part; the manifest holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Findings {
    /// New items per user that are ranked once more.
    pub candidates: usize,
    /// Signals that the data say nothing for.
    pub left_out: Vec<String>,
    /// Lists of new items.
    pub new: Finding,
    /// Lists of all items, where people have the same thing again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<Finding>,
    /// Of these, what the user had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Finding>,
}

/// Lists of one kind: ndcg@10 by the model alone and by the ranker, each user ranked by weights of others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    pub users: usize,
    pub model: f64,
    pub ranked: f64,
    /// Chance of a difference like this or further from 0 if there were none.
    pub p: f64,
    pub used: bool,
}

impl Finding {
    /// Of two figures a user, that of the model first.
    fn of(pairs: &[(f64, f64)]) -> Self {
        let n = pairs.len().max(1) as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
        let (model, ranked) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
        let gain = ranked - model;
        let variance = pairs.iter().map(|pair| (pair.1 - pair.0 - gain).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let error = (variance / n).sqrt();
        let p = if error > 0.0 { student_two_sided(gain / error, (n - 1.0).max(1.0)) } else { 1.0 };
        Self { users: pairs.len(), model, ranked, p, used: pairs.len() >= LEAST && gain > 0.0 && p < CHANCE }
    }

    fn text(&self, what: &str) -> String {
        let chance = if self.p < 1e-4 { "p < 0.0001".to_owned() } else { format!("p {:.4}", self.p) };
        let end = if self.used { "ranked by it" } else { "not ranked by it" };
        format!("{what} ndcg@10 {:.4} by the model, {:.4} with it ({chance}): {end}", self.model, self.ranked)
    }
}

impl Findings {
    /// Whether any list is ranked by it.
    pub fn used(&self) -> bool {
        self.new.used || self.all.as_ref().is_some_and(|all| all.used)
    }

    /// What people read.
    pub fn text(&self) -> String {
        let mut lines = vec![format!(
            "ranker, on {} users of the validation part, each ranked by weights learned from others:",
            crate::say::grouped(self.new.users as u64)
        )];
        lines.push(self.new.text("  new items:"));
        lines.extend(self.all.iter().map(|all| all.text("  all items:")));
        if !self.left_out.is_empty() {
            lines.push(format!("  nothing is known for: {}", self.left_out.join(", ")));
        }
        lines.join("\n")
    }
}

/// What is learned from: the users of a bench with their shortlists and signals.
struct Lesson<'a> {
    signals: Arc<Signals<'a>>,
    bench: &'a Bench<'a>,
    lists: &'a Shortlists,
    /// Of every user of the bench, what is held out: items that the user had, and new ones.
    truth: Vec<(Vec<u32>, Vec<u32>)>,
    new: Choices,
    again: Choices,
    /// Weight of the history in the model's own lists of all items.
    weight: Option<f64>,
}

/// Learns weights from the validation part. `weight` is that of the history term in the model's own lists; without one,
/// nobody has anything again. Nothing comes back where the lists are not those of the bench.
pub fn learn(
    data: &Dataset,
    info: &[ItemInfo],
    moments: Moments,
    bench: &Bench<'_>,
    lists: &Shortlists,
    weight: Option<f64>,
    seed: u64,
) -> Result<Option<(Weights, Findings)>, Failure> {
    let users = bench.users();
    if lists.lists.len() != users.len() || users.is_empty() {
        return Ok(None);
    }
    let entries = data.train.pairs().map(|pair| (pair.row, pair.col, pair.weight));
    let history = History::new(data.users.len(), data.items.len(), entries)
        .map_err(|error| Failure::new(format!("the training part is no history: {error}")))?;
    let signals = Arc::new(Signals::new(&history, info, moments));
    let lesson = Lesson::new(signals, bench, lists, weight);
    let fold = |user: UserRow| stream_seed(seed, 31, u64::from(user.get())) % FOLDS;
    let folds = (0..FOLDS).into_par_iter().map(|nth| {
        let (mine, others): (Vec<_>, Vec<_>) = (0..users.len()).partition(|&at| fold(users[at]) == nth);
        lesson.judge(&lesson.fit(&others), &mine)
    });
    let judged: Vec<[Option<(f64, f64)>; 3]> = folds.collect::<Vec<_>>().concat();
    let finding = |list: usize| Finding::of(&judged.iter().filter_map(|one| one[list]).collect::<Vec<_>>());
    let repeats = weight.map(|_| (finding(1), finding(2)));
    let (all, repeat) = repeats.unzip();
    let mut weights = lesson.fit(&(0..users.len()).collect::<Vec<_>>());
    let new = finding(0);
    weights.ranks_new = new.used;
    if let (Some(again), Some(all)) = (&mut weights.again, &all) {
        again.ranks_all = all.used;
    }
    let left_out = lesson.signals.missing().iter().map(|signal| signal.name().to_owned()).collect();
    Ok(Some((weights, Findings { candidates: CANDIDATES, left_out, new, all, repeat })))
}

impl<'a> Lesson<'a> {
    fn new(signals: Arc<Signals<'a>>, bench: &'a Bench<'a>, lists: &'a Shortlists, weight: Option<f64>) -> Self {
        let users = bench.users();
        let truth: Vec<_> = users.iter().map(|&user| bench.parted(user)).collect();
        let chosen = |items: &mut dyn Iterator<Item = u32>, truth: &[u32]| -> Vec<bool> {
            items.map(|item| truth.binary_search(&item).is_ok()).collect()
        };
        let of_user = |(at, &user): (usize, &UserRow)| {
            let ((hits, mine), (again, new)) = (&lists.lists[at], &truth[at]);
            let had = signals.had(user);
            let among_new = chosen(&mut hits.iter().map(|hit| hit.row.get()).take(CANDIDATES), new);
            let of_new = signals.of_new(had, &hits[..among_new.len()]);
            let of_again = if mine.is_empty() { Vec::new() } else { signals.of_again(user, mine) };
            let among_had = chosen(&mut had.items.iter().copied().take(mine.len()), again);
            ((of_new, among_new), (of_again, among_had))
        };
        let all: Vec<_> = users.par_iter().enumerate().map(of_user).collect();
        let [mut new, mut again] = [NEW.len(), AGAIN.len()].map(Choices::new);
        for ((of_new, among_new), (of_again, among_had)) in &all {
            new.push(of_new, among_new);
            again.push(of_again, among_had);
        }
        Self { signals, bench, lists, truth, new, again, weight }
    }

    /// The weights by some of the users.
    fn fit(&self, users: &[usize]) -> Weights {
        let new = self.new.fit(users);
        let again = self.weight.map(|_| {
            let again = self.again.fit(users);
            let both = self.both(&new, &again, users);
            Again { again, both, ranks_all: true }
        });
        Weights { new, again, ranks_new: true }
    }

    /// How scores of what users had and of new items go into one list.
    fn both(&self, new: &Linear, again: &Linear, users: &[usize]) -> [f32; 3] {
        let mut both = Choices::new(3);
        for &user in users {
            let (mut signals, mut chosen) = (Vec::new(), Vec::new());
            let (of_had, had) = self.again.of(user);
            of_had.for_each(|one| signals.extend([1.0, again.score(one) as f32, 0.0]));
            let (of_new, among_new) = self.new.of(user);
            of_new.for_each(|one| signals.extend([0.0, 0.0, new.score(one) as f32]));
            chosen.extend(had.iter().chain(among_new));
            both.push(&signals, &chosen);
        }
        let fitted = both.fit(&(0..both.users()).collect::<Vec<_>>());
        [0, 1, 2].map(|at| fitted.weights[at])
    }

    /// ndcg@10 by the model and by a ranker of some users: of new items, of all items, and of what they had.
    fn judge(&self, weights: &Weights, users: &[usize]) -> Vec<[Option<(f64, f64)>; 3]> {
        let ranker = Ranker::new(self.signals.clone(), weights.clone());
        users.iter().map(|&at| self.judge_one(&ranker, at)).collect()
    }

    fn judge_one(&self, ranker: &Ranker<'_>, at: usize) -> [Option<(f64, f64)>; 3] {
        let (user, (hits, mine), (again, new)) = (self.bench.users()[at], &self.lists.lists[at], &self.truth[at]);
        let had = self.signals.had(user);
        let figure = |list: &[Hit<ItemRow>], truth: &[u32]| {
            ndcg(&list.iter().map(|hit| hit.row.get()).collect::<Vec<_>>(), truth, DEPTH)
        };
        let of_new =
            (!new.is_empty()).then(|| (figure(hits, new), figure(&ranker.new_items(had, hits.clone(), DEPTH), new)));
        let Some(weight) = self.weight else { return [of_new, None, None] };
        // The model's own list of all items: scores are standardised already, so that the history term alone is added.
        let mut all: Vec<u32> = had.items.iter().copied().chain(hits.iter().map(|hit| hit.row.get())).collect();
        let mut truth: Vec<u32> = again.iter().chain(new).copied().collect();
        truth.sort_unstable();
        let mut scores = vec![f32::NEG_INFINITY; self.bench.items()];
        had.items.iter().zip(mine).for_each(|(&item, &score)| scores[item as usize] = score);
        hits.iter().for_each(|hit| scores[hit.row.index()] = hit.score);
        for (&item, &times) in had.items.iter().zip(had.weights) {
            scores[item as usize] += (weight * f64::from(times).ln_1p()) as f32;
        }
        all.sort_unstable();
        let model = |among: &[u32]| select_among::<ItemRow>(&scores, among, DEPTH, Ties::Shuffled);
        let of_all =
            (figure(&model(&all), &truth), figure(&ranker.both(user, mine, hits.clone(), None, DEPTH), &truth));
        let of_had = (!again.is_empty())
            .then(|| (figure(&model(had.items), again), figure(&ranker.again(user, mine, DEPTH), again)));
        [of_new, Some(of_all), of_had]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shortlists_come_back_from_a_checkpoint() {
        let hit = |row, score| Hit { row: ItemRow::new(row), score };
        let lists = vec![
            (vec![hit(4, 0.5), hit(2, -1.0)], vec![1.0, 2.0, 3.0]),
            (Vec::new(), vec![0.25]),
            (vec![hit(1, 0.0)], Vec::new()),
        ];
        let tensors = Shortlists { lists: lists.clone() }.into_tensors();
        assert_eq!(Shortlists::from_tensors(&tensors).unwrap().lists, lists);
        assert!(Shortlists::default().into_tensors().is_empty());
        assert!(Shortlists::from_tensors(&Tensors::new()).is_none());
    }

    #[test]
    fn a_gain_counts_where_it_is_more_than_chance() {
        // Users gain by turns and lose as much, but for a small gain of all.
        let pairs = |count: usize, gain: f64| -> Vec<(f64, f64)> {
            (0..count).map(|at| (0.5, 0.5 + gain + if at % 2 == 0 { 0.1 } else { -0.1 })).collect()
        };
        let sure = Finding::of(&pairs(1000, 0.01));
        assert!(sure.used && sure.p < 0.01 && (sure.ranked - sure.model - 0.01).abs() < 1e-9, "{sure:?}");
        assert!(!Finding::of(&pairs(1000, 0.001)).used && !Finding::of(&pairs(1000, -0.05)).used);
        assert!(!Finding::of(&pairs(20, 0.2)).used);
        let nothing = Finding::of(&[]);
        assert!(!nothing.used && nothing.p == 1.0 && nothing.users == 0);
        assert!(!Finding::of(&vec![(0.3, 0.3); 99]).used);
    }
}
