//! Which attributes of users and items towers read, and as what: said before training, so that nothing is dropped in silence.

use std::collections::BTreeSet;

use lookalike_dataset::{Dataset, Features, Field, TITLE, titles};
use lookalike_store::ReadAs;

use crate::failure::Failure;
use crate::say::grouped;

/// Puts titles beside the attributes of items where `asked` names them; `*` stands for all attributes but titles. Names of
/// attributes that nobody and nothing has are refused.
pub fn enter(data: &mut Dataset, asked: &[String]) -> Result<(), Failure> {
    if asked.iter().any(|name| name == TITLE) {
        let (features, field) = titles(&data.item_info);
        data.item_features = data.item_features.beside(&features);
        data.fields[1].push(field);
    }
    let known: BTreeSet<&str> = data.fields.iter().flatten().map(|field| field.name.as_str()).collect();
    match asked.iter().find(|name| *name != "*" && !known.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
            let failure =
                Failure::new(format!("the preset asks for the attribute `{name}`, and no user or item has it"));
            Err(failure.with_hint(match known.is_empty() {
                true => "leave `features` of the preset empty".to_owned(),
                false => format!("there are {}, and `*` for all of them", known.join(", ")),
            }))
        }
    }
}

/// What to say of it before training: of either side what enters, and what was left out and why.
pub fn lines(data: &Dataset, asked: &[String]) -> Vec<String> {
    let sides = [("users", &data.user_features, data.users.len()), ("items", &data.item_features, data.items.len())];
    let of = |((side, features, rows), fields): ((&str, &Features, usize), &Vec<Field>)| {
        let there = features.fields();
        let enters = |field: &&Field| {
            there.contains(&field.name.as_str()) && asked.iter().any(|name| name == "*" || *name == field.name)
        };
        let list = |keep: &dyn Fn(&&Field) -> bool, say: &dyn Fn(&Field) -> String| {
            fields.iter().filter(keep).map(say).collect::<Vec<_>>().join(", ")
        };
        let name = |field: &Field| field.name.clone();
        let ids =
            |field: &&Field| field.read_as.is_none() && asked.iter().any(|name| name == "*" || *name == field.name);
        // What is not there although it has values was taken out: a sensitive tag reads it.
        let guarded = |field: &&Field| field.values > 0 && !there.contains(&field.name.as_str());
        let texts = [
            ("attributes of", "that enter", list(&enters, &told)),
            ("of these, most", "have none of", list(&|field| enters(field) && 2 * field.rows < rows, &name)),
            ("attributes of", "left out, as hardly two share a value", list(&ids, &name)),
            ("attributes of", "left out, as all have the same value", list(&|field| field.same, &name)),
        ];
        let guarded = list(&guarded, &name);
        let said = texts.into_iter().filter(|(.., names)| !names.is_empty());
        let said = said.map(|(before, after, names)| format!("      {before} {side} {after}: {names}"));
        let sensitive = (!guarded.is_empty()).then(|| {
            format!(
                "      attributes of {side} left out, as a tag guards them: {guarded}; one enters if `features` names it"
            )
        });
        said.chain(sensitive).collect::<Vec<_>>()
    };
    sides.into_iter().zip(&data.fields).flat_map(of).collect()
}

/// A field with what became of its values.
fn told(field: &Field) -> String {
    let count = |number: usize| grouped(number as u64);
    let values = count(field.values);
    let mut what = match field.read_as {
        Some(ReadAs::Number) => vec![format!("a number, in {values} parts")],
        Some(ReadAs::Text) => vec![format!("a text, hashed into {values} rows")],
        _ => vec![values],
    };
    if field.far > 0 {
        what.push(format!("{} far out, taken for the outermost tenth", count(field.far)));
    }
    if field.undefined > 0 {
        what.push(format!("{} undefined, left out", count(field.undefined)));
    }
    format!("{} ({})", field.name, what.join("; "))
}
