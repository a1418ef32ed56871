//! The tags of all users as of one day.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use lookalike_store::{Project, Store, Table};
use serde::{Deserialize, Serialize};

use arrow::array::{Array, AsArray};

use crate::catalogue::Catalogue;
use crate::clock::{self, Clock};
use crate::column::{Column, NONE, Values};
use crate::error::{Error, Result};
use crate::forecast::{self, Fit, Forecast, Models};
use crate::plan::Plan;
use crate::segment::cluster::Scaling;
use crate::segment::lifecycle::State;
use crate::sentiment::Learned;
use crate::tag::{Body, Class, Tag, Title};
use crate::{derive, embedding, nearness, pass};

/// All tags of all users as of a day: a snapshot.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What it is and what it was made from.
    pub about: About,
    /// Ids, sorted.
    pub users: Vec<String>,
    /// A column a tag, in the order of `about.tags`.
    pub columns: Vec<Column>,
}

/// What a profile is and what it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The project's name.
    pub project: String,
    /// The day; events from its midnight on, in the project's zone, are not seen.
    pub as_of: Date,
    /// Hash of the store.
    pub store: String,
    /// A hash of who did not allow what when it was made; empty if everybody allowed everything.
    pub consent: String,
    /// Number of users.
    pub users: usize,
    /// The tags, by name.
    pub tags: Vec<AboutTag>,
    /// Tags that could not be computed, with the reason.
    pub left_out: BTreeMap<String, String>,
}

/// What a tag of a profile is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AboutTag {
    /// Its name.
    pub name: String,
    /// A hash of what it computes, its parents included.
    pub version: String,
    /// How it is computed.
    pub kind: String,
    /// Whether its values divide the users.
    pub segment: bool,
    /// Who may see it.
    pub class: Class,
    /// Its title.
    pub title: Title,
    /// What it is made from.
    pub parents: Vec<String>,
    /// The day from which its values no longer count.
    pub expires: Date,
    /// Confidence of a value with n events behind it is n / (n + prior).
    pub prior: f64,
    /// Users with a value.
    pub count: usize,
    /// What it learned from ratings, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
    /// What the model behind it came to, of tags that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
}

/// What stands behind the values of a tag beside its definition.
#[derive(Default)]
struct Lineage {
    learned: Option<Learned>,
    fit: Option<Fit>,
}

impl AboutTag {
    /// How sure a value is that has so many events behind it; what users said of themselves is taken as said.
    pub fn confidence(&self, evidence: u32) -> f64 {
        match (self.kind.as_str(), evidence) {
            (_, 0) => 0.0,
            ("declared", _) => 1.0,
            (_, n) => f64::from(n) / (f64::from(n) + self.prior),
        }
    }
}

