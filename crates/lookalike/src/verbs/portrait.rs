//! `show user`, `show tag`, `show segment`: what a profile says, and why.

use std::collections::BTreeMap;

use lookalike_measure::quantile;
use lookalike_portrait::decided::{Comparison, Ground, decided};
use lookalike_portrait::sentiment::{Learned, Method};
use lookalike_portrait::{AboutTag, Catalogue, Column, Fit, Profile, Tag, Title, Values, snapshot, why as reasons};
use lookalike_store::{Project, Store};
use serde_json::{Value, json};

use super::profile::stored;
use crate::cli::{Common, Language, OfDay};
use crate::failure::Failure;
use crate::say::{Say, grouped, table};

/// Events that `--why` prints.
const EVENTS: usize = 8;
/// Letters on a line of a portrait.
const WIDTH: usize = 100;
/// Values of a tag that are listed.
const LISTED: usize = 12;

pub fn open(common: &Common, of: &OfDay) -> Result<(Project, Profile), Failure> {
    let project = Project::open(&common.project)?;
    let none = || Failure::new("there is no profile yet").with_hint("run `lookalike profile` first");
    let day =
        of.as_of.map_or_else(|| snapshot::days(&project).map(|days| days.last().copied()), |day| Ok(Some(day)))?;
    let (profile, _) = snapshot::read(&project, day.ok_or_else(none)?)?;
    Ok((project, profile))
}

