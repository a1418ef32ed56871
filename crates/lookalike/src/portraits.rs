//! What portraits say of users, brought to where a model can read it: the values of tags as of the day on which what is
//! learned from ends, for each of the two passes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use lookalike_bundle::{Row, UserRow, Vocab};
use lookalike_dataset::{Dataset, Features, FeaturesBuilder, Tenths};
use lookalike_portrait::{Body, Catalogue, Class, Profile, Values};
use lookalike_store::Project;

use crate::failure::Failure;
use crate::workspace::Workspace;

/// What stands for a tag that a user has no value of.
const MISSING: &str = "(none)";

/// What became of the tags that were asked for.
#[derive(Default)]
pub struct Entered {
    /// Tags with values that enter.
    pub tags: BTreeSet<String>,
    /// Tags that all users have the same value of, or none at all.
    pub without_use: BTreeSet<String>,
    /// Tags that most users have no value of.
    pub rare: BTreeSet<String>,
    /// Sensitive tags that were not asked for by name.
    pub sensitive: BTreeSet<String>,
    /// Tags that come from what a model learned: a model that read them would learn from itself.
    pub learned: BTreeSet<String>,
    /// Of tags that are numbers, how many values over all days are infinite or far out, and so in an outermost tenth.
    pub far: BTreeMap<String, usize>,
}

impl Entered {
    /// What to say of it before training.
    pub fn lines(&self) -> Vec<String> {
        let lines = [
            ("tags that enter", &self.tags, "", false),
            ("of these, most users have no value of", &self.rare, "", true),
            ("left out, as all users have the same value", &self.without_use, "", true),
            ("left out, as a model made them", &self.learned, "", true),
            ("left out, as they are sensitive", &self.sensitive, "; one enters if `tags` names it", true),
        ];
        let filled = lines.into_iter().filter(|(_, tags, ..)| !tags.is_empty());
        let far: Vec<String> = self.far.iter().map(|(tag, values)| format!("{tag} ({values})")).collect();
        let far = (!far.is_empty())
            .then(|| format!("      values far out, taken for the outermost tenth: {}", far.join(", ")));
        filled
            .map(|(what, tags, hint, names)| match names {
                true => format!("      {what}: {}{hint}", tags.iter().cloned().collect::<Vec<_>>().join(", ")),
                false => format!("      {} {what}", tags.len()),
            })
            .chain(far)
            .collect()
    }
}

/// Puts the values of tags into a data set. `asked` are names of tags, names of folders of tags that end in `/`, or `*`;
/// a sensitive tag enters by its own name alone. Attributes that a sensitive tag reads leave the data set unless `features`
/// names them.
pub fn enter(
    data: &mut Dataset,
    workspace: &Workspace,
    asked: &[String],
    features: &[String],
) -> Result<Entered, Failure> {
    let mut entered = Entered::default();
    let Some(store) = &workspace.store else {
        return match asked {
            [] => Ok(entered),
            _ => Err(Failure::new("the project has no sources, so its users have no tags")
                .with_hint("leave `tags` of the preset empty")),
        };
    };
    let catalogue = Catalogue::open(&workspace.project)?;
    let guarded = guarded(&catalogue, features);
    if !guarded.is_empty() {
        data.user_features = data.user_features.only(|field| !guarded.contains(field));
    }
    if asked.is_empty() {
        return Ok(entered);
    }
    let learned = learned(&catalogue);
    let mut chosen = BTreeSet::new();
    for pattern in asked {
        let fits =
            |name: &str| pattern == "*" || pattern == name || (pattern.ends_with('/') && name.starts_with(pattern));
        let named: Vec<_> = catalogue.tags().iter().filter(|tag| fits(&tag.name)).collect();
        if named.is_empty() {
            let failure = Failure::new(format!("the preset asks for the tags `{pattern}`, and there are none"));
            return Err(failure.with_hint("`lookalike show tags` lists them; a folder of tags ends in `/`"));
        }
        for tag in named {
            if learned.contains(tag.name.as_str()) {
                if *pattern == tag.name {
                    let failure =
                        Failure::new(format!("the preset asks for `{pattern}`, which comes from what a model learned"));
                    return Err(failure.with_hint("a model reads tags that come from events and from what users said"));
                }
                entered.learned.insert(tag.name.clone());
                continue;
            }
            match tag.class == Class::Sensitive && *pattern != tag.name {
                true => entered.sensitive.insert(tag.name.clone()),
                false => chosen.insert(tag.name.clone()),
            };
        }
    }
    entered.sensitive.retain(|name| !chosen.contains(name));
    let build = |day: Date| Profile::build(&workspace.project, store, &catalogue, day, None);
    let days = cut_offs(&workspace.project, data.earlier.len())?;
    let profiles = days.into_iter().map(build).collect::<Result<Vec<_>, _>>()?;
    data.portraits = features_of(&profiles, &chosen, &data.users, &mut entered);
    Ok(entered)
}

