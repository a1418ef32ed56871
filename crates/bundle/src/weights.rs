//! What having an item says about the others: sparse weights from item to item, for models without embeddings.

use crate::error::WeightsError;
use crate::rows::{ItemRow, Row};
use crate::tensors::{Data, Lent, Tensor, Tensors};

const INPUT: &str = "item.weights.input";
const OFFSETS: &str = "item.weights.offsets";
const COLS: &str = "item.weights.cols";
const VALUES: &str = "item.weights.values";

/// For every item the items it speaks for, ascending, each once, with a weight. The score of item j for a user is
/// `Σ x(n_i) · weight(i, j)` over the items i of their history, with n_i the history's weight and x the [`Input`].
#[derive(Clone, Debug, PartialEq)]
pub struct ItemWeights {
    input: Input,
    offsets: Vec<u64>,
    cols: Vec<u32>,
    values: Vec<f32>,
}

/// What the summed weight n of a user's events with an item counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// 1, however often it happened. Stored as 0.
    One,
    /// ln(1 + n). Stored as 1.
    Log,
}

impl Input {
    /// What `n` counts.
    pub fn of(self, n: f32) -> f32 {
        match self {
            Self::One => 1.0,
            Self::Log => n.ln_1p(),
        }
    }

    fn code(self) -> &'static [u32] {
        match self {
            Self::One => &[0],
            Self::Log => &[1],
        }
    }
}

impl ItemWeights {
    /// Takes row `i`'s columns and values at `offsets[i]..offsets[i + 1]`. Checks order, range and values.
    pub fn new(input: Input, offsets: Vec<u64>, cols: Vec<u32>, values: Vec<f32>) -> Result<Self, WeightsError> {
        let spans = offsets.first() == Some(&0) && offsets.last() == Some(&(cols.len() as u64)) && offsets.is_sorted();
        if !spans || values.len() != cols.len() {
            return Err(WeightsError::Offsets { entries: cols.len(), values: values.len() });
        }
        let made = Self { input, offsets, cols, values };
        let items = made.items();
        for item in (0..items as u32).map(ItemRow::new) {
            let (start, cols) = (made.offsets[item.index()] as usize, made.cols(item));
            if let Some(at) = cols.windows(2).position(|pair| pair[0] >= pair[1]) {
                return Err(WeightsError::Order { entry: start + at + 1 });
            }
            if let Some(&col) = cols.last().filter(|&&col| col as usize >= items) {
                return Err(WeightsError::Range { entry: start + cols.len() - 1, col, items });
            }
        }
        match made.values.iter().position(|value| !value.is_finite()) {
            Some(entry) => Err(WeightsError::Value { entry, value: made.values[entry] }),
            None => Ok(made),
        }
    }

    /// Takes for every item its columns, ascending, with their values; checks them as [`Self::new`] does.
    pub fn from_rows(input: Input, rows: &[Vec<(u32, f32)>]) -> Result<Self, WeightsError> {
        let end = |end: &mut u64, row: &Vec<_>| {
            *end += row.len() as u64;
            Some(*end)
        };
        let offsets = std::iter::once(0).chain(rows.iter().scan(0, end)).collect();
        let entries = || rows.iter().flatten();
        Self::new(input, offsets, entries().map(|entry| entry.0).collect(), entries().map(|entry| entry.1).collect())
    }

    /// Weights over so many items none of which speaks for any.
    pub fn nothing(input: Input, items: usize) -> Self {
        Self { input, offsets: vec![0; items + 1], cols: Vec::new(), values: Vec::new() }
    }

