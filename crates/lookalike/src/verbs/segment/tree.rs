//! `segment fit --target`: a small tree that tells the values of a tag by numeric tags, left as a tag of rules.
//!
//! The rules are those of the tree, word for word, so that what is read is what is applied. How often they say what the tag
//! says is told twice: for the users they were learned from, and for every fifth user by a tree of the others.

use std::collections::BTreeMap;

use lookalike_portrait::segment::tree::{Condition, Limits, grow};
use lookalike_portrait::{Values, describe};
use serde_json::json;

use super::{new_file, places, write};
use crate::cli::{Common, Language, OfDay};
use crate::failure::Failure;
use crate::say::{Say, grouped};
use crate::verbs::portrait::open;

/// One user of so many is kept back to judge the rules.
const JUDGED: usize = 5;

pub fn fit(common: &Common, name: &str, on: &[String], target: &str, depth: usize, say: &Say) -> Result<(), Failure> {
    let (project, profile) = open(common, &OfDay { as_of: None, lang: Language::En })?;
    let (file, section) = new_file(&project.root, name)?;
    let wanted = &profile.columns[profile.tag(target)?];
    let Values::Text { .. } = wanted.values else {
        return Err(Failure::new(format!("`{target}` has no values that divide the users"))
            .with_hint("take a segment, or what users declared of themselves"));
    };
    let tags = places(&profile, on)?;
    if tags.contains(&profile.tag(target)?) {
        return Err(Failure::wrong_use(format!("`{target}` cannot be told by itself")));
    }
    let names: Vec<&str> = tags.iter().map(|tag| profile.about.tags[*tag].name.as_str()).collect();
    let (rows, numbers) = describe::numbers(&profile, &tags)?;
    let columns = tags.len();
    // Users with all numbers and a value, and the values as numbers in their order.
    let known: Vec<usize> = (0..rows.len()).filter(|at| wanted.values.has(rows[*at] as usize)).collect();
    let text = |at: &usize| wanted.values.text(rows[*at] as usize).unwrap_or_default();
    let values: BTreeMap<&str, u32> =
        known.iter().map(text).collect::<std::collections::BTreeSet<_>>().into_iter().zip(0..).collect();
    if values.len() < 2 {
        return Err(Failure::new(format!(
            "the users with all of these numbers have fewer than two values of `{target}`"
        ))
        .with_hint("take tags that more users have"));
    }
    let called: Vec<&str> = values.keys().copied().collect();
    let table = |some: &[usize]| -> (Vec<f64>, Vec<u32>) {
        let rows = some.iter().flat_map(|at| numbers[at * columns..(at + 1) * columns].iter().copied());
        (rows.collect(), some.iter().map(|at| values[text(at)]).collect())
    };
    let limits = Limits { depth, least: project.min_cell as usize };
    let (all, labels) = table(&known);
    let tree = grow(&all, columns, &labels, limits)?;
    let fidelity = tree.fidelity(&all, &labels)?;
    let (learned, judged): (Vec<(usize, usize)>, _) =
        known.iter().copied().enumerate().partition(|(place, _)| place % JUDGED != 0);
    let some = |part: Vec<(usize, usize)>| table(&part.into_iter().map(|(_, at)| at).collect::<Vec<_>>());
    let ((seen, seen_labels), (unseen, unseen_labels)) = (some(learned), some(judged));
    let held_out = match seen_labels.is_empty() {
        true => None,
        false => Some(grow(&seen, columns, &seen_labels, limits)?.fidelity(&unseen, &unseen_labels)?),
    };
    let most = called.iter().map(|value| labels.iter().filter(|label| **label == values[value]).count()).max();
    let commonest = most.unwrap_or_default() as f64 / labels.len() as f64;

    let rules = tree.rules();
    let plain: Vec<&str> = names.iter().map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
    let label = |label: u32| called[label as usize].to_owned();
    let sentences: Vec<String> = rules.iter().map(|rule| rule.sentence(&plain, label)).collect();
    sentences.iter().for_each(|rule| say.line(format!("  {rule}")));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let judged =
        held_out.map_or(String::new(), |share| format!(", {} of users they were not learned from", percent(share)));
    let stated = format!(
        "these rules tell {} of {} users as `{target}` does{judged}; always saying the commonest value tells {}",
        percent(fidelity),
        grouped(labels.len() as u64),
        percent(commonest)
    );
    say.line(format!("  {stated}"));

    let short = |column: usize| format!("x{:02}", column + 1);
    let mut conditions: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for rule in &rules {
        let words = |condition: &Condition| {
            let name = short(condition.column);
            let above = condition.above.map(|above| format!("{name} > {above:?}"));
            let up_to = condition.up_to.map(|up_to| format!("{name} <= {up_to:?}"));
            [above, up_to].into_iter().flatten().collect::<Vec<_>>().join(" and ")
        };
        let all: Vec<String> = rule.conditions.iter().map(words).collect();
        // A tree of one leaf says the same of everybody who has the numbers.
        let all = if all.is_empty() { vec![format!("{} is not null", short(0))] } else { all };
        conditions.entry(rule.label).or_default().push(all.join(" and "));
    }
    let from: Vec<String> =
        names.iter().enumerate().map(|(column, name)| format!("{} = \"{name}\"", short(column))).collect();
    let mut text =
        format!("# Rules of a tree of depth {depth} as of {}, by `lookalike segment fit`:\n", profile.about.as_of);
    sentences.iter().for_each(|rule| text += &format!("#   {rule}\n"));
    text += &format!(
        "# {stated}.\n# Say what is done for the users of each value (`treatment`).\n\n[{section}]\nkind = \"rules\"\nfrom = {{ {} }}\n[{section}.values]\n",
        from.join(", ")
    );
    for (label, parts) in &conditions {
        let when = match parts.as_slice() {
            [only] => only.clone(),
            parts => parts.iter().map(|part| format!("({part})")).collect::<Vec<_>>().join(" or "),
        };
        text += &format!("{} = {{ when = \"{when}\" }}\n", toml_text(called[*label as usize]));
    }
    write(&file, &text)?;
    say.line("");
    say.line(format!("tag: {} (add titles and treatments there)", file.display()));
    say.line(format!("next: lookalike profile && lookalike segment compare {name} {target}"));
    say.json(&json!({
        "name": name,
        "file": file.display().to_string(),
        "target": target,
        "users": labels.len(),
        "rules": sentences,
        "fidelity": fidelity,
        "held_out_fidelity": held_out,
        "commonest": commonest,
    }))
}

/// A text as it is typed in TOML; JSON's escapes are TOML's.
fn toml_text(text: &str) -> String {
    json!(text).to_string()
}
