//! From a store, or from files of pairs, to a data set: which events count, and where the split lies.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use jiff::civil::Date;
use lookalike_bundle::{ItemInfo, ItemRow, Row, UserRow, Vocab};
use lookalike_store::{Pairs, Project, ReadAs, Split, Store, Table};

use crate::{Builder, Dataset, Described, Error, Part, cold, friends};

/// Share of the training pairs drawn for validation where a split comes without a validation part.
const DRAWN: f64 = 0.1;
/// Seed of that draw. It is fixed: runs with different seeds are judged on the same pairs.
const DRAW_SEED: u64 = 1;

/// Reads the data set of a project; the store must be there unless the split is given by files.
pub fn load(project: &Project, store: Option<&Store>) -> Result<Dataset, Error> {
    load_in_stretches(project, store, 0)
}

/// The same with [`Dataset::earlier`]: the training part without its last stretches. By time a stretch is as long as the
/// validation part; by user it is one event; otherwise it is a tenth of the pairs, drawn.
pub fn load_in_stretches(project: &Project, store: Option<&Store>, stretches: usize) -> Result<Dataset, Error> {
    // From the number of stretches that follow.
    let part_before = |later: usize| match later {
        0 => Part::Train,
        later => Part::Earlier(stretches.saturating_sub(later)),
    };
    let mut builder = Builder::default();
    let mut without_item = 0;
    let split = match &project.interactions.split {
        Split::Given { train, validation, test } => {
            let withheld = store.map(Store::withheld_here).transpose()?.unwrap_or_default();
            let mut push = |path: &Path, part| push_pairs(&mut builder, project, path, part, &withheld);
            push(train, Part::Train)?;
            push(test, Part::Test)?;
            match validation {
                Some(path) => push(path, Part::Validation)?,
                None => builder.draw_validation(DRAWN, DRAW_SEED),
            }
            builder.draw_earlier(stretches, DRAWN, DRAW_SEED + 1);
            let drawn = match validation {
                Some(_) => "validation given".to_owned(),
                None => format!("validation: {:.0} % of the training pairs, drawn", DRAWN * 100.0),
            };
            format!("train and test given; {drawn}")
        }
        Split::Time { test_from, validation_days } => {
            let zone = &project.timezone;
            let days = project.interactions.split.ends(zone, stretches).unwrap_or_default();
            let ends: Vec<i64> = days.iter().map(|&day| midnight(project, day)).collect();
            let part = |at| match ends.iter().filter(|&&end| at < end).count() {
                0 => Part::Test,
                1 => Part::Validation,
                more => part_before((more - 2).min(stretches)),
            };
            without_item = push_events(&mut builder, project, store, |_, at| part(at))?;
            let name = zone.iana_name().unwrap_or("UTC");
            format!(
                "by time: test from {} ({name}), validation the {validation_days} days before",
                test_from.to_zoned_datetime(zone.clone()).date()
            )
        }
        Split::LeaveLast => {
            let last = last_events(project, store)?;
            without_item = push_events(&mut builder, project, store, |count, _| {
                match last.get(count.user).map_or(0, |all| all - count.nth) {
                    1 => Part::Test,
                    2 => Part::Validation,
                    0 => part_before(stretches),
                    more => part_before((more as usize - 3).min(stretches)),
                }
            })?;
            "by user: the last event is the test part, the one before it the validation part".to_owned()
        }
    };
    if builder.is_empty() {
        let kinds: Vec<_> = project.interactions.kinds.keys().map(|kind| format!("`{kind}`")).collect();
        return Err(Error::NoInteractions { kinds: kinds.join(", ") });
    }
    if let Some(store) = store {
        cold::tell(&mut builder, project, store)?;
    }
    let mut data = builder.finish(split, |users, items| match store {
        Some(store) => describe(project, store, users, items),
        None => Ok(Described::nothing(items.len())),
    })?;
    data.without_item = without_item;
    if let Some(store) = store {
        let edges = friends::edges(project, store, &data.users)?;
        let days = project.interactions.split.ends(&project.timezone, stretches);
        let end = |time: usize| days.as_ref().map(|days| midnight(project, days[time]));
        let graph = |time| friends::graph(&edges, data.users.len(), end(time));
        let graphs: Vec<_> = (0..stretches + 2).map(graph).collect();
        data.friends = friends::bags(&graphs.iter().zip(data.parts()).collect::<Vec<_>>(), &data.items);
        data.friendships = graphs.into_iter().next_back().unwrap_or(data.friendships);
    }
    Ok(data)
}

