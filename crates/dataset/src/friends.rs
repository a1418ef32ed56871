//! Who is a friend of whom, and what friends had: the edges of the store that join two users.
//!
//! An edge makes both its ends friends of each other, whichever way and however often it is said, and whatever its kind.
//! Where the split is by time, an edge with a time counts from then on alone.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use lookalike_bundle::{ItemRow, Row, UserRow, Vocab};
use lookalike_store::{Project, Store, Table};

use crate::cold::ends;
use crate::{Csr, Error, Features, Pair};

/// The name of the field of [`bags`].
const FIELD: &str = "friends";
/// Items that a user's bag holds at most.
const MOST: usize = 100;

/// An edge between two users, with its time in microseconds since 1970 if it has one.
pub(crate) type Edge = (UserRow, UserRow, Option<i64>);

/// Who was a friend of whom at a time, and what users had.
type Then<'a> = (&'a Csr<UserRow, UserRow>, &'a Csr<UserRow, ItemRow>);

/// All edges between two different users.
pub(crate) fn edges(project: &Project, store: &Store, users: &Vocab<UserRow>) -> Result<Vec<Edge>, Error> {
    let people: BTreeMap<&str, [bool; 2]> = ends(project).filter(|(_, ends)| *ends == [true, true]).collect();
    let mut edges = Vec::new();
    if people.is_empty() {
        return Ok(edges);
    }
    for batch in store.scan(Table::Edges, &["from", "to", "source", "at"])? {
        let batch = batch?;
        let [from, to, source] = [0, 1, 2].map(|column| batch.column(column).as_string::<i32>());
        let times = batch.column(3).as_primitive::<TimestampMicrosecondType>();
        for row in (0..batch.num_rows()).filter(|&row| people.contains_key(source.value(row))) {
            let ends = users.row(from.value(row)).zip(users.row(to.value(row)));
            if let Some((from, to)) = ends.filter(|(from, to)| from != to) {
                edges.push((from, to, times.is_valid(row).then(|| times.value(row))));
            }
        }
    }
    Ok(edges)
}

/// The friends of every user, by the edges before `end`; every weight is 1.
pub(crate) fn graph(edges: &[Edge], users: usize, end: Option<i64>) -> Csr<UserRow, UserRow> {
    let counts = |at: Option<i64>| at.zip(end).is_none_or(|(at, end)| at < end);
    let both = |&(from, to, _): &Edge| [(from, to), (to, from)].map(|(row, col)| Pair { row, col, weight: 1.0 });
    let pairs = || edges.iter().filter(|edge| counts(edge.2)).flat_map(both);
    Csr::collect(users, users, pairs).map_weights(|_, _| 1.0)
}

