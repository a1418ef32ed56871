//! What a ranker needs to answer, as a further file of a bundle.
//!
//! `ranker.safetensors`, format version 1. Entries are those of the bundle's history, in its order; days are counted back
//! from its end:
//!
//! | tensor | content |
//! |---|---|
//! | `entry.last`, `entry.first` | f32 \[entries\]: days since the user met the item last, and first |
//! | `entry.days`, `entry.lately` | u32 \[entries\]: days with the item, and within the last three windows |
//! | `item.price` | f32 \[items\]: what a piece costs, 0 where not known; not there where no price is known |
//! | `pair.offsets`, `pair.partners`, `pair.lifts` | u64 \[items + 1\], u32, f32: partners of every item; not there where there are none |
//! | `new.weights`, `new.centres` | f32 \[8\]: of the signals of new items |
//! | `again.weights`, `again.centres`, `both.weights` | f32 \[7\], \[7\], \[3\]: of items that the user had, and of lists of both; not there where nobody had anything again |
//!
//! The metadata has `format`, `window` (days that count as of late) and `ranks` (`new`, `all`, or both with a space
//! between). A bundle that was made before, or where a ranker does not help, has no such file.

use std::path::Path;
use std::sync::Arc;

use lookalike_bundle::{Bundle, Data, Extra, Meta, Moments, Pairs, Tensor, Tensors, decode_tensors, encode_tensors};

use super::{AGAIN, Again, Linear, NEW, Ranker, Signals, Weights};
use crate::error::RetrieveError;

/// Name of the file in a bundle.
pub const RANKER: &str = "ranker.safetensors";
const FORMAT: u32 = 1;

fn wrong(problem: &'static str) -> RetrieveError {
    RetrieveError::Ranker { problem }
}

impl<'a> Ranker<'a> {
    /// That of a bundle, if it has the file.
    pub fn of_bundle(bundle: &'a Bundle) -> Result<Option<Self>, RetrieveError> {
        let read;
        let (bytes, path) = match bundle.extra.get(RANKER) {
            None => return Ok(None),
            Some(Extra::Bytes(bytes)) => (bytes, Path::new(RANKER)),
            Some(Extra::File(path)) => {
                let failed = |source| RetrieveError::Io { verb: "read", path: path.clone(), source };
                read = std::fs::read(path).map_err(failed)?;
                (&read, path.as_path())
            }
        };
        let (moments, weights) = decode(bytes, path)?;
        if let Some(problem) = moments.problem(bundle.history.len(), bundle.items.len()) {
            return Err(wrong(problem));
        }
        let signals = Signals::new(&bundle.history, &bundle.item_info, moments);
        Ok(Some(Self::new(Arc::new(signals), weights)))
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RetrieveError> {
        let (moments, weights) = (&self.signals.moments, &self.weights);
        let mut tensors = Tensors::new();
        let mut add = |name: &str, tensor: Tensor| drop(tensors.insert(name.to_owned(), tensor));
        add("entry.last", Tensor::f32s(moments.last.clone()));
        add("entry.first", Tensor::f32s(moments.first.clone()));
        add("entry.days", Tensor::u32s(moments.days.clone()));
        add("entry.lately", Tensor::u32s(moments.lately.clone()));
        if !moments.prices.is_empty() {
            add("item.price", Tensor::f32s(moments.prices.clone()));
        }
        if !moments.pairs.offsets.is_empty() {
            add("pair.offsets", Tensor::u64s(moments.pairs.offsets.clone()));
            add("pair.partners", Tensor::u32s(moments.pairs.partners.clone()));
            add("pair.lifts", Tensor::f32s(moments.pairs.lifts.clone()));
        }
        add("new.weights", Tensor::f32s(weights.new.weights.clone()));
        add("new.centres", Tensor::f32s(weights.new.centres.clone()));
        if let Some(again) = &weights.again {
            add("again.weights", Tensor::f32s(again.again.weights.clone()));
            add("again.centres", Tensor::f32s(again.again.centres.clone()));
            add("both.weights", Tensor::f32s(again.both.into()));
        }
        let ranks = [(self.ranks_new(), "new"), (self.ranks_all(), "all")];
        let ranks: Vec<&str> = ranks.into_iter().filter(|(ranks, _)| *ranks).map(|(_, name)| name).collect();
        let texts =
            [("format", FORMAT.to_string()), ("window", moments.window.to_string()), ("ranks", ranks.join(" "))];
        let meta: Meta = texts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        Ok(encode_tensors(&tensors, &meta, Path::new(RANKER))?)
    }
}

fn decode(bytes: &[u8], path: &Path) -> Result<(Moments, Weights), RetrieveError> {
    let (mut tensors, meta) = decode_tensors(bytes, path)?;
    match meta.get("format").and_then(|format| format.parse::<u32>().ok()) {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => return Err(RetrieveError::NewerRanker { found, known: FORMAT }),
        _ => return Err(wrong("format is not stated")),
    }
    let mut take = |name: &str| tensors.remove(name).map(|tensor| tensor.data);
    let others = || wrong("tensors are others");
    let floats = |data: Option<Data>| match data {
        Some(Data::F32(numbers)) => Ok(numbers),
        _ => Err(others()),
    };
    let counts = |data: Option<Data>| match data {
        Some(Data::U32(numbers)) => Ok(numbers),
        _ => Err(others()),
    };
    let linear = |weights, centres, width: usize| {
        let linear = Linear { weights: floats(weights)?, centres: floats(centres)? };
        let fits = [linear.weights.len(), linear.centres.len()] == [width; 2] && linear.is_finite();
        if fits { Ok(linear) } else { Err(wrong("weights are not those of its signals")) }
    };
    let moments = Moments {
        window: meta.get("window").and_then(|window| window.parse().ok()).ok_or(wrong("window is not stated"))?,
        last: floats(take("entry.last"))?,
        first: floats(take("entry.first"))?,
        days: counts(take("entry.days"))?,
        lately: counts(take("entry.lately"))?,
        prices: take("item.price").map_or(Ok(Vec::new()), |prices| floats(Some(prices)))?,
        pairs: match take("pair.offsets") {
            None => Pairs::default(),
            Some(Data::U64(offsets)) => {
                Pairs { offsets, partners: counts(take("pair.partners"))?, lifts: floats(take("pair.lifts"))? }
            }
            Some(_) => return Err(others()),
        },
    };
    let new = linear(take("new.weights"), take("new.centres"), NEW.len())?;
    let ranks = meta.get("ranks").map(String::as_str).unwrap_or_default();
    let ranks = |list: &str| ranks.split(' ').any(|name| name == list);
    let again = match take("again.weights") {
        None => None,
        weights => Some(Again {
            again: linear(weights, take("again.centres"), AGAIN.len())?,
            both: floats(take("both.weights"))?
                .try_into()
                .ok()
                .filter(|both: &[f32; 3]| both.iter().all(|weight| weight.is_finite()))
                .ok_or(wrong("weights are not those of its signals"))?,
            ranks_all: ranks("all"),
        }),
    };
    Ok((moments, Weights { new, again, ranks_new: ranks("new") }))
}
