//! What decided on a user's value of a tag that is made from other tags: which condition held, what was compared with what,
//! which scores the user has, and how far the centres are.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use lookalike_store::sql::compares;
use serde::Serialize;

use crate::column::{Column, Values};
use crate::derive::{Parents, percentiles};
use crate::error::{Error, Result};
use crate::profile::Profile;
use crate::segment::cluster::{Scaling, distances};
use crate::segment::rfm::{Cuts, Thresholds};
use crate::sql::{Sql, unreadable};
use crate::tag::{Body, Tag};

/// One ground on which a value stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Ground {
    /// A condition, or an expression with comparisons in it.
    Condition {
        /// The value that it gives, of a tag of rules.
        value: Option<String>,
        /// The SQL.
        when: String,
        /// Whether it held for the user; true of an expression that is no condition.
        holds: bool,
        /// What it compares.
        comparisons: Vec<Comparison>,
    },
    /// A score of recency, frequency or money.
    Score {
        /// The tag that it is a score of.
        tag: String,
        /// The user's figure.
        own: f64,
        /// The score, from 1.
        score: u8,
        /// The least figure with this score; `None` if there is no lower bound.
        from: Option<f64>,
        /// The least figure above those with this score.
        below: Option<f64>,
    },
    /// How far a centre is.
    Distance {
        /// The value that the centre stands for.
        value: String,
        /// In deviations of the logarithms.
        distance: f64,
    },
}

/// Two things compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What was compared, as it is typed.
    pub text: String,
    /// What stands left and right, for this user; `None` where that is unknown.
    pub sides: [Option<String>; 2],
    /// Whether it is true; `None` where it cannot be told.
    pub holds: Option<bool>,
    /// Where a percentile is compared with a number, what that is in figures of the tag.
    pub threshold: Option<Threshold>,
}

/// A percentile as a figure of its tag.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Threshold {
    /// The tag.
    pub tag: String,
    /// The least figure of any user on the upper side of the comparison; `None` if nobody is there.
    pub at: Option<f64>,
    /// The figure of the user.
    pub own: Option<f64>,
}

/// The grounds of a user's value, `row` of the profile; none for tags that are not made from others.
pub fn decided(tag: &Tag, profile: &Profile, row: usize) -> Result<Vec<Ground>> {
    let mut columns: HashMap<String, Column> = HashMap::new();
    for parent in tag.parents() {
        columns.insert(parent.to_owned(), profile.columns[profile.tag(parent)?].clone());
    }
    match &tag.body {
        Body::Sql { expression, from } => {
            let ground = condition(tag, expression, from, &columns, row)?;
            let compares =
                |ground: &Ground| matches!(ground, Ground::Condition { comparisons, .. } if !comparisons.is_empty());
            Ok(Some(ground).filter(compares).into_iter().collect())
        }
        Body::Rules { rules, from, .. } => {
            let ground = |(value, when): &(String, String)| {
                let mut ground = condition(tag, when, from, &columns, row)?;
                if let Ground::Condition { value: own, .. } = &mut ground {
                    *own = Some(value.clone());
                }
                Ok(ground)
            };
            rules.iter().map(ground).collect()
        }
        Body::Rfm { from, scores, .. } => scored(tag, from, *scores, &columns, row),
        Body::Cluster { from, means, deviations, centres } => {
            let own: Option<Vec<f64>> = from.values().map(|name| columns[name].values.number(row)).collect();
            let Some(own) = own else { return Ok(Vec::new()) };
            let scaling = Scaling { means: means.clone(), deviations: deviations.clone() };
            let flat: Vec<f64> = centres.iter().flat_map(|(_, centre)| centre.iter().copied()).collect();
            let found = scaling.apply(&own).and_then(|features| distances(&features, &flat));
            let found = found.map_err(|error| tag.error(error.to_string(), None))?;
            let named = centres.iter().zip(found);
            let mut grounds: Vec<Ground> =
                named.map(|((value, _), distance)| Ground::Distance { value: value.clone(), distance }).collect();
            let distance =
                |ground: &Ground| if let Ground::Distance { distance, .. } = ground { *distance } else { 0.0 };
            grounds.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
            Ok(grounds)
        }
        _ => Ok(Vec::new()),
    }
}

fn scored(
    tag: &Tag,
    from: &[String; 3],
    scores: u8,
    columns: &HashMap<String, Column>,
    row: usize,
) -> Result<Vec<Ground>> {
    let number = |name: &String, row: usize| columns[name].values.number(row);
    let users = columns[&from[0]].values.len();
    let whole: Vec<usize> = (0..users).filter(|row| from.iter().all(|name| number(name, *row).is_some())).collect();
    let of = |at: usize| whole.iter().filter_map(|row| number(&from[at], *row)).collect::<Vec<f64>>();
    let own: Option<Vec<f64>> = from.iter().map(|name| number(name, row)).collect();
    let Some(own) = own else { return Ok(Vec::new()) };
    let cuts = Thresholds::of(&of(0), &of(1), &of(2), scores);
    let cuts = cuts.map_err(|error| tag.error(error.to_string(), None))?;
    let given = cuts.scores(own[0], own[1], own[2]);
    let ground = |at: usize, cuts: &Cuts, score: u8| {
        let below = cuts.points().partition_point(|cut| *cut <= own[at]);
        let from_point = below.checked_sub(1).map(|last| cuts.points()[last]);
        let next = cuts.points().get(below).copied();
        Ground::Score { tag: from[at].clone(), own: own[at], score, from: from_point, below: next }
    };
    Ok(vec![
        ground(0, &cuts.days_since, given.recency),
        ground(1, &cuts.purchases, given.frequency),
        ground(2, &cuts.money, given.money),
    ])
}

