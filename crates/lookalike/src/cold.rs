//! Users without a history, link by link: what each link of the chain is worth for them alone, and what the chain is.

#[cfg(test)]
mod golden;

use std::collections::BTreeMap;

use lookalike_bundle::{Bundle, ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, Dataset, Features};
use lookalike_measure::{RankingSum, judge};
use lookalike_retrieve::{Chain, Hit, Link, Recommender};
use lookalike_train::{Knobs, Preset, read_of_users};
use serde::Serialize;

use crate::buckets::{CELLS, Few};
use crate::failure::Failure;
use crate::say::{grouped, table};

/// Items of a list.
const DEPTH: usize = 10;

/// What the chain does for users without a history.
#[derive(Serialize)]
pub struct Cold {
    pub users: usize,
    pub held_out_pairs: usize,
    /// Each link alone, in the order in which they are asked.
    pub links: Vec<Alone>,
    /// All of them, one after the other.
    pub chain: Few,
}

/// A link alone. Figures are means over all users without a history, so that those it does not answer count as nothing
/// found.
#[derive(Serialize)]
pub struct Alone {
    pub link: &'static str,
    /// Users it knows something of.
    pub answers: usize,
    /// Users it answers in the chain: those that no link before it knows.
    pub answers_in_chain: usize,
    #[serde(flatten)]
    pub figures: Few,
}

impl Cold {
    /// Nothing if no such user has held-out items.
    pub fn of(bundle: &Bundle, truth: &Csr<UserRow, ItemRow>) -> Result<Option<Self>, Failure> {
        let users: Vec<UserRow> = truth.rows().filter(|&user| !truth.cols(user).is_empty()).collect();
        if users.is_empty() {
            return Ok(None);
        }
        let chain = Chain::of(bundle)?;
        let recommender = Recommender::new(bundle).falling_back(&chain);
        let judged = |lists: &[Vec<Hit<ItemRow>>]| {
            let mut sum = RankingSum::new(0);
            for (&user, hits) in users.iter().zip(lists) {
                let rows: Vec<u32> = hits.iter().map(|hit| hit.row.get()).collect();
                sum.add(judge(&rows, truth.cols(user)), &[]);
            }
            Few::from(sum.mean())
        };
        let counts = counts(&chain, users.iter().copied());
        let alone = |link: Link| Alone {
            link: link.name(),
            answers: users.iter().filter(|&&user| chain.answers(link, user)).count(),
            answers_in_chain: counts[link.name()],
            figures: judged(&recommender.by_link(link, &users, DEPTH)),
        };
        Ok(Some(Self {
            users: users.len(),
            held_out_pairs: truth.len(),
            // The blend is one of the model with what users had, and these had nothing.
            links: Link::ALL.into_iter().filter(|&link| link != Link::Blend).map(alone).collect(),
            chain: judged(&recommender.for_users(&users, DEPTH)),
        }))
    }

    /// The table people read.
    pub fn text(&self) -> String {
        let row =
            |name: String, answers: u64, figures: &Few| [vec![name, grouped(answers)], figures.cells().into()].concat();
        let mut rows: Vec<_> =
            self.links.iter().map(|one| row(one.link.to_owned(), one.answers as u64, &one.figures)).collect();
        let names: Vec<_> = self.links.iter().map(|one| one.link).collect();
        rows.push(row(names.join(", else "), self.users as u64, &self.chain));
        let header = [&["link", "answers"][..], &CELLS].concat();
        format!(
            "users without a history, of whom something else is known: {} with {} held-out pairs; each link alone, and the chain\n{}",
            grouped(self.users as u64),
            grouped(self.held_out_pairs as u64),
            table(&header, &rows)
        )
    }
}

/// The rows of users of whom a model read nothing: those without a history, and for towers without a value that enters.
/// No step ever touched their vectors, which are where they started by chance, and would pass for something learned.
pub fn untouched(data: &Dataset, preset: &Preset) -> Vec<usize> {
    let read = match &preset.knobs {
        // Beside a base, towers learn what to add to it, and nothing of users of whom it knows nothing.
        Knobs::TwoTower(knobs) if knobs.base.is_none() => read_of_users(data, knobs, data.parts().len() - 1),
        _ => Features::none(data.users.len()),
    };
    (data.full.rows_in_use()..data.users.len()).filter(|&row| read.bag(row).is_empty()).collect()
}

/// How many of some users each link of a chain answers, by its name; links without any are there too.
pub fn counts(chain: &Chain<'_>, users: impl Iterator<Item = UserRow>) -> BTreeMap<&'static str, usize> {
    let mut counts: BTreeMap<_, _> = Link::ALL.into_iter().map(|link| (link.name(), 0)).collect();
    for user in users {
        *counts.entry(chain.link(user).name()).or_default() += 1;
    }
    counts
}