fn named<'a>(title: &'a Title, name: &'a str, language: Language) -> &'a str {
    let (wanted, other) = match language {
        Language::En => (&title.en, &title.zh),
        Language::Zh => (&title.zh, &title.en),
    };
    let own = name.rsplit('/').next().unwrap_or(name);
    [wanted.as_str(), other.as_str(), own].into_iter().find(|text| !text.is_empty()).unwrap_or(own)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 && value.fract() == 0.0 => {
            let sign = if value < 0.0 { "-" } else { "" };
            format!("{sign}{}", grouped(size as u64))
        }
        _ if value.fract() == 0.0 => format!("{value}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    }
}

fn text(column: &Column, row: usize) -> String {
    match &column.values {
        Values::Number(numbers) => number(numbers[row]),
        Values::Text { .. } => column.values.text(row).unwrap_or_default().to_owned(),
        Values::List { .. } => {
            let value = |(name, figure): (&str, f64)| format!("{name} ({})", number(figure));
            column.values.list(row).map(value).collect::<Vec<_>>().join(", ")
        }
    }
}

fn value(column: &Column, row: usize) -> Value {
    match &column.values {
        Values::Number(numbers) => json!(numbers[row]),
        Values::Text { .. } => json!(column.values.text(row)),
        Values::List { .. } => {
            let value = |(name, figure): (&str, f64)| json!({ "value": name, "figure": figure });
            column.values.list(row).map(value).collect()
        }
    }
}

pub fn user(common: &Common, of: &OfDay, id: &str, say: &Say) -> Result<(), Failure> {
    let (_, profile) = open(common, of)?;
    let row = profile.user(id)?;
    let about = &profile.about;
    say.line(format!("user {id}, as of {} ({}, {} users)", about.as_of, about.project, grouped(about.users as u64)));
    let mut tags = Vec::new();
    let (mut sure, mut least): (Vec<f64>, Option<(f64, &AboutTag)>) = (Vec::new(), None);
    // Who, what, when and which stage: by what a tag is, not by how it is called.
    let mut sections: BTreeMap<(usize, &str), Vec<String>> = BTreeMap::new();
    for (tag, column) in about.tags.iter().zip(&profile.columns).filter(|(_, column)| column.values.has(row)) {
        let evidence = column.evidence[row];
        let confidence = tag.confidence(evidence);
        let section = match (tag.kind.as_str(), &column.values) {
            ("declared", _) => (0, "who"),
            _ if tag.segment => (4, "stage"),
            _ if tag.name.contains("/time/") => (3, "when"),
            (_, Values::List { .. }) => (2, "prefers"),
            _ => (1, "what"),
        };
        sure.push(confidence);
        if tag.kind != "declared" && least.is_none_or(|(other, _)| confidence < other) {
            least = Some((confidence, tag));
        }
        let doubt = if confidence < 0.5 { format!(" ?{:.0}%", 100.0 * confidence) } else { String::new() };
        let title = named(&tag.title, &tag.name, of.lang);
        sections.entry(section).or_default().push(format!("{title} {}{doubt}", text(column, row)));
        tags.push(json!({
            "name": tag.name,
            "value": value(column, row),
            "confidence": confidence,
            "evidence": evidence,
            "expires": tag.expires.to_string(),
            "class": tag.class,
        }));
    }
    for ((_, name), mut parts) in sections {
        // Preferences are long: a line each.
        let width = if name == "prefers" { 0 } else { WIDTH };
        parts.dedup();
        say.line(format!("{name:<9} {}", wrapped(&parts, width)));
    }
    sure.sort_unstable_by(f64::total_cmp);
    let median = sure.get(sure.len() / 2).copied().unwrap_or_default();
    let least = least.map_or(String::new(), |(confidence, tag)| {
        format!("; least sure: {} ({:.0} %)", named(&tag.title, &tag.name, of.lang), 100.0 * confidence)
    });
    let share = format!("{} of {} tags have a value", sure.len(), about.tags.len());
    say.line(format!("reliable  {share}; confidence {:.0} % in the median{least}", 100.0 * median));
    say.line("");
    say.line("? marks values with less than 50 % confidence; `--why TAG` explains one");
    say.json(&json!({ "user": id, "as_of": about.as_of.to_string(), "tags": tags, "median_confidence": median }))
}

/// Parts with a dot between, on lines of about `width` letters.
fn wrapped(parts: &[String], width: usize) -> String {
    let (mut text, mut line) = (String::new(), 0);
    for part in parts {
        let letters = part.chars().count() + 3;
        match line {
            0 => {}
            line if line + letters > width => text += "\n          ",
            _ => text += " · ",
        }
        line = if line + letters > width { letters } else { line + letters };
        text += part;
    }
    text
}

/// What is computed, one line a key.
fn definition(tag: &Tag) -> Vec<String> {
    let body = serde_json::to_value(&tag.body).unwrap_or_default();
    let mut lines = Vec::new();
    for (key, value) in body.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match (key.as_str(), value) {
            ("over", Value::Object(over)) => {
                let used = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
                lines.extend(
                    over.iter().filter(|(_, value)| used(value)).map(|(key, value)| format!("{key} = {value}")),
                );
            }
            ("rules", Value::Array(rules)) => lines.extend(rules.iter().map(|rule| {
                let part = |at: usize| rule[at].as_str().unwrap_or_default().to_owned();
                format!("{} when {}", part(0), part(1))
            })),
            (_, Value::Bool(false)) => {}
            // Nobody reads a hundred numbers a centre; the file of the tag has them.
            ("centres", Value::Array(centres)) => {
                let numbers = centres.first().and_then(|centre| centre[1].as_array()).map_or(0, Vec::len);
                lines.push(format!("{} centres of {numbers} numbers", centres.len()));
            }
            _ => lines.push(format!("{key} = {value}")),
        }
    }
    lines
}

