//! Steps beside a base: users as they were known at a time, and what they went on to. A user's next new items are looked
//! for among those that the base puts first: what is hard is told from what is right, and what the base finds anyway
//! teaches nothing.

use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::base::Base;
use super::inputs::Inputs;
use super::step::{Compared, Known, Lists, Step};
use crate::device::DeviceError;
use crate::gemm::{View, ViewMut, product};
use crate::preset::TwoTower as Knobs;

/// No column.
const NOWHERE: u32 = u32::MAX;
/// Users whose scores one thread computes at a time.
const USERS: usize = 16;

/// Draws steps of users.
pub(super) struct Ahead<'a> {
    /// What was known.
    had: &'a Csr<UserRow, ItemRow>,
    /// What was known a while later.
    later: &'a Csr<UserRow, ItemRow>,
    /// Users with something new by then, in the order of the epoch.
    users: Vec<u32>,
    /// How many users had an item: the order of items for users of whom the base knows nothing.
    popularity: Vec<f32>,
    /// The items that somebody had.
    met: Vec<u32>,
    /// The column of each item; [`NOWHERE`] between steps.
    columns: Vec<u32>,
}

/// The most users whose next items an epoch looks at. Scores of all items are made for each of them, as for each that an epoch
/// is judged by; where there are more users, another epoch looks at others.
const MOST: usize = 32_768;

