//! The nine principles of a system of tags, each as a check with a figure.

use std::collections::{BTreeMap, BTreeSet};

use lookalike_measure::SHIFTED;
use lookalike_store::{Project, Store};
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::column::Values;
use crate::diff::drift;
use crate::error::Result;
use crate::profile::Profile;
use crate::tag::{Body, Measure, Tag};
use crate::validate::validate;

/// A rank correlation of two halves, or an agreement beyond chance, below which a tag says little.
const RELIABLE: f64 = 0.3;

/// One principle, and whether the tags keep to it.
#[derive(Debug, Clone, Serialize)]
pub struct Principle {
    /// Its name.
    pub name: &'static str,
    /// Whether it is kept.
    pub ok: bool,
    /// The figure that this was decided by.
    pub figure: f64,
    /// What the figure says, and which tags are meant.
    pub note: String,
}

/// What the tags are looked at with.
pub struct Looked<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its store.
    pub store: &'a Store,
    /// Its tags.
    pub catalogue: &'a Catalogue,
    /// The profile that is judged.
    pub profile: &'a Profile,
    /// The profile before it, if there is one.
    pub before: Option<&'a Profile>,
    /// Names of models that tags may be there for.
    pub models: &'a [String],
}

/// Looks at the nine principles in turn.
pub fn principles(looked: &Looked<'_>) -> Result<Vec<Principle>> {
    Ok(vec![
        purpose(looked),
        coverage(looked),
        hierarchy(looked),
        dynamic(looked),
        ease(looked),
        data_driven(looked),
        privacy(looked),
        cross_validation(looked)?,
        extensibility(looked),
    ])
}

fn principle(name: &'static str, ok: bool, figure: f64, note: String) -> Principle {
    Principle { name, ok, figure, note }
}

/// The first few names, and how many more there are.
fn some(names: &[String]) -> String {
    match names.len() {
        0 => "none".to_owned(),
        n if n <= 6 => names.join(", "),
        n => format!("{} and {} more", names[..6].join(", "), n - 6),
    }
}

/// The tags of which something is true.
fn which<'a>(tags: impl Iterator<Item = &'a Tag>, holds: impl Fn(&Tag) -> bool) -> Vec<String> {
    tags.filter(|tag| holds(tag)).map(|tag| tag.name.clone()).collect()
}

impl Looked<'_> {
    /// The tags that the profile has.
    fn tags(&self) -> impl Iterator<Item = &Tag> {
        let has = |tag: &&Tag| self.profile.about.tags.iter().any(|about| about.name == tag.name);
        self.catalogue.tags().iter().filter(has)
    }
}

fn treated(tag: &Tag) -> bool {
    tag.is_segment() && !tag.values.is_empty() && tag.values.iter().all(|value| value.treatment.is_some())
}

fn purpose(looked: &Looked<'_>) -> Principle {
    let resolves = |name: &String| match name.strip_prefix("model/") {
        Some(model) => looked.models.iter().any(|known| known == model),
        None => looked.catalogue.get(name).is_ok(),
    };
    let idle = |tag: &Tag| {
        let used = looked.catalogue.children(&tag.name).next().is_some() || treated(tag);
        !used && tag.used_for.is_empty()
    };
    let broken = which(looked.tags(), |tag| !tag.used_for.iter().all(resolves));
    let (idle, untreated) = (which(looked.tags(), idle), which(looked.tags(), |tag| tag.is_segment() && !treated(tag)));
    let bad = broken.len() + idle.len() + untreated.len();
    let note = format!(
        "there for nothing: {}; for something that is not there: {}; segments without a treatment: {}",
        some(&idle),
        some(&broken),
        some(&untreated)
    );
    principle("purpose", bad == 0, bad as f64, note)
}

fn coverage(looked: &Looked<'_>) -> Principle {
    let profile = looked.profile;
    let users = profile.users.len().max(1) as f64;
    let mut reached: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    let mut empty = Vec::new();
    for tag in looked.tags() {
        let Ok(place) = profile.tag(&tag.name) else { continue };
        let column = &profile.columns[place];
        let any = reached.entry(tag.dimension()).or_insert_with(|| vec![false; profile.users.len()]);
        any.iter_mut().enumerate().for_each(|(row, any)| *any |= column.evidence[row] > 0 && column.values.has(row));
        if column.count() == 0 && !matches!(tag.body, Body::Rules { contradiction: true, .. }) {
            empty.push(tag.name.clone());
        }
    }
    let share = |any: &Vec<bool>| 100.0 * any.iter().filter(|any| **any).count() as f64 / users;
    let shares: Vec<String> = reached.iter().map(|(name, any)| format!("{name} {:.1} %", share(any))).collect();
    let note = format!("users with a value: {}; tags without any value: {}", shares.join(", "), some(&empty));
    principle("coverage", empty.is_empty(), empty.len() as f64, note)
}

