//! A run beside data that changed since it was trained: users and items are found by their ids, and whoever is new is cold.
//!
//! What the run learned from, and how that was split off, is in its bundle and stays as it is. So data of another project
//! or of another split is refused; and so is changed data where the last event of every user is held out, since an event
//! that was learned from may be the last one now.

use lookalike_bundle::{Bundle, Extra, History, ItemRow, Learned, Matrix, UserRow};
use lookalike_dataset::{Changed, Csr, Dataset, Pair};
use lookalike_retrieve::{FRIENDS, Friends, Segments};
use lookalike_store::{Project, Split};

use crate::failure::Failure;
use crate::say::grouped;
use crate::segments;

/// The bundle with rows for all users that the data knows, the data in the rows of the bundle, and how much changed.
pub fn meet(bundle: Bundle, project: &Project, now: &Dataset) -> Result<(Bundle, Dataset, Changed), Failure> {
    let refused = |why: String, hint: &str| {
        Err(Failure::new(format!("the project's data is not what this run was trained on: {why}")).with_hint(hint))
    };
    if bundle.manifest.project != project.name {
        let why = format!("the run is of `{}`, the project is `{}`", bundle.manifest.project, project.name);
        return refused(why, "name its project with `--project`, or train again");
    }
    if bundle.manifest.split != now.split {
        let why = format!("the run was split {}, the project is now split {}", bundle.manifest.split, now.split);
        return refused(why, "put `split` in `lookalike.toml` back, or train again");
    }
    if matches!(project.interactions.split, Split::LeaveLast) {
        let why = "it changed, and what the run learned from may be the last event of a user now".to_owned();
        return refused(why, "train again");
    }
    let history = &bundle.history;
    let pair = |(row, col, weight): (UserRow, ItemRow, f32)| Pair { row, col, weight };
    let had = Csr::collect(bundle.users.len(), bundle.items.len(), || history.entries().map(pair));
    let (data, changed) = now.onto(&bundle.users, &bundle.items, &had)?;
    let (users, items) = (data.users.len(), data.items.len());
    if changed.gone_users == bundle.users.len() || changed.gone_items == items {
        return refused("it knows none of its users or none of its items".to_owned(), "train again");
    }
    let segments = Segments::of_bundle(&bundle)?;
    let longer = History::new(users, items, history.entries());
    let longer = longer.map_err(|error| Failure::new(format!("the history does not fit: {error}")))?;
    let mut bundle = Bundle { users: data.users.clone(), history: longer, ..bundle };
    if let Learned::Embeddings { users: table, .. } = &mut bundle.learned {
        let mut with_new = Matrix::zeros(users, table.cols());
        with_new.data_mut()[..table.data().len()].copy_from_slice(table.data());
        *table = with_new;
    }
    bundle.extra.remove(FRIENDS);
    attach_friends(&mut bundle, &data)?;
    segments::extend(&mut bundle, segments, now)?;
    Ok((bundle, data, changed))
}

/// Puts who is a friend of whom into a bundle whose rows are those of the data.
pub fn attach_friends(bundle: &mut Bundle, data: &Dataset) -> Result<(), Failure> {
    let friends = &data.friendships;
    if !friends.is_empty() {
        let friends = Friends::new(friends.offsets().to_vec(), friends.all_cols().to_vec())?;
        bundle.extra.insert(FRIENDS.to_owned(), Extra::Bytes(friends.to_bytes()?));
    }
    Ok(())
}

/// What to say of it.
pub fn line(changed: &Changed) -> String {
    let [new_users, new_items, gone_users, gone_items] =
        [changed.new_users, changed.new_items, changed.gone_users, changed.gone_items].map(|n| grouped(n as u64));
    format!(
        "the data changed since this run was trained; by their ids, {new_users} users (cold to the run) and {new_items} items \
         (left out) are new, {gone_users} users and {gone_items} items are gone"
    )
}
