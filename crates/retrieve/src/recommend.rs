//! Items for users of a bundle: new ones by the score of the model, or all with repeats blended in.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use lookalike_bundle::{Bundle, ItemRow, Learned, Matrix, Row, UserRow};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::chain::{Chain, Link};
use crate::error::RetrieveError;
use crate::exact::{Among, Exact, Search};
use crate::rank::{CANDIDATES, Had, Ranker, Reason};
use crate::scores::{map_scores, queries};
use crate::topk::{Hit, Ties, mask, select};

/// Users answered at a time by [`Recommender::all`]: what bounds its memory.
const AT_ONCE: usize = 4096;
/// Users that [`Recommender::rate`] measures with.
const TRIED: usize = 1024;

/// Turns the scores of one user into scores that count repeats too: `(s - mean) / deviation + weight * ln(1 + h)`.
///
/// Mean and standard deviation are those of the user's finite scores, so that one weight suits all users; `h` is the
/// history weight of an item, 0 where `rows` (ascending, with `history` beside it) does not name it. Scores that are
/// all equal become 0 before the history term is added.
pub fn blend_repeats(scores: &mut [f32], rows: &[u32], history: &[f32], weight: f64) {
    standardise(scores);
    for (&row, &history) in rows.iter().zip(history) {
        scores[row as usize] += (weight * f64::from(history).ln_1p()) as f32;
    }
}

/// Brings the finite scores to mean 0 and standard deviation 1, or all to 0 where they are equal.
pub(crate) fn standardise(scores: &mut [f32]) {
    let finite = || scores.iter().filter(|score| score.is_finite()).map(|&score| f64::from(score));
    let count = finite().count().max(1) as f64;
    let mean = finite().sum::<f64>() / count;
    let deviation = (finite().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
    let scale = if deviation > 0.0 { 1.0 / deviation } else { 0.0 };
    for score in scores.iter_mut().filter(|score| score.is_finite()) {
        *score = ((f64::from(*score) - mean) * scale) as f32;
    }
}

/// Answers what to recommend.
pub struct Recommender<'a> {
    bundle: &'a Bundle,
    rule: Rule<'a>,
    only: Option<Only<'a>>,
    chain: Option<&'a Chain<'a>>,
    ranker: Option<&'a Ranker<'a>>,
}

/// The items that may be recommended, and their embeddings side by side where there are any.
struct Only<'a> {
    items: &'a RoaringBitmap,
    among: Option<Among>,
}

enum Rule<'a> {
    /// Items without history, each one scored.
    New,
    /// Items without history, by a search for these embeddings of users.
    Search(&'a Matrix, &'a dyn Search),
    /// All items, by the blended score with this weight.
    Repeat(f64),
}

impl<'a> Recommender<'a> {
    /// Recommends items that the user has no history with, after a look at every item.
    pub fn new(bundle: &'a Bundle) -> Self {
        Self { bundle, rule: Rule::New, only: None, chain: None, ranker: None }
    }

    /// The same by a search over the items of the bundle; `users` are its embeddings of users.
    pub fn through(bundle: &'a Bundle, users: &'a Matrix, search: &'a dyn Search) -> Self {
        Self { bundle, rule: Rule::Search(users, search), only: None, chain: None, ranker: None }
    }

    /// Recommends any item; what the user did before counts as the bundle's manifest says.
    pub fn with_repeats(bundle: &'a Bundle) -> Result<Self, RetrieveError> {
        match &bundle.manifest.repeat {
            Some(repeat) => {
                Ok(Self { bundle, rule: Rule::Repeat(repeat.weight), only: None, chain: None, ranker: None })
            }
            None => Err(RetrieveError::NoRepeat { model: bundle.manifest.model.clone() }),
        }
    }

