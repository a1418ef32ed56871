//! Who answers for a user: a chain of links, each of which is asked where those before it know nothing of the user.
//!
//! [`Link::ALL`] is the declaration; `recommend` and the evaluation both go by it. All that the links need is in the
//! bundle: popularity is counted in its history, and who is a friend of whom and who is in which segment are files of it
//! ([`Friends`], [`Segments`]).

use lookalike_bundle::{Bundle, Learned, Row, UserRow};

use crate::error::RetrieveError;
use crate::few::{FEW, Prior};
use crate::friends::Friends;
use crate::segments::{ItemsHad, Segments};

/// One link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// The model's score, blended with what users like this one had ([`Prior`]). It knows users with few items whom the model
    /// knows, where a blend was found to help them.
    Blend,
    /// What was learned. It knows users whose vector is not all zeros. Whatever is learned from ids and histories alone
    /// (all but the two-tower) knows nobody without a history: a vector of theirs was never touched.
    Model,
    /// What the friends of the user had, as many friends as had it; among equals what more users had. It knows users of
    /// whom a friend had something.
    Friends,
    /// What users of whom the same was declared had, drawn towards what everybody had. It knows users of whom something was
    /// declared that is also said of somebody with a history.
    Segment,
    /// What most users had. It knows everybody.
    Popular,
}

impl Link {
    /// The links in the order in which they are asked.
    pub const ALL: [Self; 5] = [Self::Blend, Self::Model, Self::Friends, Self::Segment, Self::Popular];

    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blend => "blend",
            Self::Model => "model",
            Self::Friends => "friends",
            Self::Segment => "segment",
            Self::Popular => "popular",
        }
    }
}

/// The chain of a bundle.
pub struct Chain<'a> {
    bundle: &'a Bundle,
    friends: Option<Friends>,
    prior: Prior<'a>,
    /// Whether the model knows nobody without a history.
    by_history: bool,
}

impl<'a> Chain<'a> {
    /// Counts what is popular, and reads who is a friend of whom and who is in which segment.
    pub fn of(bundle: &'a Bundle) -> Result<Self, RetrieveError> {
        let by_history = bundle.manifest.preset.get("kind").and_then(|kind| kind.as_str()) != Some("two-tower");
        let sizes = (bundle.users.len(), bundle.items.len());
        let prior = Prior::new(ItemsHad::History(&bundle.history), sizes, Segments::of_bundle(bundle)?);
        Ok(Self { bundle, friends: Friends::of_bundle(bundle)?, prior, by_history })
    }

    /// Whether a link knows something of a user.
    pub fn answers(&self, link: Link, user: UserRow) -> bool {
        let had = |user: UserRow| !self.bundle.history.items(user).is_empty();
        match link {
            Link::Blend => {
                let few = (1..=FEW).contains(&self.bundle.history.items(user).len());
                few && self.bundle.manifest.few.is_some() && self.answers(Link::Model, user)
            }
            Link::Model => match &self.bundle.learned {
                Learned::Embeddings { users, .. } => {
                    users.row(user.index()).iter().any(|&number| number != 0.0) && (!self.by_history || had(user))
                }
                Learned::ItemWeights(_) => had(user),
            },
            Link::Friends => self.friends_of(user).iter().any(|&friend| had(UserRow::new(friend))),
            Link::Segment => self.prior.by_segment(user).is_some(),
            Link::Popular => true,
        }
    }

    /// The first link that knows something of a user.
    pub fn link(&self, user: UserRow) -> Link {
        Link::ALL.into_iter().find(|&link| self.answers(link, user)).unwrap_or(Link::Popular)
    }

    /// Scores of all items by a link behind the model; those of the blend take the place of the model's.
    pub(crate) fn score(&self, link: Link, user: UserRow, scores: &mut [f32]) {
        match (link, &self.bundle.manifest.few) {
            (Link::Segment, _) => return self.prior.shares(user, scores),
            (Link::Blend, Some(few)) => {
                let (blend, items) = (self.prior.blend(user, scores), self.bundle.history.items(user).len());
                return scores.iter_mut().zip(blend.scores(items, few.k)).for_each(|(score, blended)| *score = blended);
            }
            _ => scores.copy_from_slice(&self.prior.popularity),
        }
        if link == Link::Friends {
            // However popular, an item does not come before one that one friend more had.
            let most = self.prior.popularity.iter().fold(1e5f32, |most, &users| most.max(users + 1.0));
            scores.iter_mut().for_each(|score| *score /= most);
            for &friend in self.friends_of(user) {
                let items = self.bundle.history.items(UserRow::new(friend));
                items.iter().for_each(|&item| scores[item as usize] += 1.0);
            }
        }
    }

