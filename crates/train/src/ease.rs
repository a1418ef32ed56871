//! EASE: the items a user had predict each other by ridge regression, solved in closed form.
//!
//! Minimises `|X - X·B|² + λ·|B|²` over all B with an empty diagonal, X being 1 where a user had an item and 0
//! elsewhere. With `P = (XᵀX + λI)⁻¹` that is `B_ij = -P_ij / P_jj` (Steck, "Embarrassingly Shallow Autoencoders for
//! Sparse Data", WWW 2019). The sparse variant gives each column of B only the entries of its nearest items, and solves
//! each column's small system exactly, as fsSLIM does with other constraints (Ning and Karypis, "SLIM: Sparse Linear
//! Methods for Top-N Recommender Systems", ICDM 2011). Near is what by itself lowers the column's loss most: the largest
//! `G_ij² / (G_ii + λ)` with `G = XᵀX`. Where all items
//! are neighbours and every two of them share a user, both variants are the same.

use lookalike_bundle::{Input, ItemRow, ItemWeights, Row, UserRow};
use lookalike_dataset::Csr;
use rayon::prelude::*;

use crate::dense::{NotPositive, ROWS, solve_once, stride};
use crate::fit::FitError;
use crate::memory::{self, Need};
use crate::one_step::Tick;
use crate::preset::Ease as Knobs;
use crate::symmetric::Symmetric;

/// Columns solved between two looks at whether to stop.
const AT_ONCE: usize = 4096;
/// Bytes of an entry of a row: column and value.
const ENTRY: u64 = 8;

const HINT: &str = "set `neighbours` in a preset, for example 200: the sparse variant needs no item × item matrix";

fn singular(_: NotPositive) -> FitError {
    FitError::Diverged { epoch: 1, what: "the equations have no positive pivot".into(), hint: "raise `reg`" }
}

/// The weights for what users had, as the knobs say. Rows keep their largest entries by magnitude.
pub(crate) fn ease(train: &Csr<UserRow, ItemRow>, knobs: &Knobs, tick: &mut Tick<'_>) -> Result<ItemWeights, FitError> {
    let rows = match knobs.neighbours {
        0 => dense(train, knobs, tick)?,
        _ => sparse(train, knobs, tick)?,
    };
    ItemWeights::from_rows(Input::One, &rows).map_err(|error| FitError::Diverged {
        epoch: 1,
        what: error.to_string(),
        hint: "raise `reg`",
    })
}

fn dense(train: &Csr<UserRow, ItemRow>, knobs: &Knobs, tick: &mut Tick<'_>) -> Result<Vec<Vec<(u32, f32)>>, FitError> {
    let items = train.n_cols();
    let kept = 2 * ENTRY * items as u64 * knobs.keep.min(items) as u64;
    let what = format!("the item × item matrix of {items} items");
    memory::require(Need { what, bytes: Symmetric::bytes(items).saturating_add(kept), hint: HINT }, knobs.memory_gib)?;
    let by_item = train.transpose();
    let mut matrix = Symmetric::from_rows(items, |item, row| {
        together(train, &by_item, ItemRow::new(item as u32), |other| row[other as usize] += 1.0);
        row[item] += knobs.reg;
    });
    let steps = matrix.tiles();
    for step in 0..steps {
        matrix.sweep(step).map_err(singular)?;
        tick(step as u64 + 1, steps as u64)?;
    }
    // The matrix is -P now; signs cancel but for one.
    let diagonal = matrix.diagonal();
    Ok(matrix.map_rows(|item, row| {
        let weight =
            |(other, (&p, &own)): (usize, (&f32, &f32))| (other as u32, if other == item { 0.0 } else { -p / own });
        largest(row.iter().zip(&diagonal).enumerate().map(weight).collect(), knobs.keep)
    }))
}

fn sparse(train: &Csr<UserRow, ItemRow>, knobs: &Knobs, tick: &mut Tick<'_>) -> Result<Vec<Vec<(u32, f32)>>, FitError> {
    let gram = Gram::new(train, knobs)?;
    let items = train.n_cols();
    let mut rows = vec![Vec::new(); items];
    for first in (0..items).step_by(AT_ONCE) {
        let block = first..(first + AT_ONCE).min(items);
        let columns = block
            .clone()
            .into_par_iter()
            .map_init(|| vec![u32::MAX; items], |places, item| column(&gram, item as u32, knobs, places));
        let columns: Result<Vec<_>, NotPositive> = columns.collect();
        for (column, entries) in block.clone().zip(columns.map_err(singular)?) {
            for (row, weight) in entries {
                rows[row as usize].push((column as u32, weight));
            }
        }
        tick(block.end as u64, items as u64)?;
    }
    Ok(rows.into_par_iter().map(|row| largest(row, knobs.keep)).collect())
}

/// How many users had two items, for the pairs that some user had.
struct Gram {
    rows: Vec<Vec<(u32, f32)>>,
    own: Vec<f32>,
}