/// How many days before their ends each entry of [`Dataset::parts`] was met last, in the order of the entries. Nothing
/// unless the split is by time.
pub fn ages(project: &Project, store: &Store, data: &Dataset) -> Result<Option<Vec<Vec<f32>>>, Error> {
    let matrices = data.parts();
    let Some(days) = project.interactions.split.ends(&project.timezone, data.earlier.len()) else { return Ok(None) };
    let ends: Vec<i64> = days.iter().map(|&day| midnight(project, day)).collect();
    let mut last: Vec<Vec<i64>> = matrices.iter().map(|matrix| vec![i64::MIN; matrix.len()]).collect();
    each_event(project, Some(store), |user, item, at, _| {
        let (Some(user), Some(item)) = (data.users.row(user), data.items.row(item)) else { return };
        for ((matrix, end), last) in matrices.iter().zip(&ends).zip(&mut last) {
            if at < *end
                && let Ok(nth) = matrix.cols(user).binary_search(&item.get())
            {
                let last = &mut last[matrix.offsets()[user.index()] as usize + nth];
                *last = at.max(*last);
            }
        }
    })?;
    let days = |(last, end): (Vec<i64>, i64)| last.into_iter().map(|at| (end - at) as f32 / 86_400e6).collect();
    Ok(Some(last.into_iter().zip(ends).map(days).collect()))
}

/// When a day begins in the project's zone, in microseconds.
pub(crate) fn midnight(project: &Project, day: Date) -> i64 {
    let start = day.to_zoned_datetime(project.timezone.clone());
    start.map_or(i64::MIN, |start| start.timestamp().as_microsecond())
}