pub fn why(common: &Common, of: &OfDay, id: &str, name: &str, say: &Say) -> Result<(), Failure> {
    let (project, store) = stored(common, say)?;
    let (_, profile) = open(common, of)?;
    let (row, place) = (profile.user(id)?, profile.tag(name)?);
    let catalogue = Catalogue::open(&project)?;
    let tag = catalogue.get(name)?;
    let (about, column) = (&profile.about.tags[place], &profile.columns[place]);
    if about.version != catalogue.version(name) || profile.about.store != store.hash() {
        say.remark("the tag or the store changed since this profile was made; `lookalike profile` makes it anew");
    }
    let shown = if column.values.has(row) { text(column, row) } else { "no value".to_owned() };
    let evidence = column.evidence[row];
    say.line(format!("user {id}, {}: {shown}", named(&tag.title, &tag.name, of.lang)));
    say.line(format!("  {}", tag.meaning));
    let sure = 100.0 * about.confidence(evidence);
    say.line(format!(
        "  as of {}, expires {}; {evidence} events, {sure:.0} % sure",
        profile.about.as_of, about.expires
    ));
    say.line(format!("  version {}, {}; {}", about.version, tag.place, class_text(tag)));
    definition(tag).iter().for_each(|line| say.line(format!("    {line}")));
    about.learned.iter().for_each(|learned| say.line(format!("  {}", taught(learned))));
    let mut parents = Vec::new();
    for parent in tag.parents() {
        let place = profile.tag(parent)?;
        let column = &profile.columns[place];
        let shown = if column.values.has(row) { text(column, row) } else { "no value".to_owned() };
        say.line(format!("  from {parent}: {shown}"));
        parents.push(json!({ "name": parent, "value": column.values.has(row).then(|| value(column, row)) }));
    }
    let grounds = decided(tag, &profile, row)?;
    // Of several conditions those that held; where none did, all of them say why.
    let held = |ground: &&Ground| matches!(ground, Ground::Condition { holds: true, .. });
    let any = grounds.iter().any(|ground| held(&ground));
    let telling = grounds.iter().filter(|ground| !any || held(ground));
    telling.flat_map(told).for_each(|line| say.line(format!("  {line}")));
    let (events, count) = events_of(&project, &store, tag, &profile, id)?;
    if count > 0 {
        say.line(format!("  the last {} of {} events:", events.len(), grouped(count as u64)));
    }
    for event in &events {
        let columns = event.columns.iter().filter(|(name, _)| name != "source");
        let columns: Vec<String> = columns.map(|(name, value)| format!("{name} {value}")).collect();
        say.line(format!("    {}  {}", event.at, columns.join("  ")));
    }
    let events: Vec<Value> = events
        .iter()
        .map(|event| {
            let columns = event.columns.iter().map(|(name, value)| (name.clone(), json!(value)));
            let columns: serde_json::Map<String, Value> = columns.collect();
            json!({ "at": event.at.to_string(), "columns": columns })
        })
        .collect();
    say.json(&json!({
        "user": id,
        "tag": name,
        "value": column.values.has(row).then(|| value(column, row)),
        "confidence": about.confidence(evidence),
        "evidence": evidence,
        "expires": about.expires.to_string(),
        "version": about.version,
        "place": tag.place.to_string().replace('`', ""),
        "definition": tag.body,
        "learned": about.learned,
        "parents": parents,
        "grounds": grounds,
        "events": events,
        "event_count": count,
    }))
}

/// A ground of a value in words, the figures that were compared a line each.
fn told(ground: &Ground) -> Vec<String> {
    match ground {
        Ground::Condition { value, when, holds, comparisons } => {
            let head = match (value, holds) {
                (Some(value), true) => format!("because {when}, it is {value}:"),
                (Some(value), false) => format!("not {value}, for this does not hold: {when}"),
                (None, _) => format!("because of {when}:"),
            };
            let line = |comparison: &Comparison| {
                let [left, right] = comparison.sides.each_ref().map(|side| side.as_deref().unwrap_or("no value"));
                let holds = comparison.holds.map_or("unknown", |holds| if holds { "yes" } else { "no" });
                let threshold = comparison.threshold.as_ref().map_or(String::new(), |threshold| {
                    let at = threshold.at.map_or("no figure".to_owned(), number);
                    let own = threshold.own.map_or("no value".to_owned(), number);
                    format!("; that is {} from {at} on, and here {own}", threshold.tag)
                });
                format!("  {}: {} and {}, {holds}{threshold}", comparison.text, short(left), short(right))
            };
            std::iter::once(head).chain(comparisons.iter().map(line)).collect()
        }
        Ground::Score { tag, own, score, from, below } => {
            let bounds = match (from, below) {
                (Some(from), Some(below)) => format!("from {} to below {}", number(*from), number(*below)),
                (Some(from), None) => format!("from {} on", number(*from)),
                (None, Some(below)) => format!("below {}", number(*below)),
                (None, None) => "for everybody".to_owned(),
            };
            vec![format!("because {tag} is {}: score {score}, {bounds}", number(*own))]
        }
        Ground::Distance { value, distance } => vec![format!("centre of {value}: {} away", number(*distance))],
    }
}

/// A side of a comparison: numbers as everywhere else.
fn short(side: &str) -> String {
    side.parse::<f64>().map_or_else(|_| side.to_owned(), number)
}

fn events_of(
    project: &Project,
    store: &Store,
    tag: &Tag,
    profile: &Profile,
    id: &str,
) -> Result<(Vec<reasons::Event>, usize), Failure> {
    Ok(reasons::events(project, store, tag, profile.about.as_of, id, EVENTS)?)
}

