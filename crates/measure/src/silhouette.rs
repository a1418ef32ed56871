//! How well a row sits in its cluster: Rousseeuw, *Silhouettes*, J. Comput. Appl. Math. 20 (1987).
//!
//! With a the mean distance (Euclidean) of a row to the others of its cluster and b the least mean distance to the rows of
//! another one, its silhouette is (b − a) / max(a, b), and 0 for a row that is alone in its cluster or where both are 0.
//! The figure is the mean over rows, between −1 and 1.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::error::{Error, Result, finite};

/// Mean silhouette over all rows: `rows` has `columns` numbers a row, row after row, and a label each. Takes time
/// quadratic in the rows. `None` where there are fewer than two clusters.
pub fn silhouette(rows: &[f64], columns: usize, labels: &[u32]) -> Result<Option<f64>> {
    let table = Table::new(rows, columns, labels)?;
    Ok(table.mean(0..labels.len()))
}

/// The same over at most `most` rows, drawn with `seed` and without repetition. A row drawn is still compared with all
/// rows, so that the figure is right on average and small clusters do not fall out of it; time is `most` times the rows.
pub fn silhouette_sampled(rows: &[f64], columns: usize, labels: &[u32], most: usize, seed: u64) -> Result<Option<f64>> {
    if most == 0 {
        return Err(Error::Nothing { what: "row to look at" });
    }
    if labels.len() <= most {
        return silhouette(rows, columns, labels);
    }
    let table = Table::new(rows, columns, labels)?;
    let mut all: Vec<usize> = (0..labels.len()).collect();
    let (drawn, _) = all.partial_shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed), most);
    drawn.sort_unstable();
    Ok(table.mean(drawn.iter().copied()))
}

struct Table<'a> {
    rows: &'a [f64],
    columns: usize,
    /// Position of each row's cluster in `sizes`.
    clusters: Vec<usize>,
    sizes: Vec<usize>,
}

impl<'a> Table<'a> {
    fn new(rows: &'a [f64], columns: usize, labels: &[u32]) -> Result<Self> {
        if columns == 0 {
            return Err(Error::Nothing { what: "column" });
        }
        if Some(rows.len()) != labels.len().checked_mul(columns) {
            return Err(Error::Shape { numbers: rows.len(), rows: labels.len(), columns });
        }
        finite(rows)?;
        let mut names = labels.to_vec();
        names.sort_unstable();
        names.dedup();
        let mut sizes = vec![0; names.len()];
        let place = |label: &u32| names.partition_point(|name| name < label);
        let clusters: Vec<usize> = labels.iter().map(place).collect();
        clusters.iter().for_each(|&cluster| sizes[cluster] += 1);
        Ok(Self { rows, columns, clusters, sizes })
    }

    fn mean(&self, of: impl ExactSizeIterator<Item = usize>) -> Option<f64> {
        if self.sizes.len() < 2 {
            return None;
        }
        let (count, mut sums) = (of.len(), vec![0.0; self.sizes.len()]);
        Some(of.map(|row| self.of(row, &mut sums)).sum::<f64>() / count as f64)
    }

    fn of(&self, row: usize, sums: &mut [f64]) -> f64 {
        let own = self.clusters[row];
        if self.sizes[own] == 1 {
            return 0.0;
        }
        sums.fill(0.0);
        let from = &self.rows[row * self.columns..][..self.columns];
        for (to, &cluster) in self.rows.chunks_exact(self.columns).zip(&self.clusters) {
            let square: f64 = from.iter().zip(to).map(|(a, b)| (a - b) * (a - b)).sum();
            sums[cluster] += square.sqrt();
        }
        let within = sums[own] / (self.sizes[own] - 1) as f64;
        let others = (0..sums.len()).filter(|&cluster| cluster != own);
        let between = others.map(|cluster| sums[cluster] / self.sizes[cluster] as f64).fold(f64::INFINITY, f64::min);
        let most = within.max(between);
        if most > 0.0 { (between - within) / most } else { 0.0 }
    }
}