/// What the friends of every user had at several times, as features whose values all times share: an item weighs as many
/// friends as had it, divided so that a bag has length 1. A bag holds the [`MOST`] heaviest items, those of lower rows first
/// among equals. Times are given as who was a friend then, and what users had.
pub(crate) fn bags(times: &[Then<'_>], items: &Vocab<ItemRow>) -> Vec<Features> {
    let users = times.first().map_or(0, |(friends, _)| friends.n_rows());
    if times.iter().all(|(friends, _)| friends.is_empty()) {
        return vec![Features::none(users); times.len()];
    }
    let all = times.iter().flat_map(|(friends, learned)| bags_then(friends, learned)).collect();
    Features::of(FIELD, |item| items.id(ItemRow::new(item)), items.len(), all).in_groups_of(users)
}

/// The bags at one time, by the rows of items.
fn bags_then(friends: &Csr<UserRow, UserRow>, learned: &Csr<UserRow, ItemRow>) -> Vec<Vec<(u32, f32)>> {
    let mut counts = vec![0u32; learned.n_cols()];
    let (mut touched, mut bags) = (Vec::new(), Vec::new());
    for user in friends.rows() {
        for &friend in friends.cols(user) {
            for &item in learned.cols(UserRow::new(friend)) {
                if counts[item as usize] == 0 {
                    touched.push(item);
                }
                counts[item as usize] += 1;
            }
        }
        let mut bag: Vec<(u32, u32)> =
            touched.drain(..).map(|item| (item, std::mem::take(&mut counts[item as usize]))).collect();
        bag.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        bag.truncate(MOST);
        bag.sort_unstable();
        let length = bag.iter().map(|&(_, count)| f64::from(count).powi(2)).sum::<f64>().sqrt();
        bags.push(bag.into_iter().map(|(item, count)| (item, (f64::from(count) / length) as f32)).collect());
    }
    bags
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const USERS: usize = 9;
    const ITEMS: usize = 140;

    fn items() -> Vocab<ItemRow> {
        Vocab::new((0..ITEMS).map(|n| format!("i{n:03}")).collect()).unwrap()
    }

    fn learned(pairs: &[(u32, u32)]) -> Csr<UserRow, ItemRow> {
        let pair = |&(row, col): &(u32, u32)| Pair { row: UserRow::new(row), col: ItemRow::new(col), weight: 3.0 };
        Csr::from_pairs(USERS, ITEMS, &pairs.iter().map(pair).collect::<Vec<_>>())
    }

    fn edge(&(from, to, at): &(u32, u32, Option<i64>)) -> Edge {
        (UserRow::new(from), UserRow::new(to), at)
    }

    /// The same as slowly as it reads: a value is the item's id.
    fn slow(edges: &[Edge], had: &Csr<UserRow, ItemRow>, end: Option<i64>, user: usize) -> Vec<(String, f32)> {
        let me = UserRow::new(user as u32);
        let friend = |other: &UserRow| {
            edges.iter().any(|&(from, to, at)| {
                let in_time = match (at, end) {
                    (Some(at), Some(end)) => at < end,
                    _ => true,
                };
                in_time && ((from, to) == (me, *other) || (from, to) == (*other, me))
            })
        };
        let friends: Vec<UserRow> = had.rows().filter(friend).collect();
        let count = |item: u32| friends.iter().filter(|&&friend| had.cols(friend).contains(&item)).count();
        let mut bag: Vec<_> = (0..ITEMS as u32).map(|item| (item, count(item))).filter(|(_, n)| *n > 0).collect();
        bag.sort_by_key(|&(item, n)| (std::cmp::Reverse(n), item));
        bag.truncate(100);
        let length = bag.iter().map(|&(_, n)| (n * n) as f64).sum::<f64>().sqrt();
        bag.sort();
        bag.into_iter().map(|(item, n)| (format!("friends=i{item:03}"), (n as f64 / length) as f32)).collect()
    }

    proptest! {
        #[test]
        fn bags_are_what_plain_loops_find(
            pairs in proptest::collection::vec((0..USERS as u32, 0..ITEMS as u32), 0..600),
            edges in proptest::collection::vec((0..USERS as u32, 0..USERS as u32, proptest::option::of(0i64..9)), 0..20),
            end in proptest::option::of(0i64..9),
        ) {
            let had = learned(&pairs);
            let edges: Vec<Edge> = edges.iter().filter(|(from, to, _)| from != to).map(edge).collect();
            let features = bags(&[(&graph(&edges, USERS, end), &had)], &items()).remove(0);
            for user in 0..USERS {
                let found = features.weighed(user).map(|(value, weight)| (features.names()[value as usize].clone(), weight));
                prop_assert_eq!(found.collect::<Vec<_>>(), slow(&edges, &had, end, user));
            }
        }
    }

    #[test]
    fn without_edges_there_is_nothing() {
        let none = bags(&[(&graph(&[], USERS, None), &learned(&[(0, 1)]))], &items());
        assert_eq!(none, [Features::none(USERS)]);
    }

    #[test]
    fn a_bag_has_length_one_and_its_field_is_a_field() {
        let had = learned(&[(1, 5), (2, 5), (2, 7)]);
        let graph = graph(&[edge(&(0, 1, None)), edge(&(2, 0, None))], USERS, None);
        let bags = bags(&[(&graph, &had)], &items()).remove(0);
        assert_eq!(
            (bags.names(), bags.fields()),
            (&["friends=i005".to_owned(), "friends=i007".to_owned()][..], vec!["friends"])
        );
        let expected = [(0, 2.0 / 5f32.sqrt()), (1, 1.0 / 5f32.sqrt())];
        assert!(bags.weighed(0).zip(expected).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-6));
    }
}