fn condition(
    tag: &Tag,
    text: &str,
    from: &BTreeMap<String, String>,
    columns: &HashMap<String, Column>,
    row: usize,
) -> Result<Ground> {
    let users = columns.values().next().map_or(0, |column| column.values.len());
    let parents = Parents::new(from, columns, users)?;
    let (schema, own, sql) = (parents.batch.schema(), parents.batch.slice(row, 1), Sql::new());
    let parsed = sql.parse(text, &schema).map_err(|error| unreadable(tag, text, &error, &schema))?;
    let failed =
        |error: DataFusionError| Error::compute(format!("{}: `{text}` of tag `{}`", tag.place, tag.name))(error);
    let whole = sql.prepare(parsed.clone(), &schema).map_err(failed)?;
    let holds = !whole.is_condition() || whole.mask(&own).map_err(failed)?.first() == Some(&true);
    let mut found = Vec::new();
    gather(&parsed, &mut found);
    let mut comparisons = Vec::new();
    for BinaryExpr { left, op, right } in found {
        let value = |side: &Expr| -> Result<Option<String>, DataFusionError> {
            let texts = sql.prepare(side.clone(), &schema)?.texts(&own)?;
            Ok(texts.is_valid(0).then(|| texts.as_string::<i32>().value(0).to_owned()))
        };
        let sides = [value(left).map_err(failed)?, value(right).map_err(failed)?];
        let known = sides.iter().all(Option::is_some);
        let compared = Expr::BinaryExpr(BinaryExpr { left: left.clone(), op: *op, right: right.clone() });
        let holds = sql.prepare(compared, &schema).and_then(|compared| compared.mask(&own)).map_err(failed)?;
        comparisons.push(Comparison {
            text: format!("{} {op} {}", typed(left), typed(right)),
            sides,
            holds: holds.first().copied().filter(|_| known),
            threshold: threshold((left, right), matches!(op, Operator::Gt | Operator::LtEq), from, columns, row)
                .or_else(|| threshold((right, left), matches!(op, Operator::Lt | Operator::GtEq), from, columns, row)),
        });
    }
    Ok(Ground::Condition { value: None, when: text.to_owned(), holds, comparisons })
}

/// All comparisons in an expression, from left to right.
fn gather<'a>(expression: &'a Expr, found: &mut Vec<&'a BinaryExpr>) {
    let visit = |part: &'a Expr| {
        if let Expr::BinaryExpr(comparison) = part
            && compares(comparison.op)
        {
            found.push(comparison);
            return Ok(TreeNodeRecursion::Jump);
        }
        Ok(TreeNodeRecursion::Continue)
    };
    // Nothing in the visit fails.
    drop(expression.apply(visit));
}

/// What a percentile (`side`) that is compared with a number (`other`) comes to; `above` if the number itself lies below.
fn threshold(
    (side, other): (&Expr, &Expr),
    above: bool,
    from: &BTreeMap<String, String>,
    columns: &HashMap<String, Column>,
    row: usize,
) -> Option<Threshold> {
    let references = side.column_refs();
    let (Some(column), 1, true) = (references.iter().next(), references.len(), other.column_refs().is_empty()) else {
        return None;
    };
    let tag = from.get(column.name.strip_suffix("_pct").filter(|_| !from.contains_key(&column.name))?)?;
    let Values::Number(numbers) = &columns[tag].values else { return None };
    let Expr::Literal(limit, _) = other else { return None };
    let limit = match limit.cast_to(&arrow::datatypes::DataType::Float64) {
        Ok(ScalarValue::Float64(Some(limit))) => limit,
        _ => return None,
    };
    let reaches = |share: f64| if above { share > limit } else { share >= limit };
    let reached = percentiles(numbers).into_iter().zip(numbers).filter(|(share, _)| reaches(*share));
    let at = reached.map(|(_, number)| *number).min_by(f64::total_cmp);
    Some(Threshold { tag: tag.clone(), at, own: columns[tag].values.number(row) })
}

/// An expression about as it was typed.
fn typed(expression: &Expr) -> String {
    match expression {
        Expr::Column(column) => column.name.clone(),
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => format!("'{text}'"),
        Expr::Literal(value, _) => value.to_string(),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => format!("{} {op} {}", typed(left), typed(right)),
        Expr::ScalarFunction(call) => {
            format!("{}({})", call.name(), call.args.iter().map(typed).collect::<Vec<_>>().join(", "))
        }
        Expr::Cast(cast) => typed(&cast.expr),
        other => other.to_string(),
    }
}
