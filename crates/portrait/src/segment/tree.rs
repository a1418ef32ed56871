//! A small decision tree that says in words what a label means: CART with Gini impurity (Breiman, Friedman, Olshen and
//! Stone, 1984), as deep as allowed, and what share of the labels it reproduces.
//!
//! linfa-trees is not used. It sums class frequencies in the order of a hash map with random keys, so that two runs may cut
//! differently; it takes the middle between a value and the next one of the whole table, not of the part that is cut; it
//! sends a value equal to the cut left while learning and right while predicting; and it keeps no counts at its leaves.
//! Here everything is counted in whole numbers, and of cuts that are equally good the first column and the lowest cut win.
//!
//! A cut is the shortest decimal that parts the same people as the middle between their values: the rule that is read is
//! the rule that is applied.

use lookalike_measure::accuracy;

use super::error::{Result, setting};
use super::table::Table;

/// How far a tree may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most cuts on the way to a leaf.
    pub depth: usize,
    /// Fewest people in a leaf.
    pub least: usize,
}

/// A tree learned from labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    columns: usize,
    root: Node,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Leaf(Leaf),
    Cut { column: usize, at: f64, low: Box<Node>, high: Box<Node> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leaf {
    label: u32,
    people: usize,
    right: usize,
}

/// One way from the root to a leaf.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What must hold, all of it; by column, at most one condition a column. Nothing if everybody is in one leaf.
    pub conditions: Vec<Condition>,
    /// The label of those for whom it holds: their most frequent one, the smallest of equals.
    pub label: u32,
    /// For how many people it held when the tree was learned.
    pub people: usize,
    /// The share of them that have the label.
    pub purity: f64,
}

/// A range of one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// The column, from 0.
    pub column: usize,
    /// The value is greater than this.
    pub above: Option<f64>,
    /// The value is at most this.
    pub up_to: Option<f64>,
}

/// Learns a tree that predicts `labels` from `numbers`, `columns` a person.
pub fn grow(numbers: &[f64], columns: usize, labels: &[u32], limits: Limits) -> Result<Tree> {
    let table = Table::labelled(numbers, columns, labels)?;
    if limits.least == 0 {
        return Err(setting("least", limits.least, "at least 1"));
    }
    let mut names = labels.to_vec();
    names.sort_unstable();
    names.dedup();
    let classes = labels.iter().map(|label| names.partition_point(|name| name < label)).collect();
    let grower = Grower { table, classes, names, limits };
    let root = grower.node((0..table.rows()).collect(), 0);
    Ok(Tree { columns, root })
}

struct Grower<'a> {
    table: Table<'a>,
    /// Position of each person's label in `names`.
    classes: Vec<usize>,
    names: Vec<u32>,
    limits: Limits,
}

/// A cut must order people by more than this part better than the one before it: what differs less is rounding.
const BETTER: f64 = 1.0 + 1e-12;

impl Grower<'_> {
    fn node(&self, people: Vec<usize>, depth: usize) -> Node {
        let mut counts = vec![0usize; self.names.len()];
        people.iter().for_each(|&person| counts[self.classes[person]] += 1);
        let right = counts.iter().copied().max().unwrap_or(0);
        let label = counts.iter().position(|count| *count == right).map_or(0, |class| self.names[class]);
        let leaf = Leaf { label, people: people.len(), right };
        if depth == self.limits.depth || right == people.len() {
            return Node::Leaf(leaf);
        }
        let Some((column, at)) = self.best(&people, &counts) else { return Node::Leaf(leaf) };
        let (low, high) = people.into_iter().partition(|&person| self.table.row(person)[column] <= at);
        let (low, high) = (self.node(low, depth + 1), self.node(high, depth + 1));
        match (low, high) {
            // Two leaves that say the same are one.
            (Node::Leaf(low), Node::Leaf(high)) if low.label == high.label => Node::Leaf(leaf),
            (low, high) => Node::Cut { column, at, low: Box::new(low), high: Box::new(high) },
        }
    }

    /// The column and the place of the cut that lowers Gini's impurity most; `None` if none does. It is the one with the
    /// largest sum over both sides of (Σ over classes of n²) / n.
    fn best(&self, people: &[usize], counts: &[usize]) -> Option<(usize, f64)> {
        let order = |counts: &[u64], n: usize| counts.iter().map(|count| count * count).sum::<u64>() as f64 / n as f64;
        let all: Vec<u64> = counts.iter().map(|count| *count as u64).collect();
        let (mut best, mut most) = (None, order(&all, people.len()));
        for column in 0..self.table.columns() {
            let value = |person: usize| self.table.row(person)[column];
            let mut sorted = people.to_vec();
            sorted.sort_unstable_by(|&a, &b| value(a).total_cmp(&value(b)));
            let (mut low, mut high) = (vec![0; all.len()], all.clone());
            for (place, pair) in sorted.windows(2).enumerate() {
                low[self.classes[pair[0]]] += 1;
                high[self.classes[pair[0]]] -= 1;
                let (n_low, n_high) = (place + 1, sorted.len() - place - 1);
                if value(pair[0]) == value(pair[1]) || n_low.min(n_high) < self.limits.least {
                    continue;
                }
                let found = order(&low, n_low) + order(&high, n_high);
                if found > most * BETTER {
                    (best, most) = (Some((column, between(value(pair[0]), value(pair[1])))), found);
                }
            }
        }
        best
    }
}

