//! Which rows of a table make up each example of a batch, and the same rows sorted for a sparse update.

use crate::device::DeviceError;

/// A batch of bags: example `i` is the sum of the table rows `rows[offsets[i]..offsets[i + 1]]`.
/// A bag may be empty (its sum is zero) and may name a row twice (it counts twice). With weights, each row counts as
/// often as its weight says.
#[derive(Clone, Debug, PartialEq)]
pub struct Bags {
    offsets: Vec<u32>,
    rows: Vec<u32>,
    /// One for each of `rows`, or none at all: then each counts once.
    weights: Vec<f32>,
}

impl Bags {
    /// Takes `offsets` (one more than there are examples, from 0 up to the number of `rows`) and `rows`.
    pub fn new(offsets: Vec<u32>, rows: Vec<u32>) -> Result<Self, DeviceError> {
        let bad = |problem: String| Err(DeviceError::Input { what: "bags", problem });
        countable(rows.len())?;
        if offsets.first() != Some(&0) || offsets.last().map(|&end| end as usize) != Some(rows.len()) {
            return bad(format!("have offsets that do not run from 0 to the {} rows", rows.len()));
        }
        if !offsets.is_sorted() {
            return bad("have offsets that decrease".to_owned());
        }
        Ok(Self { offsets, rows, weights: Vec::new() })
    }

    /// The same with a weight for each of the rows.
    pub fn weighted(self, weights: Vec<f32>) -> Result<Self, DeviceError> {
        if weights.len() != self.rows.len() {
            let problem = format!("have {} weights for {} rows", weights.len(), self.rows.len());
            return Err(DeviceError::Input { what: "bags", problem });
        }
        Ok(Self { weights, ..self })
    }

    /// One row per example.
    pub fn single(rows: Vec<u32>) -> Result<Self, DeviceError> {
        Self::new((0..=countable(rows.len())?).collect(), rows)
    }

    /// Number of examples.
    pub fn batch(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Where each bag starts within [`Self::rows`]; one more entry than there are examples.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// The rows of all bags, bag after bag.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The weights of all rows, bag after bag; nothing if each counts once.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The rows of one bag.
    pub fn bag(&self, example: usize) -> &[u32] {
        &self.rows[self.entries(example)]
    }

    /// The rows of one bag, each with its weight.
    pub fn weighed(&self, example: usize) -> impl Iterator<Item = (u32, f32)> {
        let weights = self.weights.get(self.entries(example)).unwrap_or_default();
        let weights = weights.iter().copied().chain(std::iter::repeat(1.0));
        self.bag(example).iter().copied().zip(weights)
    }

    /// The rows of one bag, and their weights to be changed; no weights if each counts once.
    pub(crate) fn bag_mut(&mut self, example: usize) -> (&[u32], &mut [f32]) {
        let entries = self.entries(example);
        (&self.rows[entries.clone()], self.weights.get_mut(entries).unwrap_or_default())
    }

    fn entries(&self, example: usize) -> std::ops::Range<usize> {
        self.offsets[example] as usize..self.offsets[example + 1] as usize
    }

    /// The entries sorted by row. Entries of one row keep the order of their examples, so sums over
    /// a segment repeat bit for bit.
    pub fn segments(&self) -> Segments {
        // One 64-bit key per entry sorts by row, then by where the entry stands, and so by example.
        let mut keys: Vec<u64> = (0u64..).zip(&self.rows).map(|(entry, &row)| u64::from(row) << 32 | entry).collect();
        keys.sort_unstable();
        let mut example_of = vec![0u32; self.rows.len()];
        for example in 0..self.batch() {
            example_of[self.entries(example)].fill(example as u32);
        }
        let (mut rows, mut offsets) = (Vec::new(), Vec::new());
        for (place, &key) in (0u32..).zip(&keys) {
            let row = (key >> 32) as u32;
            if rows.last() != Some(&row) {
                rows.push(row);
                offsets.push(place);
            }
        }
        offsets.push(keys.len() as u32);
        let examples = keys.iter().map(|&key| example_of[key as u32 as usize]).collect();
        let weights = match self.weights.is_empty() {
            true => Vec::new(),
            false => keys.iter().map(|&key| self.weights[key as u32 as usize]).collect(),
        };
        Segments { batch: self.batch(), rows, offsets, examples, weights }
    }

    /// Fails if a bag names a row that a table of so many rows does not have.
    pub(crate) fn check_rows(&self, table_rows: usize) -> Result<(), DeviceError> {
        check_row(self.rows.iter().max().copied(), table_rows)
    }
}

/// So many rows as the offset behind the last of them.
fn countable(rows: usize) -> Result<u32, DeviceError> {
    let problem = || format!("name {rows} rows, more than a 32-bit offset can count");
    u32::try_from(rows).map_err(|_| DeviceError::Input { what: "bags", problem: problem() })
}

/// The entries of [`Bags`] grouped by row: segment `s` says that table row `rows()[s]` is used by
/// the examples `segment(s)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Segments {
    batch: usize,
    rows: Vec<u32>,
    offsets: Vec<u32>,
    examples: Vec<u32>,
    /// One for each of `examples`, or none at all.
    weights: Vec<f32>,
}

