//! Logistic regression with a squared penalty, by Newton's method with conjugate gradients: C.-J. Lin, R. C. Weng and S. S.
//! Keerthi, *Trust region Newton method for large-scale logistic regression*, JMLR 9 (2008), with a line search in the
//! place of the trust region.

/// Sparse rows of features: where each row begins (one more than there are rows), columns and values.
pub(super) struct Rows {
    pub begins: Vec<usize>,
    pub columns: Vec<u32>,
    pub values: Vec<f64>,
}

/// The largest gradient, as a part of the first one, at which weights are taken.
const AT_REST: f64 = 1e-4;
/// Steps of Newton's method at most, and conjugate gradients within one.
const STEPS: usize = 100;
const INNER: usize = 200;

impl Rows {
    fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.begins[row]..self.begins[row + 1];
        self.columns[range.clone()].iter().map(|column| *column as usize).zip(self.values[range].iter().copied())
    }

    fn len(&self) -> usize {
        self.begins.len() - 1
    }

    /// Each row times the weights, of which the last stands alone.
    fn times(&self, weights: &[f64]) -> Vec<f64> {
        let alone = weights[weights.len() - 1];
        (0..self.len()).map(|row| alone + self.row(row).map(|(column, x)| x * weights[column]).sum::<f64>()).collect()
    }

    /// The sum of all rows, each times a number of its own; the sum of these numbers last.
    fn sum(&self, by: &[f64], columns: usize) -> Vec<f64> {
        let mut sum = vec![0.0; columns + 1];
        for (row, by) in by.iter().enumerate() {
            self.row(row).for_each(|(column, x)| sum[column] += by * x);
            sum[columns] += by;
        }
        sum
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn chance(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// ln(1 + e^z), which neither overflows nor loses what is small.
fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

/// Weights of the columns and, last, the constant: they make ½·‖w‖² + `strength` · Σ ln(1 + exp(∓(w·x + b))) least. The
/// constant is not penalised.
pub(super) fn fit(rows: &Rows, columns: usize, positive: &[bool], strength: f64) -> Vec<f64> {
    let cost = |weights: &[f64], scores: &[f64]| {
        let losses = scores.iter().zip(positive).map(|(z, yes)| softplus(if *yes { -z } else { *z }));
        0.5 * dot(&weights[..columns], &weights[..columns]) + strength * losses.sum::<f64>()
    };
    let mut weights = vec![0.0; columns + 1];
    let mut scores = rows.times(&weights);
    let (mut now, mut first) = (cost(&weights, &scores), None);
    for _ in 0..STEPS {
        let wrong: Vec<f64> =
            scores.iter().zip(positive).map(|(z, yes)| strength * (chance(*z) - f64::from(u8::from(*yes)))).collect();
        let mut gradient = rows.sum(&wrong, columns);
        gradient[..columns].iter_mut().zip(&weights).for_each(|(gradient, weight)| *gradient += weight);
        let size = dot(&gradient, &gradient).sqrt();
        let first = *first.get_or_insert(size);
        if size <= AT_REST * first {
            break;
        }
        let curve: Vec<f64> = scores.iter().map(|z| strength * chance(*z) * chance(-z)).collect();
        let step = solve(rows, columns, &curve, &gradient, (size / first).sqrt().min(0.1) * size);
        let slope = dot(&gradient, &step);
        let moved = rows.times(&step);
        let mut length = 1.0;
        loop {
            let next: Vec<f64> = weights.iter().zip(&step).map(|(weight, step)| weight + length * step).collect();
            let then: Vec<f64> = scores.iter().zip(&moved).map(|(z, moved)| z + length * moved).collect();
            let found = cost(&next, &then);
            if found <= now + 1e-4 * length * slope {
                (weights, scores, now) = (next, then, found);
                break;
            }
            length /= 2.0;
            // The step has become smaller than what rounding can tell apart.
            if length < 1e-12 {
                return weights;
            }
        }
    }
    weights
}

/// A step s with H·s = −gradient up to `enough`, by conjugate gradients.
fn solve(rows: &Rows, columns: usize, curve: &[f64], gradient: &[f64], enough: f64) -> Vec<f64> {
    let mut step = vec![0.0; gradient.len()];
    let mut left: Vec<f64> = gradient.iter().map(|gradient| -gradient).collect();
    let mut way = left.clone();
    let mut size = dot(&left, &left);
    for _ in 0..INNER {
        if size.sqrt() <= enough {
            break;
        }
        let along: Vec<f64> = rows.times(&way).iter().zip(curve).map(|(z, curve)| z * curve).collect();
        let mut bent = rows.sum(&along, columns);
        bent[..columns].iter_mut().zip(&way).for_each(|(bent, way)| *bent += way);
        let by = size / dot(&way, &bent);
        step.iter_mut().zip(&way).for_each(|(step, way)| *step += by * way);
        left.iter_mut().zip(&bent).for_each(|(left, bent)| *left -= by * bent);
        let next = dot(&left, &left);
        way.iter_mut().zip(&left).for_each(|(way, left)| *way = left + next / size * *way);
        size = next;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the least cost the gradient is nothing: w = −C Σ (p − y) x, and Σ (p − y) = 0.
    #[test]
    fn weights_rest_where_the_gradient_does() {
        let rows = Rows {
            begins: vec![0, 2, 3, 5, 6, 6],
            columns: vec![0, 1, 0, 1, 2, 2],
            values: vec![0.6, 0.8, 1.0, 0.3, 0.7, 1.0],
        };
        let positive = [true, true, false, false, true];
        let weights = fit(&rows, 3, &positive, 10.0);
        let scores = rows.times(&weights);
        let wrong: Vec<f64> =
            scores.iter().zip(positive).map(|(z, yes)| chance(*z) - f64::from(u8::from(yes))).collect();
        let sums = rows.sum(&wrong, 3);
        for column in 0..3 {
            assert!((weights[column] + 10.0 * sums[column]).abs() < 1e-2, "{weights:?} {sums:?}");
        }
        assert!(sums[3].abs() < 1e-3);
        assert!(weights[0] > weights[1] && weights[2] < 0.0);
    }
}