    /// Recommends these items alone. A search given to [`Recommender::through`] must keep to them itself, as
    /// [`crate::Index::within`] does.
    pub fn among(self, items: &'a RoaringBitmap) -> Self {
        let among = match (&self.rule, &self.bundle.learned) {
            (Rule::New, Learned::Embeddings { items: table, .. }) => Some(Among::new(table, items)),
            _ => None,
        };
        Self { only: Some(Only { items, among }), ..self }
    }

    /// Has the links of a chain answer for the users that the model knows nothing of.
    pub fn falling_back(self, chain: &'a Chain<'a>) -> Self {
        Self { chain: Some(chain), ..self }
    }

    /// Has a ranker order once more what the model puts first, for users with a history and in lists that it is used for.
    pub fn ranked(self, ranker: &'a Ranker<'a>) -> Self {
        Self { ranker: Some(ranker), ..self }
    }

    /// The ranker of its lists, if they are ranked by one.
    pub fn ranker(&self) -> Option<&'a Ranker<'a>> {
        self.ranker.filter(|ranker| match self.rule {
            Rule::Repeat(_) => ranker.ranks_all(),
            Rule::New | Rule::Search(..) => ranker.ranks_new(),
        })
    }

    /// Takes out of the running what may not be recommended.
    fn keep(&self, scores: &mut [f32]) {
        if let Some(only) = &self.only {
            for (row, score) in (0..).zip(scores) {
                if !only.items.contains(row) {
                    *score = f32::NEG_INFINITY;
                }
            }
        }
    }