/// The shortest decimal at or above `low` and below `high` that rounding their middle gives.
fn between(low: f64, high: f64) -> f64 {
    let middle = f64::midpoint(low, high);
    let tens = (1..=15).rev().map(|zeros| {
        let unit = 10f64.powi(zeros);
        (middle / unit).round() * unit
    });
    // Through text, which is exact where products with 0.1 are not.
    let decimals = (0..=15).map(|digits| format!("{middle:.digits$}").parse().unwrap_or(middle));
    let fits = tens.chain(decimals).find(|cut| *cut >= low && *cut < high);
    // Adding 0 makes 0 of -0.
    fits.unwrap_or(if middle < high { middle } else { low }) + 0.0
}

impl Tree {
    /// The label of each person: `numbers` has the columns that the tree was learned from.
    pub fn predict(&self, numbers: &[f64]) -> Result<Vec<u32>> {
        Ok(Table::new(numbers, self.columns)?.iter().map(|row| self.label(row)).collect())
    }

    fn label(&self, row: &[f64]) -> u32 {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.label,
                Node::Cut { column, at, low, high } => node = if row[*column] <= *at { low } else { high },
            }
        }
    }

    /// The share of `labels` that the tree gives back, for people it was learned from or others.
    pub fn fidelity(&self, numbers: &[f64], labels: &[u32]) -> Result<f64> {
        Table::labelled(numbers, self.columns, labels)?;
        Ok(accuracy(&self.predict(numbers)?, labels)?.unwrap_or(0.0))
    }

    /// The tree as rules, of which exactly one holds for any row; low values first.
    pub fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        collect(&self.root, &mut vec![(None, None); self.columns], &mut rules);
        rules
    }
}

/// Lower and upper bound of a column on the way to a node.
type Bounds = (Option<f64>, Option<f64>);

fn collect(node: &Node, bounds: &mut [Bounds], rules: &mut Vec<Rule>) {
    match node {
        Node::Leaf(leaf) => {
            let condition = |(column, &(above, up_to)): (usize, &Bounds)| Condition { column, above, up_to };
            let conditions = bounds.iter().enumerate().map(condition);
            rules.push(Rule {
                conditions: conditions.filter(|at| at.above.is_some() || at.up_to.is_some()).collect(),
                label: leaf.label,
                people: leaf.people,
                purity: leaf.right as f64 / leaf.people as f64,
            });
        }
        Node::Cut { column, at, low, high } => {
            let before = bounds[*column];
            bounds[*column] = (before.0, Some(*at));
            collect(low, bounds, rules);
            bounds[*column] = (Some(*at), before.1);
            collect(high, bounds, rules);
            bounds[*column] = before;
        }
    }
}

impl Rule {
    /// The rule in words: columns by their `names`, the label by what `label` calls it. A column without a name is called
    /// by its number.
    pub fn sentence(&self, names: &[&str], label: impl Fn(u32) -> String) -> String {
        let words = |condition: &Condition| {
            let number = condition.column.to_string();
            let name = names.get(condition.column).copied().unwrap_or(&number);
            match (condition.above, condition.up_to) {
                (Some(above), Some(up_to)) => format!("{above} < {name} <= {up_to}"),
                (Some(above), None) => format!("{name} > {above}"),
                (None, Some(up_to)) => format!("{name} <= {up_to}"),
                (None, None) => name.to_owned(),
            }
        };
        let conditions: Vec<String> = self.conditions.iter().map(words).collect();
        let when = if conditions.is_empty() { "always".to_owned() } else { conditions.join(" and ") };
        format!("{when} → {} ({} people, purity {:.2})", label(self.label), self.people, self.purity)
    }
}