fn hierarchy(looked: &Looked<'_>) -> Principle {
    // Names are unique and tags are made from no others but those before them, or the catalogue would not have opened.
    let profile = looked.profile;
    let mut outside = 0;
    let mut bad = Vec::new();
    for tag in looked.tags() {
        let parents: Vec<usize> = tag.parents().filter_map(|parent| profile.tag(parent).ok()).collect();
        let with_rest =
            matches!(&tag.body, Body::Rules { otherwise: Some(_), .. } | Body::Rfm { otherwise: Some(_), .. });
        let Some(own) = profile.tag(&tag.name).ok().filter(|_| !parents.is_empty() && !with_rest) else { continue };
        let has = |place: usize, row: usize| profile.columns[place].values.has(row);
        let count = (0..profile.users.len())
            .filter(|row| has(own, *row) && !parents.iter().any(|parent| has(*parent, *row)))
            .count();
        outside += count;
        if count > 0 {
            bad.push(tag.name.clone());
        }
    }
    let levels = looked.tags().map(|tag| tag.name.split('/').count()).max().unwrap_or_default();
    let note = format!("{levels} levels; values of users for whom no parent has one: {outside} ({})", some(&bad));
    principle("hierarchy", outside == 0, outside as f64, note)
}

fn dynamic(looked: &Looked<'_>) -> Principle {
    let Some(before) = looked.before else {
        return principle(
            "dynamic",
            true,
            0.0,
            "every value expires; drift is not known without an earlier profile".into(),
        );
    };
    let mut drifted = Vec::new();
    let mut most: f64 = 0.0;
    for (place, about) in looked.profile.about.tags.iter().enumerate() {
        let Ok(earlier) = before.tag(&about.name) else { continue };
        // The time since something first happened grows by a day a day: that is no drift.
        let tag = looked.catalogue.get(&about.name).ok().map(|tag| &tag.body);
        if matches!(tag, Some(Body::Metric { of: Measure::Age, .. })) {
            continue;
        }
        if before.about.tags[earlier].version == about.version {
            let figure = drift(&before.columns[earlier], &looked.profile.columns[place]).unwrap_or_default();
            most = most.max(figure);
            if figure > SHIFTED {
                drifted.push(format!("{} {figure:.2}", about.name));
            }
        }
    }
    let note = format!("tags whose PSI since {} is over {SHIFTED}: {}", before.about.as_of, some(&drifted));
    principle("dynamic", drifted.is_empty(), most, note)
}

fn ease(looked: &Looked<'_>) -> Principle {
    let bare = |tag: &Tag| tag.title.zh.is_empty() || tag.title.en.is_empty() || tag.meaning.is_empty();
    let bare = which(looked.tags(), bare);
    let note = format!("without a title in both languages, or without a meaning: {}", some(&bare));
    principle("ease of use", bare.is_empty(), bare.len() as f64, note)
}

fn data_driven(looked: &Looked<'_>) -> Principle {
    let text = |tag: &Tag| serde_json::to_string(&tag.body).unwrap_or_default();
    let names_user = |tag: &Tag| {
        let text = text(tag).replace(' ', "");
        ["user='", "userin(", "user<>'", "\\\"user\\\"='"].iter().any(|word| text.contains(word))
    };
    let personal = which(looked.tags(), names_user);
    let fixed = |tag: &Tag| match &tag.body {
        Body::Rules { rules, contradiction: false, .. } => {
            rules.iter().any(|(_, when)| when.contains(['<', '>']) && !when.contains("_pct"))
        }
        _ => false,
    };
    let fixed = which(looked.tags(), fixed);
    let note =
        format!("naming a user: {}; limits that are constants, not quantiles: {}", some(&personal), some(&fixed));
    principle("data-driven", personal.is_empty(), personal.len() as f64, note)
}

