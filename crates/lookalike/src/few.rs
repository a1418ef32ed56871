//! Users with few items: how much what is popular counts beside the model, chosen on the validation part and reported on the
//! test part.

use lookalike_bundle::{Bundle, ItemRow, Learned, Row, UserRow};
use lookalike_dataset::{Csr, Dataset, Features, stream_seed};
use lookalike_measure::{judge, ndcg};
use lookalike_retrieve::{Chain, FEW, Hit, ItemsHad, Link, Prior, Recommender, Ties, map_scores, mask, select};
use serde::Serialize;

use crate::buckets::{Bucket, CELLS, buckets};
use crate::failure::Failure;
use crate::say::{grouped, table};
use crate::segments;

/// Values of k that are tried beside 0, which leaves the model alone.
const TRIED: [f64; 5] = [1.0, 2.0, 5.0, 10.0, 20.0];
/// Fewer users say nothing, and more than so many are not asked.
const LEAST: usize = 30;
const MOST: usize = 2000;
/// Items of a list.
const DEPTH: usize = 10;

/// Users of the validation part who had few items before it.
pub struct Chooser<'a> {
    data: &'a Dataset,
    users: Vec<UserRow>,
    prior: Prior<'a>,
}

impl<'a> Chooser<'a> {
    /// Nothing if there are too few such users to choose by. `features` are those that make segments.
    pub fn new(data: &'a Dataset, features: &Features, seed: u64) -> Result<Option<Self>, Failure> {
        let few = |user: &UserRow| (1..=FEW).contains(&data.train.cols(*user).len());
        let asked = data.train.rows().filter(|user| few(user) && !new(data, *user).is_empty());
        let mut users: Vec<UserRow> = asked.collect();
        if users.len() < LEAST {
            return Ok(None);
        }
        users.sort_by_cached_key(|user| stream_seed(seed, 31, u64::from(user.get())));
        users.truncate(MOST);
        let had = ItemsHad::Rows { offsets: data.train.offsets(), items: data.train.all_cols() };
        let segments = segments::made_of(features, data.users.len())?;
        Ok(Some(Self { data, users, prior: Prior::new(had, (data.users.len(), data.items.len()), segments) }))
    }

    /// The k that ranks best what these users went on to (ndcg@10 of new items), if it beats leaving the model alone by more
    /// than twice what chance makes of it.
    pub fn choose(&self, learned: &Learned) -> Option<f64> {
        let history = |user| (self.data.train.cols(user), self.data.train.weights(user));
        let gains = map_scores(learned, &self.users, &history, |at, scores| {
            let (user, had) = (self.users[at], self.data.train.cols(self.users[at]));
            let truth = new(self.data, user);
            let figure = |mut scores: Vec<f32>| {
                mask(&mut scores, had);
                let rows: Vec<u32> =
                    select::<ItemRow>(&scores, DEPTH, Ties::Shuffled).iter().map(|h| h.row.get()).collect();
                ndcg(&rows, &truth, DEPTH)
            };
            let alone = figure(scores.to_vec());
            let blend = self.prior.blend(user, scores);
            TRIED.map(|k| figure(blend.scores(had.len(), k).collect()) - alone)
        });
        let n = gains.len() as f64;
        let mean = |nth: usize| gains.iter().map(|gain| gain[nth]).sum::<f64>() / n;
        let best = (0..TRIED.len()).rev().max_by(|&a, &b| mean(a).total_cmp(&mean(b)))?;
        let spread = gains.iter().map(|gain| (gain[best] - mean(best)).powi(2)).sum::<f64>() / (n - 1.0);
        (mean(best) > 2.0 * (spread / n).sqrt()).then_some(TRIED[best])
    }
}

/// What a user went on to in the validation part without having had it.
fn new(data: &Dataset, user: UserRow) -> Vec<u32> {
    let had = data.train.cols(user);
    data.validation.truth.cols(user).iter().copied().filter(|item| had.binary_search(item).is_err()).collect()
}

/// What the blend does for users with few items, beside the model alone.
#[derive(Serialize)]
pub struct Blended {
    pub k: f64,
    pub model: Vec<Bucket>,
    pub blend: Vec<Bucket>,
}

impl Blended {
    /// Nothing if nothing is blended, or no such user has held-out items.
    pub fn of(bundle: &Bundle, chain: &Chain<'_>, truth: &Csr<UserRow, ItemRow>) -> Option<Self> {
        let k = bundle.manifest.few.as_ref()?.k;
        let held = |user: UserRow| {
            let had = bundle.history.items(user);
            truth.cols(user).iter().copied().filter(|item| had.binary_search(item).is_err()).collect::<Vec<u32>>()
        };
        let answered = |user: &UserRow| chain.answers(Link::Blend, *user) && !held(*user).is_empty();
        let users: Vec<UserRow> = truth.rows().filter(answered).collect();
        let judged = |lists: Vec<Vec<Hit<ItemRow>>>| {
            buckets(users.iter().zip(lists).map(|(&user, hits)| {
                let rows: Vec<u32> = hits.iter().map(|hit| hit.row.get()).collect();
                (bundle.history.items(user).len(), judge(&rows, &held(user)))
            }))
        };
        let model = judged(Recommender::new(bundle).for_users(&users, DEPTH));
        let blend = judged(Recommender::new(bundle).falling_back(chain).by_link(Link::Blend, &users, DEPTH));
        (!users.is_empty()).then_some(Self { k, model, blend })
    }

    /// The table people read.
    pub fn text(&self) -> String {
        let row = |name: &str, bucket: &Bucket, head: bool| {
            let head = if head { [bucket.name.clone(), grouped(bucket.figures.users)] } else { Default::default() };
            [&head[..], &[name.to_owned()], &bucket.figures.cells()].concat()
        };
        let rows: Vec<_> = self
            .model
            .iter()
            .zip(&self.blend)
            .flat_map(|(model, blend)| [row("model", model, true), row("blend", blend, false)])
            .collect();
        let header = [&["items had", "users", ""][..], &CELLS].concat();
        format!(
            "new items for users with 1 to {FEW} items: the model alone, and blended with what users like them had, k = {}\n{}",
            self.k,
            table(&header, &rows)
        )
    }
}