impl Profile {
    /// Computes the tags of `catalogue` from a store as of `date`.
    ///
    /// What `before` has of the same day and the same store is taken from there, tag by tag, where the tag is of the
    /// same version. The result is the same, to the byte.
    pub fn build(
        project: &Project,
        store: &Store,
        catalogue: &Catalogue,
        date: Date,
        before: Option<&Profile>,
    ) -> Result<Profile> {
        let (first, _) = span(store)?;
        let clock = Clock::new(&project.timezone, date, first)?;
        if first >= clock.end {
            return Err(Error::BeforeData { as_of: date, first: clock::local_date(&project.timezone, first) });
        }
        let (catalogue, mut left_out) = usable(store, catalogue)?;
        let views = Views::new(store, &catalogue)?;
        let before = before.filter(|before| {
            let about = &before.about;
            about.store == store.hash() && about.as_of == date && about.consent == views.consent
        });
        let kept = |tag: &Tag| {
            let before = before?;
            let place = before.about.tags.iter().position(|about| about.name == tag.name)?;
            let about = &before.about.tags[place];
            let same = about.version == catalogue.version(&tag.name);
            same.then(|| (before.columns[place].clone(), about))
        };
        let (mut columns, mut lineage): (HashMap<String, Column>, HashMap<String, Lineage>) = Default::default();
        let mut models = Models::default();
        for tag in catalogue.tags() {
            if let Some((column, about)) = kept(tag) {
                columns.insert(tag.name.clone(), column);
                let (learned, fit) = (about.learned.clone(), about.fit.clone());
                lineage.insert(tag.name.clone(), Lineage { learned, fit });
            }
        }
        let missing = || catalogue.tags().iter().filter(|tag| !columns.contains_key(&tag.name));
        let ingredients: BTreeMap<String, Tag> =
            missing().flat_map(Tag::ingredients).map(|tag| (tag.name.clone(), tag)).collect();
        let looks = |tag: &&Tag| tag.over().is_some() && tag.ingredients().is_empty();
        let over_events: Vec<&Tag> = missing().filter(looks).chain(ingredients.values()).collect();
        let users = match before.filter(|_| over_events.is_empty()) {
            Some(before) => before.users.clone(),
            None => views.go_over_events(&clock, &over_events, &mut columns, &mut lineage)?,
        };
        for tag in catalogue.tags() {
            if columns.contains_key(&tag.name) {
                continue;
            }
            if tag.parents().any(|parent| left_out.contains_key(parent)) {
                left_out.insert(tag.name.clone(), PARENT_LEFT_OUT.to_owned());
                continue;
            }
            let store = views.of(tag);
            let column = match &tag.body {
                Body::Declared { column, number } => match derive::declared(store, column, *number, &users)? {
                    Some(column) => column,
                    None => continue,
                },
                Body::Sql { expression, from } => derive::expression(tag, expression, from, &columns, users.len())?,
                Body::Rules { rules, otherwise, from, .. } => {
                    derive::rules(tag, (rules, otherwise.as_deref()), from, &columns, &users)?
                }
                Body::Rfm { from, scores, ranges, otherwise } => {
                    let ranges = (&ranges[..], otherwise.as_deref());
                    derive::rfm(tag, (from, *scores), ranges, &columns, users.len())?
                }
                Body::Cluster { from, means, deviations, centres } => {
                    let scaling = Scaling { means: means.clone(), deviations: deviations.clone() };
                    derive::cluster(tag, from, &scaling, centres, &columns, users.len())?
                }
                Body::Embedding { run, vectors, centres } => {
                    let of = (&**run, &**vectors, &**centres);
                    let withheld = store.withheld_here()?;
                    match embedding::nearest(tag, &project.root, of, date, &users, &withheld)? {
                        Ok(column) => column,
                        Err(reason) => {
                            left_out.insert(tag.name.clone(), reason);
                            continue;
                        }
                    }
                }
                Body::Nearness { run, vectors, items } => {
                    let of = (&**run, &**vectors, &**items);
                    let withheld = store.withheld_here()?;
                    match nearness::of_users(tag, &project.root, of, date, store, &users, &withheld)? {
                        Ok(column) => column,
                        Err(reason) => {
                            left_out.insert(tag.name.clone(), reason);
                            continue;
                        }
                    }
                }
                Body::Query { sql } => derive::query(store, &clock, tag, sql, &users)?,
                Body::Model { model, .. } => match (models.say(tag, model, &columns), tag.is_shipped()) {
                    (Ok((column, fit)), _) => {
                        lineage.entry(tag.name.clone()).or_default().fit = Some(fit);
                        column
                    }
                    (Err(error), true) => match forecast::reason(&error) {
                        Some(reason) => {
                            left_out.insert(tag.name.clone(), reason);
                            continue;
                        }
                        None => return Err(error),
                    },
                    (Err(error), false) => return Err(error),
                },
                _ => continue,
            };
            columns.insert(tag.name.clone(), column);
        }
        let mut tags: Vec<&Tag> = catalogue.tags().iter().filter(|tag| !left_out.contains_key(&tag.name)).collect();
        tags.sort_by(|a, b| a.name.cmp(&b.name));
        let about_tag = |tag: &&Tag| AboutTag {
            name: tag.name.clone(),
            version: catalogue.version(&tag.name).to_owned(),
            kind: tag.kind().to_owned(),
            segment: tag.is_segment(),
            class: tag.class,
            title: tag.title.clone(),
            parents: tag.parents().map(str::to_owned).collect(),
            expires: clock::date(clock.day + tag.expires as i32),
            prior: tag.prior,
            count: columns.get(&tag.name).map_or(0, Column::count),
            learned: lineage.get(&tag.name).and_then(|lineage| lineage.learned.clone()),
            fit: lineage.get(&tag.name).and_then(|lineage| lineage.fit.clone()),
        };
        let about = About {
            project: project.name.clone(),
            as_of: date,
            store: store.hash(),
            consent: views.consent.clone(),
            users: users.len(),
            tags: tags.iter().map(about_tag).collect(),
            left_out,
        };
        let columns = tags.iter().filter_map(|tag| columns.remove(&tag.name)).collect();
        Ok(Profile { about, users, columns })
    }

