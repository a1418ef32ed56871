//! What is bought together: for every item the others that stand in its baskets more often than by chance.

use lookalike_bundle::Pairs;

/// Baskets in which two items must stand together, at least: of fewer nothing is learned.
const LEAST: u32 = 5;
/// Partners an item keeps, which bounds the memory.
const MOST: usize = 50;
/// A basket of more different items says little of any two of them, and costs the square of their number.
pub(crate) const WIDEST: usize = 200;

/// Baskets one after the other, each with its items (ascending, each once).
#[derive(Default)]
pub(crate) struct Baskets {
    items: Vec<u32>,
    ends: Vec<usize>,
}

impl Baskets {
    /// Adds a basket; one that is empty or too wide is left out.
    pub(crate) fn push(&mut self, items: &mut Vec<u32>) {
        items.sort_unstable();
        items.dedup();
        if !items.is_empty() && items.len() <= WIDEST {
            self.items.extend_from_slice(items);
            self.ends.push(self.items.len());
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.items[start..end])
    }
}

/// Counts pairs over all baskets given. The lift of two items is (c + 1) / (e + 1), where c is how many baskets have both
/// and e how many would by chance (the lift of Brin et al., SIGMOD 1997, with one basket added to either side, so that
/// rare pairs do not win). Kept are the [`MOST`] largest lifts above 1 of an item, of equal ones those of lower rows.
pub(crate) fn pairs(parts: &[&Baskets], items: usize) -> Pairs {
    let baskets: Vec<&[u32]> = parts.iter().flat_map(|part| part.iter()).collect();
    if baskets.is_empty() {
        return Pairs::default();
    }
    // Where the baskets of each item stand in one list.
    let mut starts = vec![0usize; items + 1];
    baskets.iter().copied().flatten().for_each(|&item| starts[item as usize + 1] += 1);
    (0..items).for_each(|item| starts[item + 1] += starts[item]);
    let (mut next, mut holders) = (starts.clone(), vec![0u32; starts[items]]);
    for (nth, basket) in baskets.iter().enumerate() {
        for &item in *basket {
            holders[next[item as usize]] = nth as u32;
            next[item as usize] += 1;
        }
    }
    let holders_of = |item: usize| &holders[starts[item]..starts[item + 1]];
    let all = baskets.len() as f64;
    let (mut counts, mut touched) = (vec![0u32; items], Vec::new());
    let mut pairs = Pairs { offsets: vec![0], ..Pairs::default() };
    for item in 0..items {
        for &other in holders_of(item).iter().flat_map(|&nth| baskets[nth as usize]) {
            if counts[other as usize] == 0 {
                touched.push(other);
            }
            counts[other as usize] += 1;
        }
        let mine = holders_of(item).len() as f64;
        let mut partners = Vec::new();
        for other in touched.drain(..) {
            let together = std::mem::take(&mut counts[other as usize]);
            let by_chance = mine * holders_of(other as usize).len() as f64 / all;
            let lift = ((f64::from(together) + 1.0) / (by_chance + 1.0)) as f32;
            if other as usize != item && together >= LEAST && lift > 1.0 {
                partners.push((other, lift));
            }
        }
        partners.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        partners.truncate(MOST);
        partners.sort_unstable_by_key(|partner| partner.0);
        pairs.partners.extend(partners.iter().map(|partner| partner.0));
        pairs.lifts.extend(partners.iter().map(|partner| partner.1));
        pairs.offsets.push(pairs.partners.len() as u64);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pairs_are_what_plain_loops_find(
            baskets in prop::collection::vec(prop::collection::vec(0u32..9, 0..5), 0..90), cut in 0usize..90,
        ) {
            let mut parts = [Baskets::default(), Baskets::default()];
            for (nth, basket) in baskets.iter().enumerate() {
                parts[usize::from(nth >= cut)].push(&mut basket.clone());
            }
            let found = pairs(&[&parts[0], &parts[1]], 9);
            prop_assert_eq!(found.problem(9), None);
            let held: Vec<_> = baskets.iter().filter(|basket| !basket.is_empty()).collect();
            for a in 0..9u32 {
                let count = |of: &[u32]| held.iter().filter(|basket| of.iter().all(|item| basket.contains(item))).count() as f64;
                let lift = |b: u32| (count(&[a, b]) + 1.0) / (count(&[a]) * count(&[b]) / held.len() as f64 + 1.0);
                let kept = (0..9).filter(|&b| b != a && count(&[a, b]) >= 5.0 && lift(b) as f32 > 1.0);
                let kept: Vec<_> = kept.map(|b| (b, lift(b) as f32)).collect();
                prop_assert_eq!(found.of(a as usize).collect::<Vec<_>>(), kept);
            }
        }
    }

    #[test]
    fn an_item_keeps_so_many_partners_and_a_basket_that_is_too_wide_counts_for_nothing() {
        let mut baskets = Baskets::default();
        for nth in 0..60 {
            (0..5 + nth % 3).for_each(|_| baskets.push(&mut vec![0, nth + 1]));
        }
        (0..100).for_each(|_| baskets.push(&mut vec![61]));
        (0..9).for_each(|_| baskets.push(&mut (0..=WIDEST as u32).collect()));
        let found = pairs(&[&baskets], 300);
        assert_eq!(found.of(0).count(), MOST);
        // The strongest stay: those of seven baskets all, of five the first ones.
        assert!(found.of(0).all(|(partner, _)| partner <= 60));
        assert_eq!(found.of(0).filter(|(partner, _)| (partner - 1) % 3 == 2).count(), 20);
        assert_eq!(found.of(200).count(), 0);
    }
}
