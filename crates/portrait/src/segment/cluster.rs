//! Clusters by k-means, and how many of them hold when people are left out.
//!
//! Lloyd's iterations are linfa's. The starts are chosen here, by k-means++ (Arthur and Vassilvitskii, SODA 2007) with a
//! generator of this workspace, so that a seed means the same whichever generator linfa uses; a start is one run, and the
//! best of many is kept.
//!
//! # How many clusters
//!
//! For every k, clusters are made again of random parts of the people, everybody is put into the nearest of them, and that
//! is compared with the clusters made of all: the mean adjusted Rand index over the parts is the stability of k. The k that
//! is chosen is the **largest whose stability reaches a floor**, after Ben-Hur, Elisseeff and Guyon (*A stability based
//! method for discovering structure in clustered data*, PSB 2002); if none does, the most stable one, the smaller of equals.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::{KMeans, KMeansInit};
use lookalike_measure::{adjusted_rand, silhouette_sampled};
use ndarray::Array2;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::error::{Error, KMeansError, Result, setting};
use super::table::Table;

/// Centres that move less than this, in all, have come to rest. In standard deviations where features are standardised.
const AT_REST: f64 = 1e-6;
/// Iterations after which centres are taken as they are.
const ITERATIONS: u64 = 1000;

/// What makes features of numbers: sign(x) · ln(1 + |x|) of each, less the column's mean, divided by its deviation, so that
/// none drowns the others. Counts and money are skewed; a return may make a sum negative.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// Mean of each column after the logarithm.
    pub means: Vec<f64>,
    /// Deviation of each column after the logarithm (population: divided by n); 1 where the column does not vary.
    pub deviations: Vec<f64>,
}

impl Scaling {
    /// Means and deviations of a table.
    pub fn of(numbers: &[f64], columns: usize) -> Result<Self> {
        let table = Table::new(numbers, columns)?;
        let n = table.rows() as f64;
        let moments = |column: usize| {
            let logs = table.column(column).map(signed_log);
            let mean = logs.clone().sum::<f64>() / n;
            let deviation = (logs.map(|value| (value - mean) * (value - mean)).sum::<f64>() / n).sqrt();
            (mean, if deviation > 0.0 { deviation } else { 1.0 })
        };
        let (means, deviations) = (0..columns).map(moments).unzip();
        Ok(Self { means, deviations })
    }

    /// The features of a table with the same columns, of the same people or others.
    pub fn apply(&self, numbers: &[f64]) -> Result<Vec<f64>> {
        let columns = self.means.len();
        let table = Table::new(numbers, columns)?;
        let scale =
            |(column, value): (usize, &f64)| (signed_log(*value) - self.means[column]) / self.deviations[column];
        Ok(table.iter().flat_map(|row| row.iter().enumerate().map(scale)).collect())
    }
}

fn signed_log(value: f64) -> f64 {
    value.abs().ln_1p().copysign(value)
}

/// People in k clusters. Clusters are numbered by size, the largest first, equal ones by their centres.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// The centres, row after row, in the units of the features.
    pub centres: Vec<f64>,
    /// The cluster of each person.
    pub labels: Vec<u32>,
    /// How many people each cluster has.
    pub sizes: Vec<usize>,
    /// Sum of the squared distances of people to their centres.
    pub inertia: f64,
}

/// The best of `starts` runs of k-means with `clusters` clusters. The same numbers, settings and seed give the same bits,
/// on any number of threads.
pub fn kmeans(features: &[f64], columns: usize, clusters: usize, starts: usize, seed: u64) -> Result<Clusters> {
    let table = Table::new(features, columns)?;
    if clusters == 0 {
        return Err(setting("clusters", clusters, "at least 1"));
    }
    if starts == 0 {
        return Err(setting("starts", starts, "at least 1"));
    }
    let distinct = distinct(table, clusters);
    if distinct < clusters {
        return Err(Error::TooManyClusters { clusters, distinct });
    }
    let shape = |numbers: Vec<f64>, rows: usize| {
        Array2::from_shape_vec((rows, columns), numbers).map_err(|error| failed(clusters, &error))
    };
    let data = DatasetBase::from(shape(features.to_vec(), table.rows())?);
    let run = |start: u64| -> Result<Clusters> {
        let from = shape(plus_plus(table, clusters, seed, start), clusters)?;
        let model = KMeans::params(clusters)
            .init_method(KMeansInit::Precomputed(from))
            .n_runs(1)
            .tolerance(AT_REST)
            .max_n_iterations(ITERATIONS)
            .fit(&data)
            .map_err(|error| failed(clusters, &error))?;
        Clusters::around(table, &model.centroids().iter().copied().collect::<Vec<f64>>())
    };
    let runs: Vec<Clusters> = (0..starts as u64).into_par_iter().map(run).collect::<Result<_>>()?;
    // The first of equals, so that the number of threads cannot be seen.
    let best = runs.into_iter().reduce(|best, run| if run.inertia < best.inertia { run } else { best });
    best.ok_or(Error::Nobody)
}

