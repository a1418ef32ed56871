//! Logistic regression with a quadratic penalty, and how well it tells people apart whom it has not seen.
//!
//! The weights w and the intercept c minimise w·w / 2 + C · Σ ln(1 + exp(−y (w·x + c))), with y = ±1 (Hastie, Tibshirani and
//! Friedman, *The Elements of Statistical Learning*, 4.4; C as in liblinear). Newton's method, its steps by conjugate
//! gradients that are ended early (Dembo, Eisenstat and Steihaug 1982): no matrix of columns × columns is made.

use super::error::{Error, Result};

/// Steps of Newton's method at most; it takes a few.
const STEPS: usize = 50;
/// The gradient is 0 when it is so much shorter than it was in the beginning.
const SMALL: f64 = 1e-9;

/// Rows of numbers.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    numbers: &'a [f64],
    columns: usize,
}

impl<'a> Table<'a> {
    /// Takes `numbers` as rows of `columns`, one after the other.
    ///
    /// # Errors
    /// Numbers that make no whole rows, or are not one a row.
    pub fn new(numbers: &'a [f64], columns: usize) -> Result<Table<'a>> {
        match columns > 0 && numbers.len().is_multiple_of(columns) {
            true => Ok(Table { numbers, columns }),
            false => {
                let rows = numbers.len() / columns.max(1);
                Err(Error::Shape { numbers: numbers.len(), rows, columns })
            }
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.numbers.len() / self.columns
    }

    fn row(&self, at: usize) -> &'a [f64] {
        &self.numbers[at * self.columns..(at + 1) * self.columns]
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// One number a column and the intercept behind them.
fn score(weights: &[f64], row: &[f64]) -> f64 {
    weights.last().copied().unwrap_or_default() + dot(row, weights)
}

/// The weights, one a column, and the intercept behind them. `cost` is C.
///
/// # Errors
/// Answers that are not one a row, or are all the same: then the intercept has no end.
pub fn fit(table: Table<'_>, answers: &[bool], cost: f64) -> Result<Vec<f64>> {
    if table.rows() != answers.len() {
        return Err(Error::Shape { numbers: table.numbers.len(), rows: answers.len(), columns: table.columns });
    }
    if answers.iter().all(|answer| *answer == answers[0]) {
        return Err(Error::OneAnswer { count: answers.len() });
    }
    let n = table.columns;
    let sign = |answer: bool| if answer { 1.0 } else { -1.0 };
    let loss = |weights: &[f64]| {
        let each = |(row, answer): (usize, &bool)| {
            let margin = sign(*answer) * score(weights, table.row(row));
            (-margin.abs()).exp().ln_1p() + (-margin).max(0.0)
        };
        dot(&weights[..n], &weights[..n]) / 2.0 + cost * answers.iter().enumerate().map(each).sum::<f64>()
    };
    let mut weights = vec![0.0; n + 1];
    let (mut value, mut first) = (loss(&weights), None);
    for _ in 0..STEPS {
        // The gradient, and how much each row bends the loss.
        let mut gradient = weights.clone();
        gradient[n] = 0.0;
        let mut bends = Vec::with_capacity(answers.len());
        for (row, answer) in answers.iter().enumerate() {
            let chance = 1.0 / (1.0 + (-score(&weights, table.row(row))).exp());
            let pull = cost * (chance - f64::from(u8::from(*answer)));
            gradient.iter_mut().zip(table.row(row)).for_each(|(own, number)| *own += pull * number);
            gradient[n] += pull;
            bends.push(cost * chance * (1.0 - chance));
        }
        let length = dot(&gradient, &gradient).sqrt();
        if length <= SMALL * *first.get_or_insert(length) {
            break;
        }
        let bent = |direction: &[f64]| {
            let mut product = direction.to_vec();
            product[n] = 0.0;
            for (row, bend) in bends.iter().enumerate() {
                let pull = bend * score(direction, table.row(row));
                product.iter_mut().zip(table.row(row)).for_each(|(own, number)| *own += pull * number);
                product[n] += pull;
            }
            product
        };
        let step = solve(bent, &gradient, n + 1);
        // A whole step where it helps; near the end it always does.
        let mut size = 1.0;
        loop {
            let next: Vec<f64> = weights.iter().zip(&step).map(|(own, step)| own - size * step).collect();
            let reached = loss(&next);
            if reached <= value || size < 1e-6 {
                (weights, value) = (next, reached);
                break;
            }
            size /= 2.0;
        }
    }
    Ok(weights)
}

/// The solution of H x = `right` for a positive definite H by conjugate gradients (Hestenes and Stiefel 1952).
fn solve(product: impl Fn(&[f64]) -> Vec<f64>, right: &[f64], most: usize) -> Vec<f64> {
    let mut solution = vec![0.0; right.len()];
    let (mut rest, mut direction) = (right.to_vec(), right.to_vec());
    let mut length = dot(&rest, &rest);
    // A step need not be exact, since the next one begins from where it leads.
    let enough = 1e-4 * length;
    for _ in 0..2 * most {
        if length <= enough {
            break;
        }
        let image = product(&direction);
        let along = length / dot(&direction, &image);
        solution.iter_mut().zip(&direction).for_each(|(own, direction)| *own += along * direction);
        rest.iter_mut().zip(&image).for_each(|(own, image)| *own -= along * image);
        let next = dot(&rest, &rest);
        direction.iter_mut().zip(&rest).for_each(|(own, rest)| *own = rest + next / length * *own);
        length = next;
    }
    solution
}

/// The logarithm of the odds of each row by a model that was fitted without it: row `i` is left out with all rows whose place
/// has the same remainder by `folds`. Columns are standardised on the rows that are learned from.
///
/// # Errors
/// Those of [`fit`], for any part of the rows.
pub fn out_of_fold(table: Table<'_>, answers: &[bool], cost: f64, folds: usize) -> Result<Vec<f64>> {
    if table.rows() != answers.len() {
        return Err(Error::Shape { numbers: table.numbers.len(), rows: answers.len(), columns: table.columns });
    }
    let (folds, columns) = (folds.max(2), table.columns);
    let mut scores = vec![0.0; answers.len()];
    for fold in 0..folds {
        let learned: Vec<usize> = (0..answers.len()).filter(|row| row % folds != fold).collect();
        let count = learned.len() as f64;
        let (mut means, mut spreads) = (vec![0.0; columns], vec![0.0; columns]);
        for row in &learned {
            means.iter_mut().zip(table.row(*row)).for_each(|(mean, number)| *mean += number / count);
        }
        for row in &learned {
            let squares = table.row(*row).iter().zip(&means).map(|(number, mean)| (number - mean).powi(2));
            spreads.iter_mut().zip(squares).for_each(|(spread, square)| *spread += square / count);
        }
        // A column that is the same everywhere says nothing, and must not be divided by 0.
        spreads.iter_mut().for_each(|spread| *spread = if *spread > 0.0 { spread.sqrt() } else { 1.0 });
        let standard = |row: usize| {
            let numbers = table.row(row).iter().zip(&means).zip(&spreads);
            numbers.map(|((number, mean), spread)| (number - mean) / spread).collect::<Vec<f64>>()
        };
        let numbers: Vec<f64> = learned.iter().flat_map(|row| standard(*row)).collect();
        let own: Vec<bool> = learned.iter().map(|row| answers[*row]).collect();
        let weights = fit(Table::new(&numbers, columns)?, &own, cost)?;
        for row in (0..answers.len()).filter(|row| row % folds == fold) {
            scores[row] = score(&weights, &standard(row));
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_nothing_at_the_weights() {
        // Twelve rows of two columns with no clean cut between the answers.
        let numbers: Vec<f64> = (0..24).map(|at| f64::from((at * 7919_i32) % 23) / 7.0 - 1.5).collect();
        let answers: Vec<bool> = (0..12).map(|row| [true, false, false, true, true][row % 5]).collect();
        let table = Table::new(&numbers, 2).unwrap_or_else(|error| panic!("{error}"));
        let weights = fit(table, &answers, 0.7).unwrap_or_else(|error| panic!("{error}"));
        let objective = |weights: &[f64]| {
            let each = |(row, answer): (&[f64], &bool)| {
                let f = weights[0] * row[0] + weights[1] * row[1] + weights[2];
                (1.0 + (if *answer { -f } else { f }).exp()).ln()
            };
            let loss: f64 = numbers.chunks(2).zip(&answers).map(each).sum();
            (weights[0].powi(2) + weights[1].powi(2)) / 2.0 + 0.7 * loss
        };
        for axis in 0..3 {
            let beside = |by: f64| {
                let mut moved = weights.clone();
                moved[axis] += by;
                objective(&moved)
            };
            let slope = (beside(1e-5) - beside(-1e-5)) / 2e-5;
            assert!(slope.abs() < 1e-8, "{axis}: {slope}");
        }
    }

    #[test]
    fn what_cannot_be_learned_is_named() {
        let numbers = [1.0, 2.0, 3.0, 4.0];
        assert!(matches!(Table::new(&numbers, 3), Err(Error::Shape { .. })));
        let table = Table::new(&numbers, 1).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(fit(table, &[true; 4], 1.0), Err(Error::OneAnswer { count: 4 }));
        assert!(matches!(out_of_fold(table, &[true, false], 1.0, 5), Err(Error::Shape { .. })));
    }
}