/// What scores texts, and how well that and its baselines tell rated texts apart.
fn taught(learned: &Learned) -> String {
    let figures = [("model", learned.logistic), ("naive Bayes", learned.bayes), ("lexicon", learned.lexicon)];
    let figures = figures.iter().filter_map(|(name, figure)| Some(format!("{name} {:.4}", (*figure)?)));
    let figures = figures.collect::<Vec<_>>().join(", ");
    let by = match learned.method {
        Method::Logistic => "a model learned from ratings",
        Method::Lexicon => "the lexicon",
    };
    let rated = grouped(learned.rated as u64);
    match figures.is_empty() {
        true => format!("texts are scored by {by}; there is nothing to learn from"),
        false => format!("texts are scored by {by}; AUC on {rated} rated texts: {figures}"),
    }
}

fn class_text(tag: &Tag) -> String {
    let class = serde_json::to_value(tag.class).unwrap_or_default();
    format!("{}, for {}", class.as_str().unwrap_or_default(), tag.purpose)
}

pub fn tags(common: &Common, of: &OfDay, say: &Say) -> Result<(), Failure> {
    let (_, profile) = open(common, of)?;
    let users = profile.about.users.max(1) as f64;
    let row = |tag: &AboutTag| {
        let coverage = format!("{:.1} %", 100.0 * tag.count as f64 / users);
        vec![tag.name.clone(), tag.kind.clone(), coverage, named(&tag.title, &tag.name, of.lang).to_owned()]
    };
    say.line(table(&["tag", "kind", "coverage", "title"], &profile.about.tags.iter().map(row).collect::<Vec<_>>()));
    say.json(&profile.about)
}

/// Users by value, most first; groups under the privacy floor are one.
fn counts(column: &Column, min_cell: u32) -> (Vec<(String, u64)>, u64) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for row in 0..column.values.len() {
        match &column.values {
            Values::List { .. } => {
                column.values.list(row).for_each(|(name, _)| *counts.entry(name).or_default() += 1);
            }
            _ => column.values.text(row).into_iter().for_each(|name| *counts.entry(name).or_default() += 1),
        }
    }
    let (shown, small): (Vec<_>, Vec<_>) = counts.into_iter().partition(|(_, count)| *count >= u64::from(min_cell));
    let mut shown: Vec<(String, u64)> = shown.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    shown.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    (shown, small.into_iter().map(|(_, count)| count).sum())
}

pub fn tag(common: &Common, of: &OfDay, name: &str, say: &Say) -> Result<(), Failure> {
    let (project, profile) = open(common, of)?;
    let catalogue = Catalogue::open(&project)?;
    let (tag, place) = (catalogue.get(name)?, profile.tag(name)?);
    let (about, column) = (&profile.about.tags[place], &profile.columns[place]);
    say.line(format!("{name}: {}", [tag.title.zh.as_str(), tag.title.en.as_str()].join(" ").trim()));
    say.line(format!("  {}", tag.meaning));
    say.line(format!("  {}; version {}, {}", class_text(tag), about.version, tag.place));
    definition(tag).iter().for_each(|line| say.line(format!("    {line}")));
    about.learned.iter().for_each(|learned| say.line(format!("  {}", taught(learned))));
    let users = about.count.max(1) as f64;
    let coverage = 100.0 * about.count as f64 / profile.about.users.max(1) as f64;
    say.line(format!("  {} users have a value ({coverage:.1} %)", grouped(about.count as u64)));
    if let Some(fit) = &about.fit {
        fitted(fit).iter().for_each(|line| say.line(format!("  {line}")));
    }
    let mut document = json!({
        "fit": about.fit,
        "name": name, "title": tag.title, "meaning": tag.meaning, "version": about.version, "class": tag.class,
        "users": about.count, "definition": tag.body, "used_for": tag.used_for,
        "learned": about.learned,
    });
    match &column.values {
        Values::Number(numbers) => {
            let numbers: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
            // The extremes are single persons; the outermost quantiles shown hold at least `min_cell` users.
            let cell = f64::from(project.min_cell) / users;
            let shares =
                [0.05_f64, 0.2, 0.4, 0.5, 0.6, 0.8, 0.95].into_iter().filter(|share| share.min(1.0 - share) >= cell);
            let shares: Vec<f64> = shares.collect();
            let found =
                quantile(&numbers, &shares).map_err(lookalike_portrait::segment::Error::from)?.unwrap_or_default();
            let quantiles: Vec<(f64, f64)> = shares.into_iter().zip(found).collect();
            let shown = quantiles.iter().map(|(share, value)| format!("{:.0} % {}", 100.0 * share, number(*value)));
            say.line(format!("  quantiles: {}", shown.collect::<Vec<_>>().join(", ")));
            document["quantiles"] = json!(quantiles);
        }
        _ => {
            let (shown, small) = counts(column, project.min_cell);
            for (value, count) in shown.iter().take(LISTED) {
                say.line(format!("  {:>8}  {:>5.1} %  {value}", grouped(*count), 100.0 * *count as f64 / users));
            }
            if shown.len() > LISTED {
                say.line(format!("  … and {} more values", shown.len() - LISTED));
            }
            if small > 0 {
                say.line(format!("  values of fewer than {} users are not shown", project.min_cell));
            }
            document["values"] = json!(shown);
        }
    }
    let children: Vec<&str> = catalogue.children(name).map(|child| child.name.as_str()).collect();
    if !children.is_empty() {
        say.line(format!("  made from it: {}", children.join(", ")));
    }
    say.json(&document)
}

