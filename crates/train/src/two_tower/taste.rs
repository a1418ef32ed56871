//! Which attributes the items had that a user had, as values that a tower can read.

use std::collections::BTreeMap;

use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, Features};

/// The most values of a field that enter for a user.
const MOST: usize = 128;

/// For every user and every field of the items' attributes the square roots of the shares of its values, by how often
/// they were met, so that the numbers of a field have length 1.
pub(super) fn taste(train: &Csr<UserRow, ItemRow>, items: &Features) -> Features {
    let field = |name: &str| name.split_once('=').map_or(name.to_owned(), |(field, _)| field.to_owned());
    let mut fields: BTreeMap<String, u32> = BTreeMap::new();
    let field_of: Vec<u32> = items
        .names()
        .iter()
        .map(|name| {
            let next = fields.len() as u32;
            *fields.entry(field(name)).or_insert(next)
        })
        .collect();
    let mut counts = vec![0.0f32; items.len()];
    let rows = train.rows().map(|user| {
        let mut met: Vec<u32> = Vec::new();
        for (&item, &times) in train.cols(user).iter().zip(train.weights(user)) {
            for &value in items.bag(ItemRow::new(item).index()) {
                if counts[value as usize] == 0.0 {
                    met.push(value);
                }
                counts[value as usize] += times;
            }
        }
        let key = |value: u32| (field_of[value as usize], std::cmp::Reverse(counts[value as usize].to_bits()), value);
        met.sort_unstable_by_key(|&value| key(value));
        let mut row = Vec::new();
        for values in met.chunk_by(|&a, &b| field_of[a as usize] == field_of[b as usize]) {
            let values = &values[..values.len().min(MOST)];
            let total: f32 = values.iter().map(|&value| counts[value as usize]).sum();
            row.extend(values.iter().map(|&value| (value, (counts[value as usize] / total).sqrt())));
        }
        met.iter().for_each(|&value| counts[value as usize] = 0.0);
        row.sort_unstable_by_key(|&(value, _)| value);
        row
    });
    let names = items.names().iter().map(|name| format!("taste {name}")).collect();
    Features::from_rows(names, rows)
}

#[cfg(test)]
mod tests {
    use lookalike_dataset::Pair;

    use super::*;

    #[test]
    fn shares_of_each_field_have_length_one() {
        let names = ["brand=x", "brand=y", "shelf=1"].map(str::to_owned).to_vec();
        let items = Features::from_rows(names, [vec![(0, 1.0), (2, 1.0)], vec![(1, 1.0)], vec![(0, 1.0)]]);
        let pair = |col, weight| Pair { row: UserRow::new(0), col: ItemRow::new(col), weight };
        let train = Csr::from_pairs(2, 3, &[pair(0, 2.0), pair(1, 1.0), pair(2, 1.0)]);
        let taste = taste(&train, &items);
        let found: Vec<_> = taste.weighed(0).collect();
        assert_eq!(found, [(0, 0.75f32.sqrt()), (1, 0.25f32.sqrt()), (2, 1.0)]);
        assert!(taste.bag(1).is_empty() && taste.names()[0] == "taste brand=x");
    }
}
