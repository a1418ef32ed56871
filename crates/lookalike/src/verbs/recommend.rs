//! `recommend`: items for one user or for users that a file tells of; for all of them see `recommend_all`.

use std::path::Path;

use lookalike_bundle::{Bundle, Extra, ItemRow, Learned, Row, UserRow};
use lookalike_retrieve::{Chain, Folding, Hit, INDEX, Index, Link, Ranker, Recommender, Search};
use lookalike_store::{Project, Store};
use roaring::RoaringBitmap;
use serde_json::json;

use super::recommend_all;
use crate::cli::{Common, Recommend};
use crate::explain::{self, Told};
use crate::failure::Failure;
use crate::history::{Histories, Known};
use crate::run::{self, Run};
use crate::say::{Say, grouped, table};

pub fn run(common: &Common, args: &Recommend, say: &Say) -> Result<(), Failure> {
    let bundle = Run(args.of.run.clone()).read()?;
    let only = args.condition.as_deref().map(|condition| allowed(common, &bundle, condition, say)).transpose()?;
    let index = if args.exact || args.repeat { None } else { index_of(&bundle)? };
    let chain = Chain::of(&bundle)?;
    let ranker = Ranker::of_bundle(&bundle)?;
    let answering = Answering { bundle: &bundle, chain: &chain, ranker: ranker.as_ref(), only: only.as_ref() };
    if let Some(out) = &args.out {
        return recommend_all::run(common, &answering, index.as_ref(), args, out, say);
    }
    let search = index.as_ref().map(|index| through(index, only.as_ref()));
    let recommender = match (&search, &bundle.learned) {
        (Some(search), Learned::Embeddings { users, .. }) => Recommender::through(&bundle, users, &**search),
        _ if args.repeat => Recommender::with_repeats(&bundle)?,
        _ => Recommender::new(&bundle),
    };
    let recommender = answering.complete(recommender);
    match (&args.user, &args.history) {
        (_, Some(file)) => {
            let ranked = !args.repeat && recommender.ranker().is_some();
            let how =
                if ranked { format!("{}, and ranked", how(index.is_some())) } else { how(index.is_some()).to_owned() };
            folded(&bundle, &recommender, args.k, file, &how, say)
        }
        (Some(id), None) => {
            let user = run::user(&bundle, id)?;
            let hits = recommender.for_users(&[user], args.k).pop().unwrap_or_default();
            let why = args.explain.then(|| why(&answering, &recommender, user, &hits, args));
            one(&answering, &recommender, user, (&hits, why), index.is_some(), say)
        }
        (None, None) => Err(Failure::wrong_use("no user was named, no history, and no file for all users")),
    }
}

/// The index of a bundle, searched where it lies.
fn index_of(bundle: &Bundle) -> Result<Option<Index>, Failure> {
    let (Some(extra), Some(items)) = (bundle.extra.get(INDEX), bundle.learned.items()) else { return Ok(None) };
    let index = match extra {
        Extra::File(path) => Index::open(path)?,
        Extra::Bytes(bytes) => Index::from_bytes(bytes)?,
    };
    index.check_made_for(items)?;
    Ok(Some(index))
}

/// What every recommender of a bundle has.
pub struct Answering<'a> {
    pub bundle: &'a Bundle,
    pub chain: &'a Chain<'a>,
    pub ranker: Option<&'a Ranker<'a>>,
    pub only: Option<&'a RoaringBitmap>,
}

impl<'a> Answering<'a> {
    /// The same recommender, which keeps to some items if there is a condition, falls back on the chain and ranks.
    pub fn complete(&self, recommender: Recommender<'a>) -> Recommender<'a> {
        let recommender = match self.only {
            Some(only) => recommender.among(only),
            None => recommender,
        };
        let recommender = recommender.falling_back(self.chain);
        match self.ranker {
            Some(ranker) => recommender.ranked(ranker),
            None => recommender,
        }
    }
}

/// Search through an index, which keeps to some items if there is a condition.
pub fn through<'a>(index: &'a Index, only: Option<&'a RoaringBitmap>) -> Box<dyn Search + 'a> {
    match only {
        Some(only) => Box::new(index.within(only)),
        None => Box::new(Asked(index)),
    }
}

/// A search that is borrowed.
struct Asked<'a>(&'a Index);

impl Search for Asked<'_> {
    fn search(&self, query: &[f32], k: usize, exclude: &[u32]) -> Vec<Hit<ItemRow>> {
        self.0.search(query, k, exclude)
    }
}