/// How many steps an epoch has.
pub(super) fn steps(stretches: &[Ahead<'_>], batch: usize) -> usize {
    stretches.iter().map(|ahead| ahead.steps(batch)).sum::<usize>().min(MOST.div_ceil(batch))
}

/// The steps of an epoch in a random order: which of the stretches each is of, and its number there.
pub(super) fn shuffled(stretches: &mut [Ahead<'_>], batch: usize, seed: u64) -> Vec<(usize, usize)> {
    let mut steps = Vec::new();
    for (nth, ahead) in stretches.iter_mut().enumerate() {
        ahead.shuffle(stream_seed(seed, 1, nth as u64));
        steps.extend((0..ahead.steps(batch)).map(|number| (nth, number)));
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(seed, 2, 0));
    for last in (1..steps.len()).rev() {
        steps.swap(last, rng.random_range(0..=last));
    }
    steps.truncate(self::steps(stretches, batch));
    steps
}

impl<'a> Ahead<'a> {
    pub(super) fn new(had: &'a Csr<UserRow, ItemRow>, later: &'a Csr<UserRow, ItemRow>) -> Self {
        let mut popularity = vec![0.0; had.n_cols()];
        had.all_cols().iter().for_each(|&item| popularity[item as usize] += 1.0);
        let more = |&user: &UserRow| later.cols(user).len() > had.cols(user).len();
        let users = later.rows().filter(more).map(|user| user.get()).collect();
        let met = (0..).zip(&popularity).filter(|(_, users)| **users > 0.0).map(|(item, _)| item).collect();
        Self { had, later, users, popularity, met, columns: vec![NOWHERE; had.n_cols()] }
    }

    /// How many steps it takes to look at all users.
    pub(super) fn steps(&self, batch: usize) -> usize {
        self.users.len().div_ceil(batch)
    }

    /// The order of users in an epoch, by its seed alone.
    fn shuffle(&mut self, seed: u64) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        self.users.sort_unstable();
        for last in (1..self.users.len()).rev() {
            self.users.swap(last, rng.random_range(0..=last));
        }
    }

    /// The step of this number; none behind the last.
    pub(super) fn step(
        &mut self,
        number: usize,
        base: &Base,
        [users, items]: [&Inputs<'_>; 2],
        knobs: &Knobs,
        seed: u64,
    ) -> Result<Option<Step>, DeviceError> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(seed, 0, 0));
        let Some(batch) = self.users.chunks(knobs.batch).nth(number) else { return Ok(None) };
        // Items that the base puts further down: else nothing would say that they belong there.
        let mut further: Vec<u32> = match self.met.len() {
            0 => Vec::new(),
            met => (0..knobs.negatives).map(|_| self.met[rng.random_range(0..met)]).collect(),
        };
        further.sort_unstable();
        further.dedup();
        let mut examples: Vec<(u32, Vec<u32>, Vec<u32>)> =
            batch.par_chunks(USERS).flat_map_iter(|users| self.examples(users, base, knobs.hard, &further)).collect();
        // A user whose next items are all too far down has nothing to tell.
        examples.retain(|(_, own, _)| !own.is_empty());
        let mut drawn: Vec<u32> = examples.iter().flat_map(|(.., listed)| listed.iter().copied()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        (0..).zip(&drawn).for_each(|(column, &item)| self.columns[item as usize] = column);

        let (mut own, mut listed, mut weights) = (Lists::new(), Lists::new(), Vec::new());
        for (_, next, among) in &examples {
            own.push(next.iter().map(|&item| self.columns[item as usize]));
            listed.push(among.iter().map(|&item| self.columns[item as usize]));
            // Between the same weight for every user and for every item.
            weights.push(1.0 / (next.len() as f32).sqrt());
        }
        let rows = || examples.iter().map(|(user, ..)| *user as usize);
        let columns = || drawn.iter().map(|&item| item as usize);
        let step = Step {
            users: users.drawn(rows().map(|row| (row, None)), knobs.id_dropout[0], &mut rng)?,
            items: items.drawn(columns().map(|row| (row, None)), knobs.id_dropout[1], &mut rng)?,
            own,
            weights,
            log_q: vec![0.0; drawn.len()],
            compared: Compared::Only(listed),
            base: Some(Known { dim: base.dim(), rows: [base.rows(0, rows()), base.rows(1, columns())] }),
        };
        drawn.iter().for_each(|&item| self.columns[item as usize] = NOWHERE);
        Ok(Some(step))
    }

    /// For each of these users: the `hard` items that the base puts first among those they had not, ascending, and which
    /// of them they went on to. The former with the `further` ones that they had not.
    fn examples(&self, users: &[u32], base: &Base, hard: usize, further: &[u32]) -> Vec<(u32, Vec<u32>, Vec<u32>)> {
        let (items, dim) = (self.columns.len(), base.dim());
        let vectors = base.rows(0, users.iter().map(|&user| user as usize));
        let mut scores = vec![0.0; users.len() * items];
        let into = ViewMut::new(&mut scores, users.len(), items);
        let by_item = View::new(base.tables[1].data(), items, dim).transposed();
        product(into, View::new(&vectors, users.len(), dim), by_item, 0.0, 1.0);
        let example = |((&user, scores), vector): ((&u32, &mut [f32]), &[f32])| {
            let row = UserRow::new(user);
            if vector.iter().all(|&number| number == 0.0) {
                scores.copy_from_slice(&self.popularity);
            }
            let had = self.had.cols(row);
            let mut listed = first(scores, had, &self.popularity, hard);
            listed.extend(further.iter().filter(|item| had.binary_search(item).is_err()));
            listed.sort_unstable();
            listed.dedup();
            let next = self.later.cols(row).iter().copied();
            let own = next.filter(|item| had.binary_search(item).is_err() && listed.binary_search(item).is_ok());
            (user, own.collect(), listed)
        };
        users.iter().zip(scores.chunks_exact_mut(items.max(1))).zip(vectors.chunks_exact(dim)).map(example).collect()
    }
}

/// The `count` items with the largest scores that somebody had, but not this user; ascending. Of equal ones the first.
fn first(scores: &[f32], had: &[u32], popularity: &[f32], count: usize) -> Vec<u32> {
    let mut had = had.iter().copied().peekable();
    let mut items: Vec<u32> = (0..scores.len() as u32)
        .filter(|item| had.next_if_eq(item).is_none() && popularity[*item as usize] > 0.0)
        .collect();
    if count < items.len() {
        let score = |item: u32| scores[item as usize];
        items.select_nth_unstable_by(count, |&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
        items.truncate(count);
        items.sort_unstable();
    }
    items
}