impl Gram {
    fn new(train: &Csr<UserRow, ItemRow>, knobs: &Knobs) -> Result<Self, FitError> {
        let (items, by_item) = (train.n_cols(), train.transpose());
        let start = || (vec![0f32; items], Vec::new());
        // Touched items are counted before they are kept: how many there are tells the memory.
        let touch = |(sums, touched): &mut (Vec<f32>, Vec<u32>), item: usize| {
            together(train, &by_item, ItemRow::new(item as u32), |other| {
                if sums[other as usize] == 0.0 {
                    touched.push(other);
                }
                sums[other as usize] += 1.0;
            });
        };
        let count = (0..items).into_par_iter().map_init(start, |state, item| {
            touch(state, item);
            let count = state.1.len() as u64;
            state.1.drain(..).for_each(|other| state.0[other as usize] = 0.0);
            count
        });
        let entries = count.sum::<u64>() + (items * knobs.neighbours.min(items)) as u64;
        let what = format!("what {items} items have in common");
        let hint = "take a part of the items or of the history";
        memory::require(Need { what, bytes: entries * ENTRY, hint }, knobs.memory_gib)?;
        let row = |state: &mut (Vec<f32>, Vec<u32>), item: usize| {
            touch(state, item);
            state.1.sort_unstable();
            let (sums, touched) = state;
            let entry = |other: u32| (other, std::mem::take(&mut sums[other as usize]));
            touched.drain(..).map(entry).collect::<Vec<_>>()
        };
        let rows = (0..items).into_par_iter().map_init(start, row).collect();
        let own = by_item.rows().map(|item| by_item.cols(item).len() as f32).collect();
        Ok(Self { rows, own })
    }
}

/// The column of one item: its neighbours with their weights. `places` is all `u32::MAX`, before and after.
fn column(gram: &Gram, item: u32, knobs: &Knobs, places: &mut [u32]) -> Result<Vec<(u32, f32)>, NotPositive> {
    let gain = |&(other, both): &(u32, f32)| (other, both * both / (gram.own[other as usize] + knobs.reg));
    let others = gram.rows[item as usize].iter().filter(|entry| entry.0 != item);
    let near = largest(others.map(gain).collect(), knobs.neighbours);
    let (dim, stride) = (near.len(), stride(near.len()));
    (0u32..).zip(&near).for_each(|(place, &(other, _))| places[other as usize] = place);
    let (mut system, mut right) = (vec![0.0; dim.next_multiple_of(ROWS) * stride], vec![0.0; stride]);
    for (at, &(other, _)) in near.iter().enumerate() {
        for &(third, both) in &gram.rows[other as usize] {
            match places[third as usize] {
                u32::MAX if third == item => right[at] = both,
                u32::MAX => {}
                place => system[at * stride + place as usize] = both,
            }
        }
        system[at * stride + at] += knobs.reg;
    }
    near.iter().for_each(|&(other, _)| places[other as usize] = u32::MAX);
    let out = solve_once(dim, &mut system, &mut right)?;
    Ok(near.iter().zip(out).map(|(&(other, _), weight)| (other, weight)).collect())
}

/// Calls `each` with the items of every user who had this one, once for every such user; this one is among them.
fn together(
    by_user: &Csr<UserRow, ItemRow>,
    by_item: &Csr<ItemRow, UserRow>,
    item: ItemRow,
    mut each: impl FnMut(u32),
) {
    for &user in by_item.cols(item) {
        by_user.cols(UserRow::new(user)).iter().for_each(|&other| each(other));
    }
}

