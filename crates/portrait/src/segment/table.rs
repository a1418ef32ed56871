//! A table of finite numbers, one row a person.

use super::error::{Error, Result, setting};

/// Row after row; checked once, so that nothing later can fall out of it.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    numbers: &'a [f64],
    columns: usize,
}

impl<'a> Table<'a> {
    /// Refuses tables without columns or rows, of the wrong size, and with numbers that are not finite.
    pub(crate) fn new(numbers: &'a [f64], columns: usize) -> Result<Self> {
        if columns == 0 {
            return Err(setting("columns", columns, "at least 1"));
        }
        if !numbers.len().is_multiple_of(columns) {
            return Err(Error::Shape { numbers: numbers.len(), rows: numbers.len() / columns, columns });
        }
        if numbers.is_empty() {
            return Err(Error::Nobody);
        }
        match numbers.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Error::NotFinite { row: at / columns, column: at % columns, value: numbers[at] }),
            None => Ok(Self { numbers, columns }),
        }
    }

    /// The same, for as many people as there are labels.
    pub(crate) fn labelled(numbers: &'a [f64], columns: usize, labels: &[u32]) -> Result<Self> {
        let table = Self::new(numbers, columns)?;
        if table.rows() != labels.len() {
            return Err(Error::Shape { numbers: numbers.len(), rows: labels.len(), columns });
        }
        Ok(table)
    }

    pub(crate) fn numbers(self) -> &'a [f64] {
        self.numbers
    }

    pub(crate) fn columns(self) -> usize {
        self.columns
    }

    pub(crate) fn rows(self) -> usize {
        self.numbers.len() / self.columns
    }

    pub(crate) fn row(self, row: usize) -> &'a [f64] {
        &self.numbers[row * self.columns..][..self.columns]
    }

    pub(crate) fn iter(self) -> std::slice::ChunksExact<'a, f64> {
        self.numbers.chunks_exact(self.columns)
    }

    pub(crate) fn column(self, column: usize) -> impl Iterator<Item = f64> + Clone + 'a {
        self.numbers.iter().skip(column).step_by(self.columns).copied()
    }
}