/// The items of the bundle for which a condition over the project's items is true.
fn allowed(common: &Common, bundle: &Bundle, condition: &str, say: &Say) -> Result<RoaringBitmap, Failure> {
    let store = Store::open(&Project::open(&common.project)?)?;
    let ids = store.items_where(condition)?;
    let rows: RoaringBitmap = ids.iter().filter_map(|id| bundle.items.row(id)).map(Row::get).collect();
    if rows.is_empty() {
        return Err(Failure::new(format!("no item that the model knows fits `{condition}`"))
            .with_hint(format!("it is true for {} items of the store", grouped(ids.len() as u64))));
    }
    say.line(format!("{} of {} items fit", grouped(rows.len()), grouped(bundle.items.len() as u64)));
    Ok(rows)
}

fn how(by_index: bool) -> &'static str {
    if by_index { "found through the index" } else { "every item compared" }
}

/// What can be said of why each item of a list is there.
fn why(
    answering: &Answering<'_>,
    recommender: &Recommender<'_>,
    user: UserRow,
    hits: &[Hit<ItemRow>],
    args: &Recommend,
) -> Vec<Vec<Told>> {
    let bundle = answering.bundle;
    let reasons = recommender.why(user, args.k);
    let weight = bundle.manifest.repeat.as_ref().filter(|_| args.repeat).map(|repeat| repeat.weight);
    let link = answering.chain.link(user);
    let of = |hit: &Hit<ItemRow>| match reasons.get(&hit.row.get()) {
        Some(reasons) => explain::ranked(bundle, reasons),
        None => explain::unranked(bundle, user, link, hit, weight.filter(|_| reasons.is_empty())),
    };
    hits.iter().map(of).collect()
}

fn one(
    answering: &Answering<'_>,
    recommender: &Recommender<'_>,
    user: UserRow,
    (hits, why): (&[Hit<ItemRow>], Option<Vec<Vec<Told>>>),
    by_index: bool,
    say: &Say,
) -> Result<(), Failure> {
    let (bundle, link) = (answering.bundle, answering.chain.link(user));
    let id = bundle.users.id(user);
    let had = bundle.history.items(user).len();
    let ranked = link == Link::Model && had > 0 && recommender.ranker().is_some();
    let by = match link {
        Link::Model if ranked => format!("answered by the model, {}, and ranked", how(by_index)),
        Link::Model => format!("answered by the model, {}", how(by_index)),
        Link::Blend => {
            "answered by the model, blended with what users like this one had, since they had few".to_owned()
        }
        Link::Friends => "answered by what friends had, since the model knows nothing of this user".to_owned(),
        Link::Segment => {
            "answered by what users of the same attributes had, since no more is known of this user".to_owned()
        }
        Link::Popular => {
            "answered by what is popular, since neither the model nor friends nor attributes say anything".to_owned()
        }
    };
    say.line(format!("user {id}: {had} items in the history; {by}"));
    let table = table(&["", "item", "score"], &run::hit_rows(bundle, hits));
    let mut items = run::hits_json(bundle, hits, "score");
    match why {
        None => say.line(table),
        Some(why) => {
            if let Some(day) = &bundle.manifest.learned_before {
                say.line(format!("as of {day}; shares are of all that speaks for an item"));
            }
            let mut lines = table.lines();
            say.line(lines.next().unwrap_or_default());
            for ((line, item), why) in lines.zip(&mut items).zip(why) {
                say.line(line);
                why.iter().for_each(|told| say.line(told.line()));
                item["why"] = why.iter().map(Told::json).collect();
            }
        }
    }
    say.json(&json!({ "user": id, "by": link.name(), "ranked": ranked, "items": items }))
}

/// Lists for the users of a file, from what it says they had; a user of the bundle also had what the bundle says.
fn folded(
    bundle: &Bundle,
    recommender: &Recommender<'_>,
    k: usize,
    file: &Path,
    how: &str,
    say: &Say,
) -> Result<(), Failure> {
    let folding = Folding::of_users(bundle)?;
    let before = |id: &str| match bundle.users.row(id) {
        Some(user) => bundle
            .history
            .items(user)
            .iter()
            .map(|&item| ItemRow::new(item))
            .zip(bundle.history.weights(user).iter().copied())
            .collect(),
        None => Vec::new(),
    };
    let histories = Histories::<UserRow, ItemRow>::read(file, &bundle.items, before)?;
    let had: Vec<Vec<u32>> = histories.known.iter().map(Known::numbers).collect();
    let weights = |at: usize| (&had[at][..], &histories.known[at].weights[..]);
    let lists = recommender.for_vectors(&histories.fold(&folding)?, &weights, k);
    let mut users = Vec::new();
    for (known, hits) in histories.known.iter().zip(&lists) {
        say.line(format!("user {}: {} items in the history; {how}", known.name(), known.rows.len()));
        say.line(table(&["", "item", "score"], &run::hit_rows(bundle, hits)));
        let items = run::hits_json(bundle, hits, "score");
        users.push(json!({ "user": known.id, "history": known.rows.len(), "items": items }));
    }
    histories.left_out().iter().for_each(|line| say.line(line));
    say.json(&json!({ "users": users, "left_out": histories.left_out_json() }))
}