/// The `keep` entries of largest magnitude, the earlier of equals, in the order of their columns; zeros are left out.
fn largest(mut row: Vec<(u32, f32)>, keep: usize) -> Vec<(u32, f32)> {
    row.retain(|entry| entry.1 != 0.0);
    if row.len() > keep {
        row.select_nth_unstable_by(keep - 1, |a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        row.truncate(keep);
    }
    row.sort_unstable_by_key(|entry| entry.0);
    row.shrink_to_fit();
    row
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_dataset::Pair;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// Users 0 and 1 had nothing, nor was item 3 had by anyone.
    fn history(users: u32, items: u32, pairs: usize) -> Csr<UserRow, ItemRow> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
        let pair = |rng: &mut Xoshiro256PlusPlus| Pair {
            row: UserRow::new(rng.random_range(2..users)),
            col: ItemRow::new(rng.random_range(0..items).min(rng.random_range(0..items))),
            weight: rng.random_range(1..9) as f32,
        };
        let pairs: Vec<_> = (0..pairs).map(|_| pair(&mut rng)).filter(|pair| pair.col.get() != 3).collect();
        Csr::from_pairs(users as usize, items as usize, &pairs)
    }

    fn knobs(neighbours: usize, keep: usize) -> Knobs {
        Knobs { reg: 3.0, neighbours, keep, memory_gib: 0.0 }
    }

    fn solved(train: &Csr<UserRow, ItemRow>, knobs: &Knobs) -> ItemWeights {
        ease(train, knobs, &mut |done, total| {
            assert!((1..=total).contains(&done));
            Ok(())
        })
        .unwrap()
    }

    fn full(weights: &ItemWeights) -> Vec<Vec<f64>> {
        let row = |item: usize| {
            let (item, mut row) = (ItemRow::new(item as u32), vec![0.0; weights.items()]);
            let entries = weights.cols(item).iter().zip(weights.values(item));
            entries.for_each(|(&col, &value)| row[col as usize] = f64::from(value));
            row
        };
        (0..weights.items()).map(row).collect()
    }

    /// B by Gauss-Jordan elimination of the whole matrix, in `f64`.
    fn slow(train: &Csr<UserRow, ItemRow>, reg: f64) -> Vec<Vec<f64>> {
        let n = train.n_cols();
        let mut system = vec![vec![0.0; 2 * n]; n];
        for user in train.rows() {
            for &a in train.cols(user) {
                train.cols(user).iter().for_each(|&b| system[a as usize][b as usize] += 1.0);
            }
        }
        for (at, line) in system.iter_mut().enumerate() {
            line[at] += reg;
            line[n + at] = 1.0;
        }
        for at in 0..n {
            let pivot: Vec<f64> = system[at].iter().map(|number| number / system[at][at]).collect();
            for line in &mut system {
                let factor = line[at];
                line.iter_mut().zip(&pivot).for_each(|(number, pivot)| *number -= factor * pivot);
            }
            system[at] = pivot;
        }
        let p = |i: usize, j: usize| system[i][n + j];
        (0..n).map(|i| (0..n).map(|j| if i == j { 0.0 } else { -p(i, j) / p(j, j) }).collect()).collect()
    }

    fn close(a: &[Vec<f64>], b: &[Vec<f64>]) -> bool {
        a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    #[test]
    fn the_dense_solution_is_that_of_elimination() {
        for (users, items, pairs) in [(40, 5, 90), (80, 61, 700), (200, 300, 3000)] {
            let train = history(users, items, pairs);
            let found = full(&solved(&train, &knobs(0, items as usize)));
            assert!(close(&found, &slow(&train, 3.0)), "{items} items");
            assert!(found[3].iter().all(|&weight| weight == 0.0));
        }
    }

    #[test]
    fn with_every_item_a_neighbour_the_sparse_solution_is_the_dense_one() {
        let train = history(200, 10, 3000);
        assert!(close(&full(&solved(&train, &knobs(9, 10))), &slow(&train, 3.0)));
    }

    #[test]
    fn with_few_neighbours_each_column_is_at_its_minimum() {
        let train = history(80, 61, 700);
        let weights = full(&solved(&train, &knobs(7, 61)));
        let loss = |item: usize, column: &[f64]| -> f64 {
            let miss = |user: UserRow| {
                let had = train.cols(user);
                let truth = f64::from(u8::from(had.contains(&(item as u32))));
                (truth - had.iter().map(|&other| column[other as usize]).sum::<f64>()).powi(2)
            };
            train.rows().map(miss).sum::<f64>() + 3.0 * column.iter().map(|weight| weight.powi(2)).sum::<f64>()
        };
        for item in 0..61 {
            let mut column: Vec<f64> = weights.iter().map(|row| row[item]).collect();
            let neighbours: Vec<usize> = (0..61).filter(|&other| column[other] != 0.0).collect();
            assert!(neighbours.len() <= 7 && !neighbours.contains(&item));
            let best = loss(item, &column);
            for moved in neighbours {
                for step in [-1e-2, 1e-2] {
                    column[moved] += step;
                    assert!(loss(item, &column) > best);
                    column[moved] -= step;
                }
            }
        }
    }

    #[test]
    fn the_largest_entries_of_a_row_are_kept() {
        let row = vec![(0, 0.5), (2, -3.0), (3, 0.0), (5, 1.0), (6, -1.0), (7, 2.0)];
        assert_eq!(largest(row.clone(), 3), [(2, -3.0), (5, 1.0), (7, 2.0)]);
        assert_eq!(largest(row, 99).len(), 5);
        let train = history(80, 61, 700);
        let (all, few) = (full(&solved(&train, &knobs(0, 61))), solved(&train, &knobs(0, 4)));
        for (item, (all, few)) in all.iter().zip(full(&few)).enumerate() {
            let mut sorted: Vec<f64> = all.iter().map(|weight| weight.abs()).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let want: Vec<f64> = all.iter().map(|&w| if w.abs() >= sorted[3] { w } else { 0.0 }).collect();
            assert_eq!(few, want, "item {item}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let train = history(400, 700, 9000);
        for knobs in [knobs(0, 50), knobs(20, 50)] {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| solved(&train, &knobs))
            };
            assert!(run(1) == run(3));
        }
    }

    #[test]
    fn a_matrix_beyond_memory_is_refused_with_its_bytes() {
        let train = history(40, 5, 90);
        for neighbours in [0, 2] {
            let knobs = Knobs { memory_gib: 1e-9, ..knobs(neighbours, 5) };
            let error = ease(&train, &knobs, &mut |_, _| Ok(())).unwrap_err();
            assert!(matches!(error, FitError::Memory { needs, has: 1, .. } if needs > 1), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