    /// Place of a tag.
    pub fn tag(&self, name: &str) -> Result<usize> {
        let known = || self.about.tags.iter().map(|about| about.name.clone()).collect();
        let place = self.about.tags.iter().position(|about| about.name == name);
        place.ok_or_else(|| Error::NoTag { name: name.to_owned(), known: known() })
    }

    /// Row of a user.
    pub fn user(&self, id: &str) -> Result<usize> {
        let missing = |_| Error::NoUser { user: id.to_owned(), as_of: self.about.as_of };
        self.users.binary_search_by(|user| user.as_str().cmp(id)).map_err(missing)
    }
}

/// The day after the last event, from which everything is seen.
pub fn latest(project: &Project, store: &Store) -> Result<Date> {
    let last = clock::local_date(&project.timezone, span(store)?.1);
    Ok(clock::date(clock::days(last) + 1))
}

/// Microseconds of the first and of the last event.
pub(crate) fn span(store: &Store) -> Result<(i64, i64)> {
    store.span()?.ok_or(Error::NoEvents)
}

const PARENT_LEFT_OUT: &str = "what it is made from was left out";

/// Leaves out what the store has no attribute for. A project's own tag of that kind is an error.
fn usable(store: &Store, catalogue: &Catalogue) -> Result<(Catalogue, BTreeMap<String, String>)> {
    let attributes = store.columns(Table::Users)?;
    let mut left_out = BTreeMap::new();
    for tag in catalogue.tags() {
        let Body::Declared { column, .. } = &tag.body else { continue };
        if column != "user" && attributes.contains(column) {
            continue;
        }
        if !tag.is_shipped() {
            let hint = match lookalike_store::nearest(column, &attributes) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the attributes are {}", lookalike_store::listed(&attributes[1..])),
            };
            return Err(tag.error(format!("users have no attribute `{column}`"), Some(hint)));
        }
        left_out.insert(tag.name.clone(), "users have no such attribute".to_owned());
    }
    let mut catalogue = catalogue.clone();
    for name in catalogue.without(left_out.keys().cloned().collect()) {
        left_out.insert(name, PARENT_LEFT_OUT.to_owned());
    }
    Ok((catalogue, left_out))
}

/// The store as each purpose of a tag sees it: without the people who do not allow it now, whatever day it is about.
struct Views {
    by_purpose: BTreeMap<String, Store>,
    consent: String,
}