fn privacy(looked: &Looked<'_>) -> Principle {
    let class = |name: &str| looked.catalogue.get(name).map(|tag| tag.class).ok();
    let looser = |tag: &Tag| tag.parents().filter_map(class).any(|parent| parent > tag.class);
    let leaks = which(looked.tags(), looser);
    let min_cell = looked.project.min_cell as usize;
    let mut small = 0;
    for column in &looked.profile.columns {
        let mut cells: BTreeMap<&str, usize> = BTreeMap::new();
        if let Values::Text { .. } = column.values {
            (0..column.values.len())
                .filter_map(|row| column.values.text(row))
                .for_each(|name| *cells.entry(name).or_default() += 1);
        }
        small += cells.values().filter(|count| **count < min_cell).count();
    }
    let note = format!(
        "made from something of a stricter class: {}; values that fewer than {min_cell} users have, and that are not shown: {small}",
        some(&leaks)
    );
    principle("privacy", leaks.is_empty(), leaks.len() as f64, note)
}

fn cross_validation(looked: &Looked<'_>) -> Result<Principle> {
    let verdicts = validate(looked.project, looked.store, looked.catalogue, looked.profile, None)?;
    let (mut weak, mut broken) = (Vec::new(), Vec::new());
    let mut judged = 0;
    for verdict in &verdicts {
        let Some(agreement) = verdict.reliability else { continue };
        judged += 1;
        let beyond = (agreement.figure - agreement.chance) / (1.0 - agreement.chance).max(f64::EPSILON);
        if beyond < RELIABLE {
            weak.push(format!("{} {beyond:.2}", verdict.tag));
        }
        let promised = looked.catalogue.get(&verdict.tag).ok().and_then(|tag| tag.reliability);
        if let Some(promised) = promised.filter(|promised| beyond < *promised) {
            broken.push(format!("{} {beyond:.2} for {promised}", verdict.tag));
        }
    }
    // A blend of own and common gaps that foretells no better than the common ones alone is not worth its name.
    for about in &looked.profile.about.tags {
        let figure = |name: &str| about.fit.as_ref().and_then(|fit| fit.figures.get(name).copied());
        if let (Some(blend), Some(category)) = (figure("mean_error_blend"), figure("mean_error_category"))
            && blend >= category
        {
            weak.push(format!("{} (errs by {blend:.1} days, its categories by {category:.1})", about.name));
        }
    }
    let contradictory = |tag: &Tag| match tag.body {
        Body::Rules { contradiction: true, .. } => looked.profile.tag(&tag.name).ok(),
        _ => None,
    };
    let found: Vec<String> = looked
        .tags()
        .filter_map(|tag| contradictory(tag).map(|place| (tag, looked.profile.columns[place].count())))
        .filter(|(_, count)| *count > 0)
        .map(|(tag, count)| format!("{} ({count} users)", tag.name))
        .collect();
    let note = format!(
        "reliability that was promised and is not kept: {}; of {judged} tags whose odd and even days were compared, under {RELIABLE}: {}; contradictions: {}",
        some(&broken),
        some(&weak),
        some(&found)
    );
    Ok(principle("cross-validation", broken.is_empty(), weak.len() as f64, note))
}

/// A tag that is changed makes itself and what is made from it anew, and nothing else: tried for every tag.
fn extensibility(looked: &Looked<'_>) -> Principle {
    let (mut wrong, mut most) = (Vec::new(), 0);
    for tag in looked.catalogue.tags() {
        let mut changed: Vec<Tag> = looked.catalogue.tags().to_vec();
        changed.iter_mut().filter(|other| other.name == tag.name).for_each(|other| other.prior += 1.0);
        let Ok(changed) = Catalogue::of(changed) else { continue };
        let anew: BTreeSet<&str> = changed.tags().iter().map(|tag| tag.name.as_str()).collect();
        let anew: BTreeSet<&str> =
            anew.into_iter().filter(|name| changed.version(name) != looked.catalogue.version(name)).collect();
        let mut below: BTreeSet<&str> = BTreeSet::from([tag.name.as_str()]);
        for other in looked.catalogue.tags() {
            if other.parents().any(|parent| below.contains(parent)) {
                below.insert(other.name.as_str());
            }
        }
        most = most.max(anew.len());
        if anew != below {
            wrong.push(tag.name.clone());
        }
    }
    let note = format!(
        "a changed tag makes at most {most} tags anew; tags that make others anew than their own: {}",
        some(&wrong)
    );
    principle("extensibility", wrong.is_empty(), most as f64, note)
}