/// Segments cut into pieces of bounded length: piece `c` is the entries `offsets[c]..offsets[c + 1]`,
/// segment `s` is the pieces `of_segment[s]..of_segment[s + 1]`.
pub(crate) struct Pieces {
    pub(crate) offsets: Vec<u32>,
    pub(crate) of_segment: Vec<u32>,
}

impl Segments {
    /// Number of examples in the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The rows used by the batch, ascending, each once.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The examples that use the `segment`-th row, ascending; an example that names the row twice
    /// is listed twice.
    pub fn segment(&self, segment: usize) -> &[u32] {
        &self.examples[self.offsets[segment] as usize..self.offsets[segment + 1] as usize]
    }

    /// The same, each with the weight of the row in its bag.
    pub fn weighed(&self, segment: usize) -> impl Iterator<Item = (u32, f32)> {
        let entries = self.offsets[segment] as usize..self.offsets[segment + 1] as usize;
        let weights = self.weights.get(entries).unwrap_or_default();
        self.segment(segment).iter().copied().zip(weights.iter().copied().chain(std::iter::repeat(1.0)))
    }

    /// The weights of all entries, segment after segment; nothing if each counts once.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The examples of all segments, segment after segment.
    pub fn examples(&self) -> &[u32] {
        &self.examples
    }

    /// Cuts every segment into pieces of at most `longest` entries.
    pub(crate) fn pieces(&self, longest: usize) -> Pieces {
        let mut pieces = Pieces { offsets: vec![0], of_segment: vec![0] };
        for bounds in self.offsets.windows(2) {
            let ends = (bounds[0]..bounds[1]).step_by(longest).skip(1).chain([bounds[1]]);
            pieces.offsets.extend(ends);
            pieces.of_segment.push(pieces.offsets.len() as u32 - 1);
        }
        pieces
    }

    /// Fails if a segment names a row that a table of so many rows does not have.
    pub(crate) fn check_rows(&self, table_rows: usize) -> Result<(), DeviceError> {
        check_row(self.rows.last().copied(), table_rows)
    }
}

fn check_row(largest: Option<u32>, table_rows: usize) -> Result<(), DeviceError> {
    match largest {
        Some(row) if row as usize >= table_rows => {
            let problem = format!("name row {row} of a table of {table_rows} rows");
            Err(DeviceError::Input { what: "bags", problem })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bags(bags: &[&[u32]]) -> Bags {
        let mut offsets = vec![0];
        offsets.extend(bags.iter().scan(0, |end, bag| {
            *end += bag.len() as u32;
            Some(*end)
        }));
        Bags::new(offsets, bags.concat()).unwrap()
    }

    fn fails(offsets: &[u32], rows: &[u32], reason: &str) {
        let message = Bags::new(offsets.to_vec(), rows.to_vec()).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }

    #[test]
    fn malformed_offsets_are_refused() {
        fails(&[], &[], "do not run from 0");
        fails(&[1, 2], &[7, 7], "do not run from 0");
        fails(&[0, 1], &[7, 7], "do not run from 0 to the 2 rows");
        fails(&[0, 2, 1, 2], &[7, 7], "decrease");
    }

    #[test]
    fn segments_list_each_row_once_with_its_examples_in_order() {
        let segments = bags(&[&[5, 2], &[], &[2, 2], &[5]]).segments();
        assert_eq!((segments.batch(), segments.rows()), (4, [2, 5].as_slice()));
        assert_eq!((segments.segment(0), segments.segment(1)), ([0, 2, 2].as_slice(), [0, 3].as_slice()));
    }

    #[test]
    fn weights_follow_their_rows() {
        let bags = bags(&[&[5, 2], &[], &[2]]).weighted(vec![0.5, 2.0, 3.0]).unwrap();
        assert_eq!(bags.weighed(0).collect::<Vec<_>>(), [(5, 0.5), (2, 2.0)]);
        let segments = bags.segments();
        assert_eq!(segments.weighed(0).collect::<Vec<_>>(), [(0, 2.0), (2, 3.0)]);
        assert_eq!(segments.weighed(1).collect::<Vec<_>>(), [(0, 0.5)]);
        let message = bags.weighted(vec![1.0]).unwrap_err().to_string();
        assert_eq!(message, "`bags` have 1 weights for 3 rows");
    }

    #[test]
    fn pieces_are_bounded_and_cover_each_segment() {
        let pieces = bags(&[&[1], &[1], &[0], &[1], &[1], &[1]]).segments().pieces(2);
        assert_eq!(pieces.offsets, [0, 1, 3, 5, 6]);
        assert_eq!(pieces.of_segment, [0, 1, 4]);
    }

    #[test]
    fn as_many_rows_as_a_32_bit_offset_counts() {
        assert_eq!(countable(u32::MAX as usize).unwrap(), u32::MAX);
        let message = countable(u32::MAX as usize + 1).unwrap_err().to_string();
        assert_eq!(message, "`bags` name 4294967296 rows, more than a 32-bit offset can count");
    }

    #[test]
    fn an_empty_batch_has_no_segments() {
        let segments = Bags::single(vec![]).unwrap().segments();
        assert!(segments.rows().is_empty() && segments.pieces(4).of_segment == [0]);
    }

    #[test]
    fn a_row_outside_the_table_is_named() {
        let message = bags(&[&[1], &[9]]).check_rows(9).unwrap_err().to_string();
        assert_eq!(message, "`bags` name row 9 of a table of 9 rows");
    }
}