/// A hash of everything a data set depends on: the contents of the store or of the given files, the kinds that count,
/// and the split.
pub fn fingerprint(project: &Project, store: Option<&Store>) -> Result<String, Error> {
    let mut hasher = blake3::Hasher::new();
    let mut part = |text: String| {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    if let Some(store) = store {
        part(store.hash());
    }
    part(format!("{:?} {}", project.interactions.kinds, project.timezone.iana_name().unwrap_or("UTC")));
    let read_as = project.sources.iter().flat_map(|source| &source.read_as);
    read_as.for_each(|read_as| part(format!("{read_as:?}")));
    match &project.interactions.split {
        Split::Given { train, validation, test } => {
            project.forgotten_hash().into_iter().for_each(&mut part);
            for path in [Some(train), validation.as_ref(), Some(test)].into_iter().flatten() {
                let file = std::fs::File::open(path);
                let hashed = file.and_then(|file| blake3::Hasher::new().update_reader(file).map(|h| h.finalize()));
                let hashed = hashed.map_err(|source| Error::Read { path: path.clone(), source })?;
                part(hashed.to_hex().to_string());
            }
        }
        split => part(format!("{split:?}")),
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Which event of its user an event is, counted from 0 in the order of time.
struct Count<'a> {
    user: &'a str,
    nth: u64,
}

/// Calls `each` with user, item, time and weight of every event that counts, in the store's order: by user, then by
/// time. Returns how many events count by kind but name no item.
fn each_event(
    project: &Project,
    store: Option<&Store>,
    mut each: impl FnMut(&str, &str, i64, f32),
) -> Result<u64, Error> {
    let Some(store) = store else { return Ok(0) };
    let kinds = &project.interactions.kinds;
    let mut without_item = 0;
    for batch in store.scan(Table::Events, &["user", "item", "kind", "at"])? {
        let batch = batch?;
        let (users, items, names) = (text(&batch, 0), text(&batch, 1), text(&batch, 2));
        let times = batch.column(3).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let Some(&weight) = kinds.get(names.value(row)).filter(|&&weight| weight > 0.0) else { continue };
            match items.is_null(row) {
                true => without_item += 1,
                false => each(users.value(row), items.value(row), times.value(row), weight as f32),
            }
        }
    }
    Ok(without_item)
}

fn push_events(
    builder: &mut Builder,
    project: &Project,
    store: Option<&Store>,
    part: impl Fn(Count<'_>, i64) -> Part,
) -> Result<u64, Error> {
    let mut now = (String::new(), 0u64);
    each_event(project, store, |user, item, at, weight| {
        if now.0 != user {
            now = (user.to_owned(), 0);
        }
        builder.push(user, item, weight, part(Count { user, nth: now.1 }, at));
        now.1 += 1;
    })
}

/// How many counting events each user has.
fn last_events(project: &Project, store: Option<&Store>) -> Result<HashMap<String, u64>, Error> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    each_event(project, store, |user, _, _, _| match counts.get_mut(user) {
        Some(count) => *count += 1,
        None => drop(counts.insert(user.to_owned(), 1)),
    })?;
    Ok(counts)
}

fn push_pairs(
    builder: &mut Builder,
    project: &Project,
    path: &Path,
    part: Part,
    withheld: &HashSet<String>,
) -> Result<(), Error> {
    for batch in lookalike_store::read_pairs(path, &project.timezone)? {
        let Pairs { user: users, item: items, weight: weights, .. } = batch?;
        for row in 0..users.len() {
            let weight = weights.as_ref().filter(|weights| weights.is_valid(row)).map_or(1.0, |w| w.value(row));
            let (user, item) = (users.value(row), items.value(row));
            if withheld.contains(user) || project.has_forgotten(user) {
                continue;
            }
            if weight <= 0.0 {
                let (path, user, item) = (path.to_owned(), user.to_owned(), item.to_owned());
                return Err(Error::Weight { path, weight, user, item });
            }
            builder.push(user, item, weight as f32, part);
        }
    }
    Ok(())
}

fn text(batch: &RecordBatch, column: usize) -> &StringArray {
    batch.column(column).as_string::<i32>()
}

/// The columns that the project declared beyond the canonical ones.
fn attributes(store: &Store, table: Table) -> Result<Vec<String>, Error> {
    let canonical = ["user", "item", "title", "category", "brand", "price"];
    let columns = store.columns(table)?.into_iter();
    Ok(columns.filter(|name| !canonical.contains(&name.as_str())).collect())
}

/// Titles and attributes of the items and users that have rows.
fn describe(
    project: &Project,
    store: &Store,
    users: &Vocab<UserRow>,
    items: &Vocab<ItemRow>,
) -> Result<Described, Error> {
    let mut described = Described::nothing(items.len());
    described.item_features.read_as("price", ReadAs::Number);
    for source in &project.sources {
        let features = match source.table {
            Table::Users => &mut described.user_features,
            _ => &mut described.item_features,
        };
        source.read_as.iter().for_each(|(name, &read_as)| features.read_as(name, read_as));
    }
    let declared = attributes(store, Table::Items)?;
    let own = ["item", "title", "category", "brand", "price"];
    let names: Vec<&str> = own.into_iter().chain(declared.iter().map(String::as_str)).collect();
    for batch in store.scan(Table::Items, &names)? {
        let batch = batch?;
        let (ids, titles, brands) = (text(&batch, 0), text(&batch, 1), text(&batch, 3));
        let categories = batch.column(2).as_list::<i32>();
        let prices = batch.column(4).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let Some(item) = items.row(ids.value(row)) else { continue };
            let path = categories.is_valid(row).then(|| categories.value(row));
            let path = path.iter().flat_map(|path| path.as_string::<i32>().iter().flatten().map(str::to_owned));
            let info = ItemInfo {
                title: titles.is_valid(row).then(|| titles.value(row).to_owned()),
                category: path.collect(),
                brand: brands.is_valid(row).then(|| brands.value(row).to_owned()),
            };
            let features = &mut described.item_features;
            for depth in 1..=info.category.len() {
                features.push(item, &format!("category.{depth}"), &info.category[..depth].join(" > "));
            }
            if let Some(brand) = &info.brand {
                features.push(item, "brand", brand);
            }
            if prices.is_valid(row) {
                features.push(item, "price", &prices.value(row).to_string());
            }
            for (column, name) in declared.iter().enumerate() {
                push_value(features, item, name, text(&batch, column + own.len()), row);
            }
            described.item_info[item.index()] = info;
        }
    }
    let declared = attributes(store, Table::Users)?;
    let names: Vec<&str> = ["user"].into_iter().chain(declared.iter().map(String::as_str)).collect();
    for batch in store.scan(Table::Users, &names)? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let Some(user) = users.row(text(&batch, 0).value(row)) else { continue };
            for (column, name) in declared.iter().enumerate() {
                push_value(&mut described.user_features, user, name, text(&batch, column + 1), row);
            }
        }
    }
    Ok(described)
}

fn push_value<R: Row>(features: &mut crate::FeaturesBuilder, at: R, field: &str, values: &StringArray, row: usize) {
    if values.is_valid(row) {
        features.push(at, field, values.value(row));
    }
}