    /// Search by a look at every item that may be recommended.
    fn exact(&self, items: &'a Matrix) -> Exact<'_> {
        match self.only.as_ref().and_then(|only| only.among.as_ref()) {
            Some(among) => among.exact(),
            None => Exact::new(items),
        }
    }

    /// The `k` best items for each of some users, in the order given. Where there is a chain, those that the model knows
    /// nothing of get the list of the link that answers for them.
    pub fn for_users(&self, users: &[UserRow], k: usize) -> Vec<Vec<Hit<ItemRow>>> {
        match self.chain {
            Some(chain) => self.by_links(chain, users, k, |user| Some(chain.link(user))),
            None => self.by_model(users, k),
        }
    }

    /// The same by one link of the chain alone; an empty list where it knows nothing of a user, or there is no chain.
    pub fn by_link(&self, link: Link, users: &[UserRow], k: usize) -> Vec<Vec<Hit<ItemRow>>> {
        match self.chain {
            Some(chain) => self.by_links(chain, users, k, |user| Some(link).filter(|&link| chain.answers(link, user))),
            None => vec![Vec::new(); users.len()],
        }
    }

    fn by_links(
        &self,
        chain: &Chain<'_>,
        users: &[UserRow],
        k: usize,
        link: impl Fn(UserRow) -> Option<Link> + Sync,
    ) -> Vec<Vec<Hit<ItemRow>>> {
        let links: Vec<Option<Link>> = users.par_iter().map(|&user| link(user)).collect();
        let asked = users.iter().zip(&links).filter(|(_, link)| **link == Some(Link::Model));
        let blended = users.iter().zip(&links).filter(|(_, link)| **link == Some(Link::Blend));
        let mut blended = self.blended(chain, &blended.map(|(&user, _)| user).collect::<Vec<_>>(), k).into_iter();
        let mut by_model = self.by_model(&asked.map(|(&user, _)| user).collect::<Vec<_>>(), k).into_iter();
        let items = self.bundle.items.len();
        let list = |scores: &mut Vec<f32>, (&user, &link): (&UserRow, &Option<Link>)| match link {
            Some(Link::Model | Link::Blend) => None,
            Some(link) => {
                scores.resize(items, 0.0);
                chain.score(link, user, scores);
                self.keep(scores);
                mask(scores, self.bundle.history.items(user));
                Some(select(scores, k, Ties::Shuffled))
            }
            None => Some(Vec::new()),
        };
        let lists: Vec<_> = users.par_iter().zip(&links).map_init(Vec::new, list).collect();
        let mut list = |(list, link): (Option<_>, &Option<Link>)| match link {
            Some(Link::Blend) => blended.next(),
            _ => list.or_else(|| by_model.next()),
        };
        lists.into_iter().zip(&links).map(|both| list(both).unwrap_or_default()).collect()
    }

    /// Lists of users with few items: by the model's scores, blended with what users like them had.
    fn blended(&self, chain: &Chain<'_>, users: &[UserRow], k: usize) -> Vec<Vec<Hit<ItemRow>>> {
        let Bundle { learned, history, .. } = self.bundle;
        let had = |user: UserRow| (history.items(user), history.weights(user));
        map_scores(learned, users, &had, |at, scores| {
            let (items, weights) = had(users[at]);
            chain.score(Link::Blend, users[at], scores);
            match self.rule {
                Rule::Repeat(weight) => blend_repeats(scores, items, weights, weight),
                _ => mask(scores, items),
            }
            self.keep(scores);
            select(scores, k, Ties::Shuffled)
        })
    }

    fn by_model(&self, users: &[UserRow], k: usize) -> Vec<Vec<Hit<ItemRow>>> {
        let Bundle { learned, history, .. } = self.bundle;
        let had = |user: UserRow| (history.items(user), history.weights(user));
        match self.rule {
            Rule::Repeat(weight) => map_scores(learned, users, &had, |at, scores| {
                match self.ranker().filter(|_| !history.items(users[at]).is_empty()) {
                    Some(ranker) => ranker.all_items(users[at], scores, self.items(), k),
                    None => {
                        blend_repeats(scores, history.items(users[at]), history.weights(users[at]), weight);
                        self.keep(scores);
                        select(scores, k, Ties::Shuffled)
                    }
                }
            }),
            _ => self.rank(self.candidates(users, self.depth(k)), &|at| had(users[at]), k),
        }
    }

    /// New items for each of some users as the model has them.
    fn candidates(&self, users: &[UserRow], k: usize) -> Vec<Vec<Hit<ItemRow>>> {
        let Bundle { learned, history, .. } = self.bundle;
        match (&self.rule, learned) {
            (Rule::Search(table, search), _) => {
                search.search_all(&queries(table, users), k, &|at| history.items(users[at]))
            }
            (_, Learned::Embeddings { users: table, items }) => {
                self.exact(items).search_all(&queries(table, users), k, &|at| history.items(users[at]))
            }
            (_, Learned::ItemWeights(_)) => {
                let had = |user: UserRow| (history.items(user), history.weights(user));
                map_scores(learned, users, &had, |at, scores| {
                    self.keep(scores);
                    mask(scores, history.items(users[at]));
                    select(scores, k, Ties::Shuffled)
                })
            }
        }
    }

    /// How many items of the model a list of `k` new ones needs.
    fn depth(&self, k: usize) -> usize {
        self.ranker().map_or(k, |_| k.max(CANDIDATES))
    }

    /// Lists of new items ranked once more, if there is a ranker for them.
    fn rank<'h>(
        &self,
        lists: Vec<Vec<Hit<ItemRow>>>,
        had: &(dyn Fn(usize) -> (&'h [u32], &'h [f32]) + Sync),
        k: usize,
    ) -> Vec<Vec<Hit<ItemRow>>> {
        let Some(ranker) = self.ranker() else { return lists };
        let rank = |(at, mut hits): (usize, Vec<Hit<ItemRow>>)| {
            let (items, weights) = had(at);
            if items.is_empty() {
                hits.truncate(k);
                return hits;
            }
            ranker.new_items(Had { items, weights }, hits, k)
        };
        lists.into_par_iter().enumerate().map(rank).collect()
    }

