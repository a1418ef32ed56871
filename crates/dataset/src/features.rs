//! Feature bags: which declared values (department, brand, age band …) each user or item has.

use std::collections::BTreeMap;

use lookalike_bundle::Row;
use lookalike_store::ReadAs;

use crate::field::{Field, Values, is_id};

/// The values of every row, as numbers in one shared space: `0..len()`, field after field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    names: Vec<String>,
    offsets: Vec<u64>,
    values: Vec<u32>,
    /// How much each of `values` counts.
    weights: Vec<f32>,
}

impl Features {
    /// Rows without any feature.
    pub fn none(rows: usize) -> Self {
        Self { names: Vec::new(), offsets: vec![0; rows + 1], values: Vec::new(), weights: Vec::new() }
    }

    /// Rows of numbered values, ascending, each with how much it counts. The numbers must be below the number of names.
    pub fn from_rows(names: Vec<String>, rows: impl IntoIterator<Item = Vec<(u32, f32)>>) -> Self {
        let mut features = Self { names, ..Self::none(0) };
        for row in rows {
            features.values.extend(row.iter().map(|entry| entry.0));
            features.weights.extend(row.iter().map(|entry| entry.1));
            features.offsets.push(features.values.len() as u64);
        }
        features
    }

    /// Features of one field from bags: of every row its values (ascending) with their weights, out of `0..values`. Values
    /// that no row has get no number.
    pub(crate) fn of<'n>(
        field: &str,
        name: impl Fn(u32) -> &'n str,
        values: usize,
        mut bags: Vec<Vec<(u32, f32)>>,
    ) -> Self {
        let mut number = vec![u32::MAX; values];
        bags.iter().flatten().for_each(|(value, _)| number[*value as usize] = 0);
        let mut names = Vec::new();
        for (value, number) in (0u32..).zip(&mut number).filter(|(_, number)| **number == 0) {
            *number = names.len() as u32;
            names.push(format!("{field}={}", name(value)));
        }
        bags.iter_mut().flatten().for_each(|(value, _)| *value = number[*value as usize]);
        Self::from_rows(names, bags)
    }

    /// Whether others are the same can be told from this alone: a hash of names, values and weights.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for name in &self.names {
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        }
        let mut numbers = |bytes: &[u8]| {
            hasher.update(bytes);
        };
        self.offsets.iter().for_each(|offset| numbers(&offset.to_le_bytes()));
        self.values.iter().for_each(|value| numbers(&value.to_le_bytes()));
        self.weights.iter().for_each(|weight| numbers(&weight.to_le_bytes()));
        hasher.finalize().to_hex().to_string()
    }

    /// How many different values there are over all fields.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many values all rows have together.
    pub fn entries(&self) -> usize {
        self.values.len()
    }

    /// `field=value` of every value number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The value numbers of a row, ascending.
    pub fn bag(&self, row: usize) -> &[u32] {
        &self.values[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// The value numbers of a row, ascending, each with how much it counts.
    pub fn weighed(&self, row: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        self.values[range.clone()].iter().copied().zip(self.weights[range].iter().copied())
    }

    /// The values of both, those of `other` behind these. The rows must be the same.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Self {
        let mut both = Self { names: [&*self.names, &other.names].concat(), ..Self::none(0) };
        for row in 0..self.offsets.len().max(1) - 1 {
            let behind = other.weighed(row).map(|(value, weight)| (value + self.names.len() as u32, weight));
            for (value, weight) in self.weighed(row).chain(behind) {
                both.values.push(value);
                both.weights.push(weight);
            }
            both.offsets.push(both.values.len() as u64);
        }
        both
    }

    /// These rows in groups of so many, which share the values and their names.
    pub fn in_groups_of(&self, rows: usize) -> Vec<Self> {
        let groups = self.offsets[..self.offsets.len() - 1].len() / rows.max(1);
        let group = |nth: usize| {
            let offsets = &self.offsets[nth * rows..=(nth + 1) * rows];
            let range = offsets[0] as usize..offsets[rows] as usize;
            Self {
                names: self.names.clone(),
                offsets: offsets.iter().map(|offset| offset - offsets[0]).collect(),
                values: self.values[range.clone()].to_vec(),
                weights: self.weights[range].to_vec(),
            }
        };
        (0..groups).map(group).collect()
    }

    /// The names of the fields in use.
    pub fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<_> = self.names.iter().filter_map(|name| name.split_once('=')).map(|(f, _)| f).collect();
        fields.dedup();
        fields
    }

    /// The same rows with only the fields that `keep` approves.
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        let field = |name: &str| name.split_once('=').map_or(name.to_owned(), |(field, _)| field.to_owned());
        let kept: Vec<bool> = self.names.iter().map(|name| keep(&field(name))).collect();
        let mut number = vec![0u32; kept.len()];
        let mut names = Vec::new();
        for (value, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            number[value] = names.len() as u32;
            names.push(self.names[value].clone());
        }
        let rows = self.offsets.len().saturating_sub(1);
        let mut only = Self { names, ..Self::none(0) };
        for row in 0..rows {
            for (value, weight) in self.weighed(row).filter(|(value, _)| kept[*value as usize]) {
                only.values.push(number[value as usize]);
                only.weights.push(weight);
            }
            only.offsets.push(only.values.len() as u64);
        }
        only
    }
}

/// Collects declared values before it is known which of them say anything.
#[derive(Default)]
pub struct FeaturesBuilder {
    fields: BTreeMap<String, Values>,
    read_as: BTreeMap<String, ReadAs>,
}

