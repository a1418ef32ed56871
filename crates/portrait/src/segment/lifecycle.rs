//! Where a person stands in their time with the shop: a state machine over the days on which they bought.
//!
//! As of a day, with `g` the days since the last purchase day, the first line that fits is the state:
//!
//! | state | who |
//! |---|---|
//! | contact | known, but has bought nothing yet |
//! | lost | g > `lost` |
//! | dormant | g > `dormant` |
//! | returned | bought, less than `returned` days ago, on a day before which they were dormant or lost |
//! | new | first bought less than `new` days ago |
//! | loyal | bought on at least `loyal_days` days of the last `loyal_window`, the day itself included |
//! | active | everybody else |
//!
//! So everyone known is in exactly one state, on any day, and nothing after that day is looked at. From one day to the
//! next a state can only become what [`State::may_become`] says. Days are whole numbers counted from 1970-01-01, in the
//! project's time zone.

use serde::Serialize;

use super::error::{Error, Result, setting};
use super::flow::Flow;

/// A state of the lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Known, but has bought nothing yet.
    Contact,
    /// Bought for the first time not long ago.
    New,
    /// Buys, and is nothing in particular.
    Active,
    /// Buys often.
    Loyal,
    /// Has not bought for a while.
    Dormant,
    /// Has not bought for so long that they are not expected back.
    Lost,
    /// Bought again after having been dormant or lost.
    Returned,
}

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [State; 7] =
        [State::Contact, State::New, State::Active, State::Loyal, State::Dormant, State::Lost, State::Returned];

    /// Its word in declarations and output.
    pub fn name(self) -> &'static str {
        match self {
            State::Contact => "contact",
            State::New => "new",
            State::Active => "active",
            State::Loyal => "loyal",
            State::Dormant => "dormant",
            State::Lost => "lost",
            State::Returned => "returned",
        }
    }

    /// Whether a person can be in `next` a day after having been in this state.
    pub fn may_become(self, next: State) -> bool {
        use State::{Active, Contact, Dormant, Lost, Loyal, New, Returned};
        self == next
            || match self {
                Contact => next == New,
                New => matches!(next, Active | Loyal | Dormant),
                Active => matches!(next, Loyal | Dormant),
                Loyal => matches!(next, Active | Dormant),
                Dormant => matches!(next, Lost | Returned),
                Lost => next == Returned,
                Returned => matches!(next, New | Active | Loyal | Dormant),
            }
    }
}

/// The windows of the machine, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// A first purchase makes someone new for so many days.
    pub new: u32,
    /// Someone is loyal who bought on so many days …
    pub loyal_days: u32,
    /// … within so many days.
    pub loyal_window: u32,
    /// More days than this without a purchase, and someone is dormant.
    pub dormant: u32,
    /// More days than this, and someone is lost.
    pub lost: u32,
    /// A purchase after a dormant time makes someone returned for so many days.
    pub returned: u32,
}

impl Windows {
    /// That all windows are at least a day, that dormant comes before lost, and that so many loyal days fit into their
    /// window.
    pub fn check(&self) -> Result<()> {
        let days = [
            ("new", self.new),
            ("loyal_days", self.loyal_days),
            ("loyal_window", self.loyal_window),
            ("dormant", self.dormant),
            ("returned", self.returned),
        ];
        if let Some((name, value)) = days.into_iter().find(|(_, value)| *value == 0) {
            return Err(setting(name, value, "at least 1"));
        }
        if self.lost <= self.dormant {
            return Err(setting("lost", self.lost, "more than `dormant`"));
        }
        if self.loyal_days > self.loyal_window {
            return Err(setting("loyal_days", self.loyal_days, "at most `loyal_window`"));
        }
        Ok(())
    }
}

/// The state of a person as of `day`.
///
/// `known_since` is the day of the first contact, where one is known besides purchases; `bought` the days with a purchase,
/// ascending, repeats allowed. `None` if nothing was known of the person by then.
pub fn state(known_since: Option<i32>, bought: &[i32], day: i32, windows: &Windows) -> Result<Option<State>> {
    windows.check()?;
    ascending(bought)?;
    let bought = &bought[..bought.partition_point(|bought| *bought <= day)];
    let (Some(first), Some(last)) = (bought.first(), bought.last()) else {
        return Ok(known_since.filter(|since| *since <= day).map(|_| State::Contact));
    };
    let since = |earlier: i32| day.abs_diff(earlier);
    let came_back = || {
        // On the day before the purchase they have to have been dormant: the gap alone would be a day too short.
        let gap = |pair: &&[i32]| pair[1].abs_diff(pair[0]).saturating_sub(1) > windows.dormant;
        bought.windows(2).rev().find(gap).is_some_and(|pair| since(pair[1]) < windows.returned)
    };
    let loyal = || {
        let mut recent: Vec<i32> = bought.iter().copied().filter(|day| since(*day) < windows.loyal_window).collect();
        recent.dedup();
        recent.len() as u64 >= u64::from(windows.loyal_days)
    };
    Ok(Some(match since(*last) {
        gap if gap > windows.lost => State::Lost,
        gap if gap > windows.dormant => State::Dormant,
        _ if came_back() => State::Returned,
        _ if since(*first) < windows.new => State::New,
        _ if loyal() => State::Loyal,
        _ => State::Active,
    }))
}

fn ascending(days: &[i32]) -> Result<()> {
    match days.windows(2).position(|pair| pair[0] > pair[1]) {
        Some(at) => Err(Error::DaysNotAscending { at: at + 1 }),
        None => Ok(()),
    }
}

/// The label of people nothing was known of yet, in [`transitions`].
pub const UNKNOWN: usize = State::ALL.len();

/// Who went from which state to which between two dates: people in the same order, labels as in [`State::ALL`], and
/// [`UNKNOWN`] for `None`.
pub fn transitions(before: &[Option<State>], after: &[Option<State>]) -> Result<Flow> {
    let label = |state: &Option<State>| state.map_or(UNKNOWN as u32, |state| state as u32);
    let labels = |states: &[Option<State>]| states.iter().map(label).collect::<Vec<_>>();
    Flow::between(&labels(before), &labels(after), UNKNOWN + 1)
}

/// How many people were what in one period, such as a calendar month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    /// Bought in it for the first time.
    pub new: u64,
    /// Bought in it and in the one before.
    pub retained: u64,
    /// Bought in it and at some time before, but not in the period before.
    pub returned: u64,
    /// Bought before it, but not in it.
    pub absent: u64,
}

/// People by period: `bounds` are the first days of the periods and, at the end, the first day after them, ascending;
/// `bought` has the days of each person, ascending. Days outside of the periods do not count. The four numbers of a period
/// add up to the people who bought until its end.
pub fn periods(bought: &[&[i32]], bounds: &[i32]) -> Result<Vec<Period>> {
    if let Some(at) = bounds.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(Error::DaysNotAscending { at: at + 1 });
    }
    let mut periods = vec![Period::default(); bounds.len().saturating_sub(1)];
    for days in bought {
        ascending(days)?;
        let (mut seen, mut last) = (false, false);
        for (period, bounds) in periods.iter_mut().zip(bounds.windows(2)) {
            let from = days.partition_point(|day| *day < bounds[0]);
            let now = days.get(from).is_some_and(|day| *day < bounds[1]);
            match (now, seen, last) {
                (true, false, _) => period.new += 1,
                (true, true, true) => period.retained += 1,
                (true, true, false) => period.returned += 1,
                (false, true, _) => period.absent += 1,
                (false, false, _) => {}
            }
            (seen, last) = (seen || now, now);
        }
    }
    Ok(periods)
}