    /// The items that may be recommended, if not all may.
    fn items(&self) -> Option<&'a RoaringBitmap> {
        self.only.as_ref().map(|only| only.items)
    }

    /// What each signal of the ranker adds to the score of an item that may be recommended to a user, by item. Nothing where
    /// no ranker orders the user's list of `k`.
    pub fn why(&self, user: UserRow, k: usize) -> BTreeMap<u32, Vec<Reason>> {
        let Bundle { learned, history, .. } = self.bundle;
        let had = Had { items: history.items(user), weights: history.weights(user) };
        let by_model = self.chain.is_none_or(|chain| chain.link(user) == Link::Model);
        let Some(ranker) = self.ranker().filter(|_| by_model && !had.items.is_empty()) else { return BTreeMap::new() };
        let mut why = match self.rule {
            Rule::Repeat(_) => map_scores(learned, &[user], &|_| (had.items, had.weights), |_, scores| {
                ranker.why_all(user, scores, self.items(), k)
            }),
            _ => self.candidates(&[user], self.depth(k)).iter().map(|hits| ranker.why_new(had, hits)).collect(),
        };
        why.pop().unwrap_or_default()
    }

    /// The same for users who are not in the bundle: `vectors` has a row for each, as [`crate::Folding`] makes them, and
    /// `had` gives the items (ascending) and weights of what each had. A ranker orders new items alone: when such a user
    /// had what is not known.
    pub fn for_vectors<'h>(
        &self,
        vectors: &Matrix,
        had: &(dyn Fn(usize) -> (&'h [u32], &'h [f32]) + Sync),
        k: usize,
    ) -> Vec<Vec<Hit<ItemRow>>> {
        let blend = |at: usize, scores: &mut [f32], weight| {
            let (items, weights) = had(at);
            blend_repeats(scores, items, weights, weight);
            self.keep(scores);
            select(scores, k, Ties::Shuffled)
        };
        match &self.bundle.learned {
            Learned::Embeddings { items, .. } => match self.rule {
                Rule::New => self.rank(self.exact(items).search_all(vectors, self.depth(k), &|at| had(at).0), had, k),
                Rule::Search(_, search) => {
                    self.rank(search.search_all(vectors, self.depth(k), &|at| had(at).0), had, k)
                }
                Rule::Repeat(weight) => Exact::new(items).map_scores(vectors, |at, scores| blend(at, scores, weight)),
            },
            // Weights from item to item score a history, whoever has it.
            learned @ Learned::ItemWeights(_) => {
                let rows: Vec<_> = (0..vectors.rows() as u32).map(UserRow::new).collect();
                let history = |row: UserRow| had(row.index());
                let depth = self.depth(k);
                let lists = map_scores(learned, &rows, &history, |at, scores| match self.rule {
                    Rule::Repeat(weight) => blend(at, scores, weight),
                    _ => {
                        self.keep(scores);
                        mask(scores, had(at).0);
                        select(scores, depth, Ties::Shuffled)
                    }
                });
                match self.rule {
                    Rule::Repeat(_) => lists,
                    _ => self.rank(lists, had, k),
                }
            }
        }
    }

    /// How many users a second get lists, measured on the first ones: the better of two rounds, since a device first
    /// compiles what it runs.
    pub fn rate(&self, k: usize) -> f64 {
        let count = self.bundle.users.len().min(TRIED);
        let users: Vec<_> = (0..count as u32).map(UserRow::new).collect();
        let round = || {
            let start = Instant::now();
            std::hint::black_box(self.for_users(&users, k));
            count as f64 / start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
        };
        round().max(round())
    }

    /// The `k` best items for users in a range of rows, block after block in row order, in memory that their number does
    /// not change.
    pub fn all(&self, k: usize, rows: Range<usize>) -> impl Iterator<Item = Vec<(UserRow, Vec<Hit<ItemRow>>)>> + '_ {
        rows.clone().step_by(AT_ONCE).map(move |start| {
            let users: Vec<_> = (start..(start + AT_ONCE).min(rows.end)).map(|row| UserRow::new(row as u32)).collect();
            let lists = self.for_users(&users, k);
            users.into_iter().zip(lists).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::bundle;

    #[test]
    fn new_items_alone_unless_repeats_are_asked_for() {
        let bundle = bundle(3, 50);
        let known = |user: usize, hit: &Hit<ItemRow>| hit.row.index() % 7 == user;
        let new = Recommender::new(&bundle).for_users(&[UserRow::new(2)], 99);
        assert!(new[0].len() == 43 && !new[0].iter().any(|hit| known(2, hit)));
        let again = Recommender::with_repeats(&bundle).unwrap().for_users(&[UserRow::new(1)], 7);
        assert!(again[0].iter().all(|hit| known(1, hit)));
    }

    #[test]
    fn a_search_of_everything_finds_what_a_look_at_everything_finds() {
        let bundle = bundle(5, 90);
        let Learned::Embeddings { users, items } = &bundle.learned else { unreachable!() };
        let rows: Vec<_> = (0..5).map(UserRow::new).collect();
        let exact = Exact::new(items);
        let searched = Recommender::through(&bundle, users, &exact).for_users(&rows, 9);
        assert_eq!(searched, Recommender::new(&bundle).for_users(&rows, 9));
    }

    #[test]
    fn whatever_the_rule_only_what_may_be_recommended_is() {
        let bundle = bundle(5, 90);
        let Learned::Embeddings { users, items } = &bundle.learned else { unreachable!() };
        let rows: Vec<_> = (0..5).map(UserRow::new).collect();
        let only: RoaringBitmap = (0..90).step_by(4).collect();
        let among = Among::new(items, &only);
        let exact = among.exact();
        let new = Recommender::new(&bundle).among(&only).for_users(&rows, 50);
        assert_eq!(Recommender::through(&bundle, users, &exact).among(&only).for_users(&rows, 50), new);
        let repeats = Recommender::with_repeats(&bundle).unwrap().among(&only).for_users(&rows, 50);
        assert!(new.iter().chain(&repeats).flatten().all(|hit| only.contains(hit.row.get())));
        assert!(repeats.iter().all(|hits| hits.len() == 23) && new.iter().all(|hits| hits.len() < 23));
        let everything = Recommender::new(&bundle).for_users(&rows, 90);
        for (hits, all) in new.iter().zip(everything) {
            let kept: Vec<_> = all.into_iter().filter(|hit| only.contains(hit.row.get())).collect();
            assert_eq!(hits.iter().map(|h| h.row).collect::<Vec<_>>(), kept.iter().map(|h| h.row).collect::<Vec<_>>());
        }
    }

    #[test]
    fn all_users_in_blocks_get_what_each_gets_alone() {
        let bundle = bundle(AT_ONCE + 5, 31);
        let recommender = Recommender::with_repeats(&bundle).unwrap();
        let all: Vec<_> = recommender.all(4, 0..AT_ONCE + 5).flatten().collect();
        assert_eq!(all.len(), AT_ONCE + 5);
        for (at, (user, hits)) in all.iter().enumerate().step_by(97) {
            assert_eq!((user.index(), hits), (at, &recommender.for_users(&[*user], 4)[0]));
        }
    }

    #[test]
    fn a_model_without_a_rule_for_repeats() {
        let mut bundle = bundle(1, 5);
        bundle.manifest.repeat = None;
        let error = Recommender::with_repeats(&bundle).err().unwrap();
        assert!(error.to_string().contains("`ials`") && error.hint().is_some());
    }

    #[test]
    fn blending_standardises_and_adds_the_logarithm() {
        let mut scores = [1.0, 3.0, f32::NEG_INFINITY, 1.0, 3.0];
        blend_repeats(&mut scores, &[1], &[1.0], 2.0);
        assert_eq!(scores, [-1.0, 1.0 + 2.0 * 2f32.ln(), f32::NEG_INFINITY, -1.0, 1.0]);
    }

    #[test]
    fn equal_scores_leave_the_history_alone_to_speak() {
        let mut scores = [0.1; 3];
        blend_repeats(&mut scores, &[2], &[1.0], 0.5);
        assert_eq!(scores, [0.0, 0.0, 0.5 * 2f32.ln()]);
    }
}