impl FeaturesBuilder {
    /// Notes that a row has a value in a field. Several values of one field are allowed.
    pub fn push<R: Row>(&mut self, row: R, field: &str, value: &str) {
        self.push_weighed(row, field, value, 1.0);
    }

    /// The same with how much the value counts.
    pub fn push_weighed<R: Row>(&mut self, row: R, field: &str, value: &str, weight: f32) {
        let values = match self.fields.get_mut(field) {
            Some(values) => values,
            None => self.fields.entry(field.to_owned()).or_default(),
        };
        match values.get_mut(value) {
            Some(rows) => rows.push((row.get(), weight)),
            None => drop(values.insert(value.to_owned(), vec![(row.get(), weight)])),
        }
    }

    /// Says as what a field is read by [`FeaturesBuilder::declared`].
    pub fn read_as(&mut self, field: &str, read_as: ReadAs) {
        self.read_as.insert(field.to_owned(), read_as);
    }

    /// [`FeaturesBuilder::finish`] for what was declared: fields may be numbers or texts, and what became of each is told.
    pub fn declared(mut self, rows: usize, least: usize) -> (Features, Vec<Field>) {
        let mut fields = Vec::new();
        for (name, values) in &mut self.fields {
            let read_as = self.read_as.get(name).copied();
            let (read, field) = Field::read(name, std::mem::take(values), read_as, (rows, least));
            *values = read;
            fields.push(field);
        }
        (self.finish(rows, least), fields)
    }

    /// Numbers the values of so many rows. A value that fewer than `least` rows have (2: that a single row has) says no more
    /// than the row's own id and is left out; so is a whole field in which most values are such: it is an id or free text.
    pub fn finish(self, rows: usize, least: usize) -> Features {
        let mut bags: Vec<Vec<(u32, f32)>> = vec![Vec::new(); rows];
        let mut names = Vec::new();
        for (field, values) in self.fields {
            if is_id(&values, least) {
                continue;
            }
            for (value, rows) in values.into_iter().filter(|(_, rows)| rows.len() >= least) {
                for (row, weight) in rows {
                    bags[row as usize].push((names.len() as u32, weight));
                }
                names.push(format!("{field}={value}"));
            }
        }
        bags.iter_mut().for_each(|bag| bag.dedup_by_key(|entry| entry.0)); // ascending: values are visited in order
        Features::from_rows(names, bags)
    }
}

#[cfg(test)]
mod tests {
    use lookalike_bundle::ItemRow;

    use super::*;

    fn three() -> Features {
        let mut builder = FeaturesBuilder::default();
        for (row, field, value) in
            [(0, "brand", "x"), (1, "brand", "x"), (2, "brand", "y"), (0, "sku", "1"), (1, "sku", "2"), (2, "sku", "3")]
        {
            builder.push(ItemRow::new(row), field, value);
        }
        builder.push(ItemRow::new(0), "aisle", "7");
        builder.push(ItemRow::new(2), "aisle", "7");
        builder.finish(3, 2)
    }

    #[test]
    fn fields_that_are_ids_and_values_of_one_row_are_left_out() {
        assert_eq!(three().names(), ["aisle=7", "brand=x"]);
        assert_eq!((three().bag(0), three().bag(1), three().bag(2)), (&[0, 1][..], &[1][..], &[0][..]));
    }

    #[test]
    fn values_count_by_their_weights_beside_others() {
        let mut builder = FeaturesBuilder::default();
        builder.push_weighed(ItemRow::new(0), "taste", "tea", 0.25);
        builder.push_weighed(ItemRow::new(1), "taste", "tea", 0.75);
        let taste = builder.finish(3, 2);
        let both = three().beside(&taste);
        assert_eq!(both.names(), ["aisle=7", "brand=x", "taste=tea"]);
        assert_eq!(both.weighed(0).collect::<Vec<_>>(), [(0, 1.0), (1, 1.0), (2, 0.25)]);
        assert_eq!(both.weighed(1).collect::<Vec<_>>(), [(1, 1.0), (2, 0.75)]);
        assert_eq!(both.only(|field| field == "taste").weighed(1).collect::<Vec<_>>(), [(0, 0.75)]);
    }

    #[test]
    fn groups_of_rows_share_their_values() {
        let groups = three().in_groups_of(1);
        assert_eq!(groups.iter().map(|group| group.bag(0)).collect::<Vec<_>>(), [three().bag(0), &[1], &[0]]);
        assert!(groups.iter().all(|group| group.names() == three().names()));
    }

    #[test]
    fn what_differs_has_another_fingerprint() {
        let (one, same) = (three(), three());
        let other = three().only(|field| field == "brand");
        assert_eq!(one.fingerprint(), same.fingerprint());
        assert!(one.fingerprint() != other.fingerprint());
        let heavier = Features::from_rows(vec!["a=1".into()], [vec![(0, 2.0)]]);
        assert!(heavier.fingerprint() != Features::from_rows(vec!["a=1".into()], [vec![(0, 1.0)]]).fingerprint());
    }

    #[test]
    fn fields_can_be_chosen() {
        let only = three().only(|field| field == "brand");
        assert_eq!((only.names(), only.bag(0), only.bag(2)), (&["brand=x".to_owned()][..], &[0][..], &[][..]));
        assert_eq!(three().fields(), ["aisle", "brand"]);
    }
}