impl Views {
    fn new(store: &Store, catalogue: &Catalogue) -> Result<Views> {
        let now = Timestamp::now();
        let (mut by_purpose, mut consent) = (BTreeMap::new(), String::new());
        for tag in catalogue.tags() {
            let view = || store.reader().for_purpose(&tag.purpose, now);
            by_purpose.entry(tag.purpose.clone()).or_insert_with(view);
        }
        for (purpose, view) in &by_purpose {
            let withheld = view.withheld_here()?;
            if !withheld.is_empty() {
                let mut withheld: Vec<&str> = withheld.iter().map(String::as_str).collect();
                withheld.sort_unstable();
                let text = format!("{consent}{purpose}\n{}", withheld.join("\n"));
                consent = blake3::hash(text.as_bytes()).to_hex().to_string();
            }
        }
        Ok(Views { by_purpose, consent })
    }

    fn of(&self, tag: &Tag) -> &Store {
        // Every purpose of a tag has its view.
        &self.by_purpose[&tag.purpose]
    }

    /// Computes tags over events, and gives all users: those with events and those of the users' table, sorted.
    fn go_over_events(
        &self,
        clock: &Clock,
        tags: &[&Tag],
        columns: &mut HashMap<String, Column>,
        lineage: &mut HashMap<String, Lineage>,
    ) -> Result<Vec<String>> {
        let (mut found, mut users) = (Vec::new(), Vec::new());
        for (purpose, store) in &self.by_purpose {
            let own: Vec<&Tag> = tags.iter().copied().filter(|tag| tag.purpose == *purpose).collect();
            let mut plan = Plan::new(store, clock.clone(), &own)?;
            let said = pass::run(store, &mut plan)?;
            users.extend(said.users.iter().cloned());
            users.extend(registered(store, clock)?);
            found.push((own, said));
        }
        users.sort_unstable();
        users.dedup();
        for (own, said) in found {
            let places = places(&said.users, &users);
            let each = own.iter().zip(said.columns).zip(said.learned).zip(&said.trials);
            for (((tag, column), learned), trial) in each {
                let fit = match &tag.body {
                    Body::Model { model: Forecast::Repurchase { .. }, .. } => Fit::of_trial(trial),
                    _ => None,
                };
                lineage.insert(tag.name.clone(), Lineage { learned, fit });
                let mut column = column.spread(&places, users.len());
                if let (Body::Lifecycle { .. }, Values::Text { codes, names }) = (&tag.body, &mut column.values) {
                    // Who is known and has none of the events is a contact.
                    let contact = names.iter().position(|name| name == State::Contact.name());
                    let contact = contact.map_or(NONE, |contact| contact as u32);
                    codes.iter_mut().filter(|code| **code == NONE).for_each(|code| *code = contact);
                }
                columns.insert(tag.name.clone(), column);
            }
        }
        Ok(users)
    }
}

/// The attribute of users that says from which day on they are known, such as the day of their registration.
const SINCE: &str = "since";

/// Users by their own table, without those who say that they came on the day or later.
fn registered(store: &Store, clock: &Clock) -> Result<Vec<String>> {
    let dated = store.columns(Table::Users)?.iter().any(|column| column == SINCE);
    let columns: &[&str] = if dated { &["user", SINCE] } else { &["user"] };
    let mut users = Vec::new();
    for batch in store.scan(Table::Users, columns)? {
        let batch = batch?;
        let since = dated.then(|| batch.column(1).as_string::<i32>());
        for (row, user) in batch.column(0).as_string::<i32>().iter().enumerate() {
            let since = since.filter(|since| since.is_valid(row)).map(|since| since.value(row));
            // A day that cannot be read says nothing.
            let day = since.and_then(|text| text.trim().get(..10)?.parse::<Date>().ok());
            if day.is_none_or(|day| day < clock.date) {
                users.extend(user.map(str::to_owned));
            }
        }
    }
    Ok(users)
}

/// Where the users of one sorted list are in another that has them all.
fn places(some: &[String], all: &[String]) -> Vec<u32> {
    let mut places = Vec::with_capacity(some.len());
    for (place, user) in all.iter().enumerate() {
        if some.get(places.len()) == Some(user) {
            places.push(place as u32);
        }
    }
    places
}