/// How the model behind a tag was fitted.
fn fitted(fit: &Fit) -> Vec<String> {
    let listed = |numbers: &BTreeMap<String, f64>| {
        let each = numbers.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), number(*value)));
        each.collect::<Vec<_>>().join(", ")
    };
    let parameters = if fit.parameters.is_empty() { String::new() } else { format!(": {}", listed(&fit.parameters)) };
    // What is counted over pairs has no parameters of its own.
    let whom = if fit.parameters.is_empty() { "pairs of a user and a value" } else { "users" };
    let mut lines = vec![format!("fitted on {} {whom}{parameters}", grouped(fit.fitted_on))];
    lines.extend(fit.log_likelihood.map(|value| format!("log-likelihood {value:.3}")));
    if !fit.figures.is_empty() {
        lines.push(listed(&fit.figures));
    }
    lines
}

pub fn segment(common: &Common, of: &OfDay, name: &str, say: &Say) -> Result<(), Failure> {
    let (project, profile) = open(common, of)?;
    let catalogue = Catalogue::open(&project)?;
    let tag = catalogue.get(name)?;
    if !tag.is_segment() {
        let segments = catalogue.tags().iter().filter(|tag| tag.is_segment()).map(|tag| tag.name.as_str());
        let hint = format!("the segments are {}", segments.collect::<Vec<_>>().join(", "));
        return Err(Failure::new(format!("`{name}` is no segment: its values do not divide the users")).with_hint(hint));
    }
    let column = &profile.columns[profile.tag(name)?];
    let (shown, small) = counts(column, project.min_cell);
    let users = profile.about.users.max(1) as f64;
    say.line(format!("{name}: {}", [tag.title.zh.as_str(), tag.title.en.as_str()].join(" ").trim()));
    say.line(format!("  {}", tag.meaning));
    let mut rows = Vec::new();
    let mut document = Vec::new();
    for value in &tag.values {
        let (title, treatment) = (named(&value.title, &value.name, of.lang), value.treatment.as_deref());
        let (titles, value) = (&value.title, value.name.as_str());
        let count = shown.iter().find(|(name, _)| name == value).map(|(_, count)| *count);
        let cells = match count {
            Some(count) => [grouped(count), format!("{:.1} %", 100.0 * count as f64 / users)],
            None if small > 0 => [format!("<{}", project.min_cell), String::new()],
            None => ["0".to_owned(), "0.0 %".to_owned()],
        };
        rows.push(
            [
                vec![value.to_owned()],
                cells.into(),
                vec![title.to_owned(), treatment.unwrap_or("– none declared –").to_owned()],
            ]
            .concat(),
        );
        document.push(json!({ "value": value, "users": count, "title": titles, "treatment": treatment }));
    }
    say.line(table(&["value", "users", "share", "title", "treatment"], &rows));
    let without = profile.about.users - column.count();
    if without > 0 {
        say.line(format!("{} users have no value", grouped(without as u64)));
    }
    say.json(&json!({ "name": name, "as_of": profile.about.as_of.to_string(), "users": profile.about.users, "values": document }))
}
