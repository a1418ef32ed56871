//! What "near" means.

use lookalike_bundle::Matrix;
use serde::{Deserialize, Serialize};

use crate::error::RetrieveError;

/// By what items are compared with a query. The greatest score is the best, whatever the metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The inner product, which is how factorizations score.
    #[default]
    Ip,
    /// The cosine of the angle.
    Cosine,
    /// Euclidean distance; the score is its square, negative.
    L2,
}

impl std::str::FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ip" => Ok(Self::Ip),
            "cosine" => Ok(Self::Cosine),
            "l2" => Ok(Self::L2),
            _ => Err("must be ip, cosine or l2".into()),
        }
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Cosine => "cosine",
            Self::L2 => "l2",
        })
    }
}

/// The length of a vector, in double precision.
pub(crate) fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>().sqrt()
}

/// Lengths of the rows; an error names the first that is not finite, or whose square would not be in `f32`.
pub(crate) fn lengths(table: &Matrix, name: &'static str) -> Result<Vec<f64>, RetrieveError> {
    let mut lengths = Vec::with_capacity(table.rows());
    for row in 0..table.rows() {
        let length = length(table.row(row));
        if length.is_nan() || length >= f64::from(f32::MAX).sqrt() {
            return Err(RetrieveError::NotFinite { table: name, row });
        }
        lengths.push(length);
    }
    Ok(lengths)
}

/// Scales a vector to length 1. One of zeros stays as it is.
pub(crate) fn normalise(vector: &mut [f32], length: f64) {
    let length = length.max(f64::MIN_POSITIVE);
    vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
}

/// A table prepared so that inner products rank its rows as a metric does, for exact search by any of them.
#[derive(Clone, Debug)]
pub struct Space {
    metric: Metric,
    items: Matrix,
}

impl Space {
    /// Copies a table: as it is, scaled to length 1, or with half its squared lengths, negative, as a further column.
    pub fn new(items: &Matrix, metric: Metric) -> Result<Self, RetrieveError> {
        let lengths = lengths(items, "item")?;
        let items = match metric {
            Metric::Ip => items.clone(),
            Metric::Cosine => unit(items, &lengths),
            Metric::L2 => {
                let mut lifted = Matrix::zeros(items.rows(), items.cols() + 1);
                for (row, length) in lengths.iter().enumerate() {
                    let (numbers, last) = lifted.row_mut(row).split_at_mut(items.cols());
                    numbers.copy_from_slice(items.row(row));
                    last[0] = (-0.5 * length * length) as f32;
                }
                lifted
            }
        };
        Ok(Self { metric, items })
    }

    /// The table.
    pub fn items(&self) -> &Matrix {
        &self.items
    }

    /// Queries for it: with a one as a further number where the table has a further column.
    pub fn queries(&self, queries: &Matrix) -> Matrix {
        if self.metric != Metric::L2 {
            return queries.clone();
        }
        let mut lifted = Matrix::zeros(queries.rows(), queries.cols() + 1);
        for row in 0..queries.rows() {
            let (numbers, last) = lifted.row_mut(row).split_at_mut(queries.cols());
            numbers.copy_from_slice(queries.row(row));
            last[0] = 1.0;
        }
        lifted
    }
}

/// The rows scaled to length 1.
pub(crate) fn unit(items: &Matrix, lengths: &[f64]) -> Matrix {
    let mut unit = items.clone();
    lengths.iter().enumerate().for_each(|(row, &length)| normalise(unit.row_mut(row), length));
    unit
}