    fn friends_of(&self, user: UserRow) -> &[u32] {
        self.friends.as_ref().map_or(&[], |friends| friends.of(user))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::{Extra, History, ItemRow};
    use roaring::RoaringBitmap;
    use serde_json::json;

    use super::*;
    use crate::friends::FRIENDS;
    use crate::recommend::Recommender;
    use crate::segments::SEGMENTS;
    use crate::testing::bundle;

    /// Users 0 and 1 have a history; 2 is a friend of both, 3 of 2 alone, 4 of nobody. Item 4 is the most popular.
    fn small() -> Bundle {
        let mut bundle = bundle(5, 6);
        let had = [(0, 1), (0, 4), (1, 1), (1, 2), (1, 4)];
        let entries = had.map(|(user, item)| (UserRow::new(user), ItemRow::new(item), 1.0));
        bundle.history = History::new(5, 6, entries).unwrap();
        let friends = Friends::new(vec![0, 1, 2, 5, 6, 6], vec![2, 2, 0, 1, 3, 2]).unwrap();
        bundle.extra.insert(FRIENDS.to_owned(), Extra::Bytes(friends.to_bytes().unwrap()));
        bundle
    }

    fn links(bundle: &Bundle) -> Vec<&'static str> {
        let chain = Chain::of(bundle).unwrap();
        (0..5).map(|user| chain.link(UserRow::new(user)).name()).collect()
    }

    #[test]
    fn each_user_is_answered_by_the_first_link_that_knows_them() {
        let mut bundle = small();
        assert_eq!(links(&bundle), ["model", "model", "friends", "popular", "popular"]);
        // A two-tower knows users by what they are; but a vector of zeros says nothing.
        bundle.manifest.preset = json!({ "kind": "two-tower" });
        let Learned::Embeddings { users, .. } = &mut bundle.learned else { unreachable!() };
        users.row_mut(4).fill(0.0);
        assert_eq!(links(&bundle), ["model", "model", "model", "model", "popular"]);
        bundle.extra.clear();
        bundle.manifest.preset = json!({ "kind": "softmax-mf" });
        assert_eq!(links(&bundle), ["model", "model", "popular", "popular", "popular"]);
    }

    #[test]
    fn segments_answer_before_what_everybody_had() {
        let mut bundle = small();
        // User 1 shares something with 4, and 3 with nobody who had anything.
        let names = ["age=1", "age=2"].map(str::to_owned).to_vec();
        let segments = Segments::new(names, vec![0, 0, 1, 1, 2, 3], vec![0, 1, 0]).unwrap();
        bundle.extra.insert(SEGMENTS.to_owned(), Extra::Bytes(segments.to_bytes().unwrap()));
        assert_eq!(links(&bundle), ["model", "model", "friends", "popular", "segment"]);
        let chain = Chain::of(&bundle).unwrap();
        let recommender = Recommender::new(&bundle).falling_back(&chain);
        let list = recommender.for_users(&[UserRow::new(4)], 4).remove(0);
        // Both had 1 and 4; of what one of them had, that of user 1 comes first.
        assert_eq!((list[2].row.get(), list[2].score > list[3].score), (2, true), "{list:?}");
        let alone = recommender.by_link(Link::Segment, &[UserRow::new(3), UserRow::new(1)], 3);
        assert_eq!(alone.iter().map(Vec::len).collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn lists_of_the_chain_are_those_of_the_link_that_answers() {
        let bundle = small();
        let chain = Chain::of(&bundle).unwrap();
        let users: Vec<_> = (0..5).map(UserRow::new).collect();
        let plain = Recommender::new(&bundle);
        let answers = Recommender::new(&bundle).falling_back(&chain).for_users(&users, 3);
        assert_eq!(answers[..2], plain.for_users(&users[..2], 3));
        let rows = |at: usize| answers[at].iter().map(|hit| hit.row.get()).collect::<Vec<_>>();
        assert!(rows(2)[..2].iter().all(|row| [1, 4].contains(row)) && rows(2)[2] == 2, "{:?}", rows(2));
        assert_eq!((answers[2][0].score.floor(), answers[3][0].score), (2.0, 2.0));
        assert_eq!(rows(3), rows(4));
        // Each link alone: nothing where it knows nothing.
        let alone = |link| {
            let lists = Recommender::new(&bundle).falling_back(&chain).by_link(link, &users, 3);
            lists.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(alone(Link::Model), [3, 3, 0, 0, 0]);
        assert_eq!(alone(Link::Friends), [0, 0, 3, 0, 0]);
        // What a user had does not come back.
        assert_eq!(alone(Link::Popular), [3; 5]);
        let popular = Recommender::new(&bundle).falling_back(&chain).by_link(Link::Popular, &users[..1], 9);
        assert!(popular[0].len() == 4 && popular[0].iter().all(|hit| ![1, 4].contains(&hit.row.get())));
        // A condition holds whoever answers.
        let only: RoaringBitmap = [0, 2, 3].into_iter().collect();
        let some = Recommender::new(&bundle).among(&only).falling_back(&chain).for_users(&users, 3);
        assert!(some.iter().flatten().all(|hit| only.contains(hit.row.get())));
        assert_eq!(some[2][0].row, ItemRow::new(2));
    }
}