fn failed(clusters: usize, error: &dyn std::error::Error) -> Error {
    Error::KMeans { clusters, source: KMeansError(error.to_string()) }
}

/// How many different rows there are, counted up to `enough`.
fn distinct(table: Table<'_>, enough: usize) -> usize {
    // 0 and -0 are equal and have different bits.
    let bits = |row: &[f64]| row.iter().map(|value| (value + 0.0).to_bits()).collect::<Vec<_>>();
    let mut seen = HashSet::new();
    for row in table.iter() {
        seen.insert(bits(row));
        if seen.len() == enough {
            break;
        }
    }
    seen.len()
}

/// Centres to start from: a row drawn evenly, then each by its squared distance to the nearest centre so far.
fn plus_plus(table: Table<'_>, clusters: usize, seed: u64, start: u64) -> Vec<f64> {
    // The golden ratio in 64 bits keeps the starts of neighbouring seeds apart.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ start.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut centres = table.row(rng.random_range(0..table.rows())).to_vec();
    let mut nearest = vec![f64::INFINITY; table.rows()];
    for taken in 1..clusters {
        let last = &centres[(taken - 1) * table.columns()..];
        for (nearest, row) in nearest.iter_mut().zip(table.iter()) {
            *nearest = nearest.min(square(row, last));
        }
        let mut left = rng.random::<f64>() * nearest.iter().sum::<f64>();
        let drawn = nearest.iter().position(|distance| {
            left -= distance;
            *distance > 0.0 && left < 0.0
        });
        // Rounding may leave nothing at the very end; the last row with a distance is meant.
        let drawn = drawn.or_else(|| nearest.iter().rposition(|distance| *distance > 0.0)).unwrap_or(0);
        centres.extend_from_slice(table.row(drawn));
    }
    centres
}

fn square(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The cluster whose centre is nearest to each row, the first of equals: `centres` and `features` row after row.
pub fn place(features: &[f64], columns: usize, centres: &[f64]) -> Result<Vec<u32>> {
    let (table, centres) = (Table::new(features, columns)?, Table::new(centres, columns)?);
    Ok(table.iter().map(|row| nearest(row, centres).0 as u32).collect())
}

/// How far each centre is from one row of features.
pub fn distances(features: &[f64], centres: &[f64]) -> Result<Vec<f64>> {
    let (own, centres) = (Table::new(features, features.len())?, Table::new(centres, features.len())?);
    Ok(centres.iter().map(|centre| square(own.row(0), centre).sqrt()).collect())
}

fn nearest(row: &[f64], centres: Table<'_>) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (cluster, centre) in centres.iter().enumerate() {
        let distance = square(row, centre);
        if distance < best.1 {
            best = (cluster, distance);
        }
    }
    best
}

impl Clusters {
    /// People around these centres, clusters numbered anew.
    fn around(table: Table<'_>, centres: &[f64]) -> Result<Self> {
        let centres = Table::new(centres, table.columns())?;
        let near: Vec<(usize, f64)> = table.iter().map(|row| nearest(row, centres)).collect();
        let mut sizes = vec![0; centres.rows()];
        near.iter().for_each(|(cluster, _)| sizes[*cluster] += 1);
        let mut order: Vec<usize> = (0..centres.rows()).collect();
        let by_centre = |a, b| {
            let numbers = centres.row(a).iter().zip(centres.row(b));
            numbers.map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        order.sort_by(|&a, &b| sizes[b].cmp(&sizes[a]).then_with(|| by_centre(a, b)));
        let mut number = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, &old)| number[old] = new as u32);
        Ok(Self {
            centres: order.iter().flat_map(|&cluster| centres.row(cluster)).copied().collect(),
            labels: near.iter().map(|(cluster, _)| number[*cluster]).collect(),
            sizes: order.iter().map(|&cluster| sizes[cluster]).collect(),
            inertia: near.iter().map(|(_, distance)| distance).sum(),
        })
    }
}

