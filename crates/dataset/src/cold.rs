//! Users without a history: who they are, and where what they went on to is kept.
//!
//! A model that reads attributes or friends can say something of them, and whoever falls back on what is popular can too.
//! So they have rows, behind all users with a history: the rows of these, and all that is drawn by row, stay as they are
//! whoever else is known.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_store::{Project, Store, Table};

use crate::{Builder, Csr, Error, Pair};

/// Tells the builder of the users that the store knows: those with a row of their own, and those at an end of an edge.
///
/// An end is a user's where its source says that this end alone names people. Where both ends may, as long as nothing else
/// is said, the edges of a source are taken to join users if one of them joins two who are users anyway: else the
/// campaigns that addressed users would be users too.
pub(crate) fn tell(builder: &mut Builder, project: &Project, store: &Store) -> Result<(), Error> {
    for batch in store.scan(Table::Users, &["user"])? {
        batch?.column(0).as_string::<i32>().iter().flatten().for_each(|id| builder.know(id));
    }
    let people: BTreeMap<&str, [bool; 2]> = ends(project).collect();
    if people.values().all(|ends| !ends[0] && !ends[1]) {
        return Ok(());
    }
    let mut joined = BTreeSet::new();
    each_edge(store, |[from, to], source| {
        if !joined.contains(source) && builder.is_user(from) && builder.is_user(to) {
            joined.insert(source.to_owned());
        }
    })?;
    each_edge(store, |ids, source| {
        let Some(named) = people.get(source) else { return };
        if *named == [true, true] && !joined.contains(source) {
            return;
        }
        ids.into_iter().zip(named).filter(|(_, named)| **named).for_each(|(id, _)| builder.know(id));
    })
}

/// Of each source of edges, whether its ends name people.
pub(crate) fn ends(project: &Project) -> impl Iterator<Item = (&str, [bool; 2])> {
    let edges = project.sources.iter().filter(|source| source.table == Table::Edges);
    edges.map(|source| {
        (source.name.as_str(), ["from", "to"].map(|end| source.people.iter().any(|person| person == end)))
    })
}

/// Calls `each` with the ends and the source of every edge.
fn each_edge(store: &Store, mut each: impl FnMut([&str; 2], &str)) -> Result<(), Error> {
    for batch in store.scan(Table::Edges, &["from", "to", "source"])? {
        let batch = batch?;
        let [from, to, source] = [0, 1, 2].map(|column| batch.column(column).as_string::<i32>());
        (0..batch.num_rows()).for_each(|row| each([from.value(row), to.value(row)], source.value(row)));
    }
    Ok(())
}

/// Held-out pairs whose item occurs in `learned`, those of users with a history there and those of users without.
pub(crate) fn apart(held: Csr<UserRow, ItemRow>, learned: &Csr<UserRow, ItemRow>) -> [Csr<UserRow, ItemRow>; 2] {
    let mut known = vec![false; learned.n_cols()];
    learned.all_cols().iter().for_each(|&item| known[item as usize] = true);
    let of = |cold: bool| {
        let kept = |pair: &Pair<UserRow, ItemRow>| known[pair.col.index()] && learned.cols(pair.row).is_empty() == cold;
        held.pairs().filter(kept).collect::<Vec<_>>()
    };
    let (warm, cold) = (of(false), of(true));
    let (rows, cols) = (held.n_rows(), held.n_cols());
    let cold = Csr::from_pairs(rows, cols, &cold);
    match warm.len() < held.len() {
        true => [Csr::from_pairs(rows, cols, &warm), cold],
        false => [held, cold],
    }
}
