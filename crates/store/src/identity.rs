//! Which ids are one person: the connected components over edges of one kind.
//!
//! Ids that say nothing (`unknown`, `NaN`) link nobody. A component of more ids than a person can have is left as it is:
//! something shared, such as a public computer, holds it together. The person of a component is its smallest id by bytes,
//! so the order of the edges does not matter.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use crate::error::Result;
use crate::forgotten::Forgotten;
use crate::report::IdentityReport;
use crate::schema::Table;
use crate::settings::Entry;
use crate::source::Source;

/// `[identity]`: which edges say that two ids are one person.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// The kind of such an edge.
    pub kind: String,
    /// Ids that name nobody.
    pub reject: BTreeSet<String>,
    /// How many ids a person can have.
    pub max_people: u32,
}

impl Identity {
    pub(crate) fn check(entry: &Entry<'_>, sources: &[Source]) -> Result<Self> {
        let mut typed = entry.section()?;
        let stated = typed.take("kind");
        let kind = stated.as_ref().map(|entry| entry.text()).transpose()?.unwrap_or_else(|| "same-person".to_owned());
        let edges = sources.iter().filter(|source| source.table == Table::Edges);
        let known: Option<Vec<Vec<&str>>> = edges.map(Source::kinds).collect();
        if let Some(known) = known.map(|kinds| kinds.concat())
            && !known.contains(&kind.as_str())
        {
            return Err(match known.is_empty() {
                true => entry.error("needs a source of edges that says who is one person"),
                false => stated.as_ref().unwrap_or(entry).unknown("kind", &kind, &known),
            });
        }
        let reject = match typed.take("reject") {
            Some(entry) => {
                entry.entries()?.iter().map(|entry| Ok(entry.any_text()?.trim().to_owned())).collect::<Result<_>>()?
            }
            None => BTreeSet::new(),
        };
        let max_people = typed.take("max_people").map(|entry| entry.whole(2)).transpose()?.unwrap_or(20);
        typed.finish()?;
        Ok(Identity { kind, reject, max_people })
    }
}

/// Ids and the links between them, while they are gathered.
pub(crate) struct Links<'a> {
    identity: &'a Identity,
    rows: HashMap<String, u32>,
    ids: Vec<String>,
    /// A forest whose trees are the components.
    parent: Vec<u32>,
    report: IdentityReport,
}

impl<'a> Links<'a> {
    pub(crate) fn new(identity: &'a Identity) -> Self {
        let (rows, ids, parent) = Default::default();
        Links { identity, rows, ids, parent, report: IdentityReport::default() }
    }

    /// Takes an edge into account.
    pub(crate) fn link(&mut self, from: &str, to: &str) {
        if [from, to].iter().any(|id| self.identity.reject.contains(*id)) {
            self.report.rejected += 1;
            return;
        }
        self.report.links += 1;
        let (from, to) = (self.row(from), self.row(to));
        let (from, to) = (self.root(from), self.root(to));
        if from != to {
            self.parent[from.max(to) as usize] = from.min(to);
        }
    }

    fn row(&mut self, id: &str) -> u32 {
        if let Some(row) = self.rows.get(id) {
            return *row;
        }
        let row = self.ids.len() as u32;
        self.rows.insert(id.to_owned(), row);
        self.ids.push(id.to_owned());
        self.parent.push(row);
        row
    }

    fn root(&mut self, mut row: u32) -> u32 {
        while self.parent[row as usize] != row {
            // Halving the path keeps the next search short.
            let above = self.parent[self.parent[row as usize] as usize];
            self.parent[row as usize] = above;
            row = above;
        }
        row
    }

    /// Who is who, and which of them asked to be forgotten.
    pub(crate) fn finish(mut self, forgotten: &Forgotten) -> People {
        let mut components: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for row in 0..self.ids.len() as u32 {
            let root = self.root(row);
            components.entry(root).or_default().push(row);
        }
        let mut people = People { report: self.report, ..People::default() };
        for members in components.into_values() {
            let ids = || members.iter().map(|row| &self.ids[*row as usize]);
            let Some(person) = ids().min().filter(|_| members.len() > 1) else { continue };
            if members.len() > self.identity.max_people as usize {
                people.report.too_large += 1;
                people.report.ids_apart += members.len() as u64;
                continue;
            }
            people.report.people += 1;
            people.report.ids += members.len() as u64;
            if ids().any(|id| forgotten.holds(id)) {
                people.gone.insert(person.clone());
            }
            people.of.extend(ids().filter(|id| *id != person).map(|id| (id.clone(), person.clone())));
        }
        people
    }
}

/// Who is who.
#[derive(Default)]
pub(crate) struct People {
    /// Id → person, for ids that are not the person's own.
    pub(crate) of: HashMap<String, String>,
    /// People of whose ids one was forgotten.
    gone: HashSet<String>,
    pub(crate) report: IdentityReport,
}

impl People {
    /// The person that an id stands for.
    pub(crate) fn person<'a>(&'a self, id: &'a str) -> &'a str {
        self.of.get(id).map_or(id, String::as_str)
    }

    /// Whether this person is to be forgotten because of one of their other ids.
    pub(crate) fn is_gone(&self, person: &str) -> bool {
        self.gone.contains(person)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn people(edges: &[(u8, u8)], max_people: u32) -> (BTreeMap<String, String>, IdentityReport) {
        let reject = BTreeSet::from(["0".to_owned()]);
        let identity = Identity { kind: "same-person".to_owned(), reject, max_people };
        let mut links = Links::new(&identity);
        edges.iter().for_each(|(from, to)| links.link(&from.to_string(), &to.to_string()));
        let people = links.finish(&Forgotten::default());
        (people.of.into_iter().collect(), people.report)
    }

    /// The same by marking everything that can be reached, again and again.
    fn model(edges: &[(u8, u8)], max_people: usize) -> BTreeMap<String, String> {
        let edges: Vec<_> = edges.iter().filter(|(from, to)| *from != 0 && *to != 0).collect();
        let mut found = BTreeMap::new();
        for start in edges.iter().flat_map(|(from, to)| [*from, *to]) {
            let mut reached = BTreeSet::from([start]);
            loop {
                let next: BTreeSet<u8> = edges
                    .iter()
                    .filter(|(from, to)| reached.contains(from) || reached.contains(to))
                    .flat_map(|(from, to)| [*from, *to])
                    .chain(reached.iter().copied())
                    .collect();
                if next.len() == reached.len() {
                    break;
                }
                reached = next;
            }
            let person = reached.iter().map(u8::to_string).min().unwrap_or_default();
            if reached.len() <= max_people && start.to_string() != person {
                found.insert(start.to_string(), person);
            }
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_order_and_direction_of_edges_gives_the_same_people(
            edges in prop::collection::vec((0..24_u8, 0..24_u8), 0..20),
            other in any::<prop::sample::Index>(),
        ) {
            let found = people(&edges, 5);
            prop_assert_eq!(&found.0, &model(&edges, 5));
            let mut turned: Vec<_> = edges.iter().map(|(from, to)| (*to, *from)).rev().collect();
            if !turned.is_empty() {
                let by = other.index(turned.len());
                turned.rotate_left(by);
            }
            prop_assert_eq!(people(&turned, 5), found);
        }
    }

    #[test]
    fn one_bad_id_cannot_merge_many() {
        let edges: Vec<(u8, u8)> = (2..=200).map(|id| (1, id)).collect();
        let (of, report) = people(&edges, 20);
        assert!(of.is_empty());
        assert_eq!((report.too_large, report.ids_apart, report.people), (1, 200, 0));
    }
}