/// Attributes of users that a sensitive tag reads, but those that are asked for by name.
pub fn guarded(catalogue: &Catalogue, asked: &[String]) -> BTreeSet<String> {
    let sensitive = catalogue.tags().iter().filter(|tag| tag.class == Class::Sensitive);
    let read = sensitive.filter_map(|tag| match &tag.body {
        Body::Declared { column, .. } => Some(column.clone()),
        _ => None,
    });
    read.filter(|column| !asked.contains(column)).collect()
}

/// Tags of what a run learned, and all that are made from them.
fn learned(catalogue: &Catalogue) -> BTreeSet<&str> {
    let mut learned = BTreeSet::new();
    // Parents come before what is made from them.
    for tag in catalogue.tags() {
        if tag.run().is_some() || tag.parents().any(|parent| learned.contains(parent)) {
            learned.insert(tag.name.as_str());
        }
    }
    learned
}

/// The days at whose beginning the parts of a data set with so many earlier ones end.
fn cut_offs(project: &Project, stretches: usize) -> Result<Vec<Date>, Failure> {
    project.interactions.split.ends(&project.timezone, stretches).ok_or_else(|| {
        let failure = Failure::new("tags are as of a day, and the split of this project is not by time");
        failure.with_hint("leave `tags` of the preset empty, or split by time in `lookalike.toml`")
    })
}

/// The tags of users on several days, in values that all days share.
fn features_of(
    profiles: &[Profile],
    chosen: &BTreeSet<String>,
    users: &Vocab<UserRow>,
    entered: &mut Entered,
) -> Vec<Features> {
    let mut builder = FeaturesBuilder::default();
    for (day, profile) in (0..).zip(profiles) {
        let places: Vec<Option<usize>> = users.ids().iter().map(|id| profile.users.binary_search(id).ok()).collect();
        for (about, column) in profile.about.tags.iter().zip(&profile.columns) {
            if chosen.contains(&about.name) {
                let first = day * users.len() as u32;
                push_tag(&mut builder, first, &about.name, &column.values, &places, entered);
            }
        }
    }
    let features = builder.finish(users.len() * profiles.len(), profiles.len() + 1);
    // A field with one value says nothing.
    let mut values = BTreeMap::<&str, usize>::new();
    for name in features.names() {
        *values.entry(name.split_once('=').map_or(name.as_str(), |(field, _)| field)).or_default() += 1;
    }
    for name in chosen {
        match values.get(name.as_str()).is_some_and(|&count| count > 1) {
            true => entered.tags.insert(name.clone()),
            false => entered.without_use.insert(name.clone()),
        };
    }
    features.only(|field| values.get(field).is_some_and(|&count| count > 1)).in_groups_of(users.len())
}

/// The values of one tag on one day, for users whose rows begin at `first`; `places` says where each is in the profile.
fn push_tag(
    builder: &mut FeaturesBuilder,
    first: u32,
    field: &str,
    values: &Values,
    places: &[Option<usize>],
    entered: &mut Entered,
) {
    let found = places.iter().filter(|place| place.is_some_and(|place| values.has(place))).count();
    if 2 * found < places.len() {
        entered.rare.insert(field.to_owned());
    }
    let tenths = match values {
        Values::Number(numbers) => {
            let tenths = Tenths::of(places.iter().flatten().map(|&place| numbers[place]));
            let far = places.iter().flatten().filter(|&&place| tenths.is_far(numbers[place])).count();
            if far > 0 {
                *entered.far.entry(field.to_owned()).or_default() += far;
            }
            tenths
        }
        _ => Tenths::of(std::iter::empty()),
    };
    for (row, place) in (first..).map(UserRow::new).zip(places) {
        let Some(place) = place.filter(|&place| values.has(place)) else {
            builder.push(row, field, MISSING);
            continue;
        };
        match values {
            Values::Number(numbers) => builder.push(row, field, &tenths.name(numbers[place])),
            Values::Text { .. } => builder.push(row, field, values.text(place).unwrap_or(MISSING)),
            Values::List { .. } => {
                let count = values.list(place).count() as f32;
                values.list(place).for_each(|(name, _)| {
                    builder.push_weighed(row, field, name, 1.0 / count.sqrt());
                });
            }
        }
    }
}