    /// Number of items, those without entries included.
    pub fn items(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of entries of all items.
    pub fn len(&self) -> usize {
        self.cols.len()
    }

    /// Whether no item says anything.
    pub fn is_empty(&self) -> bool {
        self.cols.is_empty()
    }

    /// The items that an item speaks for, ascending.
    pub fn cols(&self, item: ItemRow) -> &[u32] {
        &self.cols[self.range(item)]
    }

    /// The weights that go with [`Self::cols`].
    pub fn values(&self, item: ItemRow) -> &[f32] {
        &self.values[self.range(item)]
    }

    fn range(&self, item: ItemRow) -> std::ops::Range<usize> {
        self.offsets[item.index()] as usize..self.offsets[item.index() + 1] as usize
    }

    /// Writes the score of every item (`scores` is as long as there are items) for a history of these items, with their
    /// weights beside them. Sums follow the order of the history.
    pub fn score(&self, history: &[u32], weights: &[f32], scores: &mut [f32]) {
        scores.fill(0.0);
        for (&item, &n) in history.iter().zip(weights) {
            let (item, x) = (ItemRow::new(item), self.input.of(n));
            for (&col, &value) in self.cols(item).iter().zip(self.values(item)) {
                scores[col as usize] += x * value;
            }
        }
    }

    /// The tensors of the weights as a file keeps them: `item.weights.input [1]`, `item.weights.offsets [items + 1]`,
    /// `item.weights.cols` and `item.weights.values [entries]`.
    pub fn tensors(&self) -> Tensors {
        Tensors::from([
            (INPUT.to_owned(), Tensor::u32s(self.input.code().to_vec())),
            (OFFSETS.to_owned(), Tensor::u64s(self.offsets.clone())),
            (COLS.to_owned(), Tensor::u32s(self.cols.clone())),
            (VALUES.to_owned(), Tensor::f32s(self.values.clone())),
        ])
    }

    /// The same without copying what is large.
    pub(crate) fn lend(&self) -> Vec<(&'static str, Lent<'_>)> {
        vec![
            (INPUT, Lent::u32s(self.input.code())),
            (OFFSETS, Lent::u64s(&self.offsets)),
            (COLS, Lent::u32s(&self.cols)),
            (VALUES, Lent::floats(vec![self.values.len()], &self.values)),
        ]
    }

    /// Takes such tensors out of others; nothing if there are none.
    pub fn take(tensors: &mut Tensors) -> Result<Option<Self>, WeightsError> {
        if !tensors.contains_key(OFFSETS) {
            return Ok(None);
        }
        let mut data = |name: &'static str| tensors.remove(name).map(|tensor| tensor.data);
        let missing = |name| Err(WeightsError::Missing { name });
        let Some(Data::U32(code)) = data(INPUT) else { return missing(INPUT) };
        let Some(input) = [Input::One, Input::Log].into_iter().find(|input| input.code() == code) else {
            return missing(INPUT);
        };
        let Some(Data::U64(offsets)) = data(OFFSETS) else { return missing(OFFSETS) };
        let Some(Data::U32(cols)) = data(COLS) else { return missing(COLS) };
        let Some(Data::F32(values)) = data(VALUES) else { return missing(VALUES) };
        Self::new(input, offsets, cols, values).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn made(rows: &[&[(u32, f32)]]) -> Result<ItemWeights, WeightsError> {
        ItemWeights::from_rows(Input::Log, &rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn scores_are_sums_over_the_history() {
        let weights = made(&[&[(1, 2.0), (2, -1.0)], &[], &[(0, 3.0), (1, 1.0)]]).unwrap();
        let mut scores = [9.0; 3];
        weights.score(&[0, 1, 2], &[1.0, 5.0, 3.0], &mut scores);
        let (a, c) = (2f32.ln(), 4f32.ln());
        assert_eq!(scores, [3.0 * c, 2.0 * a + c, -a]);
        assert_eq!((weights.items(), weights.len()), (3, 4));
    }

    #[test]
    fn tensors_give_the_weights_back() {
        for weights in [made(&[&[(1, 2.0)], &[]]).unwrap(), ItemWeights::from_rows(Input::One, &[]).unwrap()] {
            let mut tensors = weights.tensors();
            assert_eq!(ItemWeights::take(&mut tensors).unwrap(), Some(weights));
            assert!(tensors.is_empty() && ItemWeights::take(&mut tensors).unwrap().is_none());
        }
    }

    #[test]
    fn entries_that_mean_nothing() {
        assert_eq!(made(&[&[(1, 1.0), (0, 1.0)], &[]]), Err(WeightsError::Order { entry: 1 }));
        assert_eq!(made(&[&[(1, 1.0)], &[(1, 1.0), (1, 2.0)]]), Err(WeightsError::Order { entry: 2 }));
        assert_eq!(made(&[&[(0, 1.0)], &[(2, 1.0)]]), Err(WeightsError::Range { entry: 1, col: 2, items: 2 }));
        assert!(matches!(made(&[&[(0, f32::NAN)]]), Err(WeightsError::Value { entry: 0, .. })));
        let parts = |offsets: &[u64]| ItemWeights::new(Input::One, offsets.to_vec(), vec![0], vec![1.0]);
        for offsets in [&[][..], &[0], &[1, 1], &[0, 2], &[0, 1, 0]] {
            assert_eq!(parts(offsets), Err(WeightsError::Offsets { entries: 1, values: 1 }));
        }
    }

    #[test]
    fn a_tensor_that_is_absent_or_unknown_is_named() {
        for name in [INPUT, COLS, VALUES] {
            let mut tensors = made(&[&[]]).unwrap().tensors();
            tensors.remove(name);
            assert_eq!(ItemWeights::take(&mut tensors), Err(WeightsError::Missing { name }));
        }
        let mut tensors = made(&[&[]]).unwrap().tensors();
        tensors.insert(INPUT.to_owned(), Tensor::u32s(vec![7]));
        assert_eq!(ItemWeights::take(&mut tensors), Err(WeightsError::Missing { name: INPUT }));
    }
}