/// How [`choose`] looks for the number of clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Numbers of clusters to try.
    pub clusters: RangeInclusive<usize>,
    /// Runs of k-means, of which the best is kept, for all people and for each part.
    pub starts: usize,
    /// How many random parts of the people.
    pub parts: usize,
    /// The share of the people in a part, above 0 and up to 1.
    pub share: f64,
    /// The stability from which on a number of clusters holds, between 0 and 1.
    pub floor: f64,
    /// For so many people at most is the silhouette computed, drawn with the seed.
    pub silhouettes: usize,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self { clusters: 2..=8, starts: 10, parts: 10, share: 0.8, floor: 0.9, silhouettes: 2000, seed: 1 }
    }
}

/// What came of one number of clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The clusters made of all people.
    pub clusters: Clusters,
    /// Mean silhouette of the people looked at; `None` for a single cluster.
    pub silhouette: Option<f64>,
    /// Mean adjusted Rand index between these clusters and those made of a part.
    pub stability: f64,
    /// The least of them.
    pub least_stability: f64,
}

/// All numbers of clusters that were tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// In ascending order of the number.
    pub tried: Vec<Tried>,
    /// Position in `tried` of the one that was chosen.
    pub chosen: usize,
    /// Whether its stability reached the floor.
    pub holds: bool,
}

/// Tries all numbers of clusters and chooses one by the rule at the top of this module. Numbers above that of different
/// rows are not tried; there must be one left.
pub fn choose(features: &[f64], columns: usize, search: &Search) -> Result<Choice> {
    let table = Table::new(features, columns)?;
    let (least, most) = (*search.clusters.start(), *search.clusters.end());
    if least == 0 || most < least {
        return Err(setting("clusters", format!("{least} to {most}"), "an ascending range from 1 on"));
    }
    if !(search.share > 0.0 && search.share <= 1.0) {
        return Err(setting("share", search.share, "above 0 and at most 1"));
    }
    if search.parts == 0 || search.silhouettes == 0 {
        let name = if search.parts == 0 { "parts" } else { "silhouettes" };
        return Err(setting(name, 0, "at least 1"));
    }
    let distinct = distinct(table, most);
    if distinct < least {
        return Err(Error::TooManyClusters { clusters: least, distinct });
    }
    let tried: Vec<Tried> = (least..=most.min(distinct)).map(|k| attempt(table, k, search)).collect::<Result<_>>()?;
    let last_that_holds = tried.iter().rposition(|tried| tried.stability >= search.floor);
    let chosen = last_that_holds.unwrap_or_else(|| {
        let better = |best: usize, at: usize| if tried[at].stability > tried[best].stability { at } else { best };
        (1..tried.len()).fold(0, better)
    });
    Ok(Choice { tried, chosen, holds: last_that_holds.is_some() })
}

fn attempt(table: Table<'_>, k: usize, search: &Search) -> Result<Tried> {
    let (columns, features) = (table.columns(), table.numbers());
    let clusters = kmeans(features, columns, k, search.starts, search.seed)?;
    let silhouette = silhouette_sampled(features, columns, &clusters.labels, search.silhouettes, search.seed)?;
    let size = ((table.rows() as f64 * search.share).round() as usize).clamp(1, table.rows());
    let (mut sum, mut least) = (0.0, f64::INFINITY);
    for part in 0..search.parts as u64 {
        let mut people: Vec<usize> = (0..table.rows()).collect();
        // Parts are the same for every k.
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(search.seed.wrapping_add(part + 1));
        let (drawn, _) = people.partial_shuffle(&mut rng, size);
        drawn.sort_unstable();
        let some: Vec<f64> = drawn.iter().flat_map(|&person| table.row(person)).copied().collect();
        let agreement = match kmeans(&some, columns, k, search.starts, search.seed) {
            Ok(again) => adjusted_rand(&clusters.labels, &place(features, columns, &again.centres)?)?,
            // A part with too few different rows contradicts the clusters as much as can be.
            Err(Error::TooManyClusters { .. }) => Some(0.0),
            Err(error) => return Err(error),
        };
        // A single person agrees with themselves.
        let agreement = agreement.unwrap_or(1.0);
        sum += agreement;
        least = least.min(agreement);
    }
    Ok(Tried { clusters, silhouette, stability: sum / search.parts as f64, least_stability: least })
}
