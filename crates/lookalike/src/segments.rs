//! Which segments users are in, put into a bundle: the values of their declared attributes, without sensitive ones.

use std::collections::{BTreeSet, HashMap};

use lookalike_bundle::{Bundle, Extra, Row, UserRow};
use lookalike_dataset::{Dataset, Features};
use lookalike_retrieve::{SEGMENTS, Segments};
use lookalike_store::ReadAs;

use crate::failure::Failure;

/// What of users' attributes makes segments: all but texts and those that are `guarded`.
pub fn of(data: &Dataset, guarded: &BTreeSet<String>) -> Features {
    let text =
        |name: &str| data.fields[0].iter().any(|field| field.name == name && field.read_as == Some(ReadAs::Text));
    data.user_features.only(|name| !guarded.contains(name) && !text(name))
}

/// Puts them into a bundle whose users are the rows of these features.
pub fn attach(bundle: &mut Bundle, features: &Features) -> Result<(), Failure> {
    match made_of(features, bundle.users.len())? {
        Some(segments) => put(bundle, &segments),
        None => Ok(()),
    }
}

/// Users who are new to a bundle get the segments it knows, by what is declared of them in data that knows them.
pub fn extend(bundle: &mut Bundle, known: Option<Segments>, data: &Dataset) -> Result<(), Failure> {
    let Some(known) = known else { return Ok(()) };
    let numbers: HashMap<&str, u32> = known.names().iter().map(String::as_str).zip(0..).collect();
    let list = |(row, id): (u32, &String)| match (row as usize) < known.users() {
        true => known.of(UserRow::new(row)).to_vec(),
        false => {
            let values = data.users.row(id).map_or(&[][..], |row| data.user_features.bag(row.index()));
            let names = values.iter().map(|&value| data.user_features.names()[value as usize].as_str());
            let mut list: Vec<u32> = names.filter_map(|name| numbers.get(name).copied()).collect();
            list.sort_unstable();
            list
        }
    };
    let lists = (0u32..).zip(bundle.users.ids()).map(list).collect();
    put(bundle, &joined(known.names().to_vec(), lists)?)
}

/// Segments of so many users that features make; nothing if they have no values.
pub fn made_of(features: &Features, users: usize) -> Result<Option<Segments>, Failure> {
    if features.is_empty() {
        return Ok(None);
    }
    let lists = (0..users).map(|row| features.bag(row).to_vec()).collect();
    joined(features.names().to_vec(), lists).map(Some)
}

fn joined(names: Vec<String>, lists: Vec<Vec<u32>>) -> Result<Segments, Failure> {
    let mut offsets = vec![0u64];
    lists.iter().for_each(|list| offsets.push(offsets[offsets.len() - 1] + list.len() as u64));
    Ok(Segments::new(names, offsets, lists.concat())?)
}

fn put(bundle: &mut Bundle, segments: &Segments) -> Result<(), Failure> {
    bundle.extra.insert(SEGMENTS.to_owned(), Extra::Bytes(segments.to_bytes()?));
    Ok(())
}
