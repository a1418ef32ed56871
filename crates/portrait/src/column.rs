//! The values of one tag, a row a user.

use std::collections::HashMap;

/// No value, among codes.
pub(crate) const NONE: u32 = u32::MAX;

/// The values of a tag for all users of a profile, in the order of the users.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// What was found.
    pub values: Values,
    /// How many events stand behind each value; 0 where there is none.
    pub evidence: Vec<u32>,
}

/// Values of one type.
#[derive(Debug, Clone)]
pub enum Values {
    /// Numbers, NaN where there is none.
    Number(Vec<f64>),
    /// Places in a list of names, `u32::MAX` where there is none.
    Text {
        /// A place a user.
        codes: Vec<u32>,
        /// The names.
        names: Vec<String>,
    },
    /// Several names a user, best first.
    List {
        /// Where the values of a user begin; one more than there are users.
        offsets: Vec<u32>,
        /// Places in the list of names.
        codes: Vec<u32>,
        /// The figure that put each in its place.
        figures: Vec<f64>,
        /// The names.
        names: Vec<String>,
    },
}

/// Values are equal if they say the same, whatever the places of their names are.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        match (self, other) {
            (Values::Number(a), Values::Number(b)) => a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan()),
            (Values::Text { .. }, Values::Text { .. }) => (0..self.len()).all(|row| self.text(row) == other.text(row)),
            (Values::List { .. }, Values::List { .. }) => (0..self.len()).all(|row| self.list(row).eq(other.list(row))),
            _ => false,
        }
    }
}

impl Values {
    /// Number of users.
    pub fn len(&self) -> usize {
        match self {
            Values::Number(numbers) => numbers.len(),
            Values::Text { codes, .. } => codes.len(),
            Values::List { offsets, .. } => offsets.len().saturating_sub(1),
        }
    }

    /// Whether there is no user.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a user has a value.
    pub fn has(&self, row: usize) -> bool {
        match self {
            Values::Number(numbers) => !numbers[row].is_nan(),
            Values::Text { codes, .. } => codes[row] != NONE,
            Values::List { offsets, .. } => offsets[row] < offsets[row + 1],
        }
    }

    /// The text of a user, of a list its first.
    pub fn text(&self, row: usize) -> Option<&str> {
        match self {
            Values::Number(_) => None,
            Values::Text { codes, names } => names.get(codes[row] as usize).map(String::as_str),
            Values::List { .. } => self.list(row).next().map(|(name, _)| name),
        }
    }

    /// The number of a user.
    pub fn number(&self, row: usize) -> Option<f64> {
        match self {
            Values::Number(numbers) => Some(numbers[row]).filter(|number| !number.is_nan()),
            _ => None,
        }
    }

    /// The names of a user with their figures, best first; none of any other type.
    pub fn list(&self, row: usize) -> impl Iterator<Item = (&str, f64)> {
        let (range, codes, figures, names): (_, &[u32], &[f64], &[String]) = match self {
            Values::List { offsets, codes, figures, names } => {
                (offsets[row] as usize..offsets[row + 1] as usize, codes, figures, names)
            }
            _ => (0..0, &[], &[], &[]),
        };
        range.map(move |at| (names[codes[at] as usize].as_str(), figures[at]))
    }
}

impl Column {
    /// A value a user from texts.
    pub(crate) fn texts<'a>(texts: impl Iterator<Item = Option<&'a str>>, evidence: Vec<u32>) -> Column {
        let mut names = Names::default();
        let codes = texts.map(|text| text.map_or(NONE, |text| names.code(text))).collect();
        Column { values: Values::Text { codes, names: names.names }, evidence }
    }

    /// Number of users with a value.
    pub fn count(&self) -> usize {
        (0..self.values.len()).filter(|row| self.values.has(*row)).count()
    }

    /// The same for users of a longer list: row `places[i]` of it is row `i` of this one, the others have no value.
    pub(crate) fn spread(self, places: &[u32], users: usize) -> Column {
        if places.len() == users {
            return self;
        }
        let mut evidence = vec![0; users];
        places.iter().zip(&self.evidence).for_each(|(place, count)| evidence[*place as usize] = *count);
        let values = match self.values {
            Values::Number(numbers) => {
                let mut all = vec![f64::NAN; users];
                places.iter().zip(numbers).for_each(|(place, number)| all[*place as usize] = number);
                Values::Number(all)
            }
            Values::Text { codes, names } => {
                let mut all = vec![NONE; users];
                places.iter().zip(codes).for_each(|(place, code)| all[*place as usize] = code);
                Values::Text { codes: all, names }
            }
            Values::List { offsets, codes, figures, names } => {
                let mut all = vec![0; users + 1];
                for (row, place) in places.iter().enumerate() {
                    all[*place as usize + 1] = offsets[row + 1] - offsets[row];
                }
                (0..users).for_each(|row| all[row + 1] += all[row]);
                Values::List { offsets: all, codes, figures, names }
            }
        };
        Column { values, evidence }
    }
}

/// Names with their places, in the order in which they came.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    pub names: Vec<String>,
    places: HashMap<String, u32>,
}

impl Names {
    pub(crate) fn code(&mut self, name: &str) -> u32 {
        match self.places.get(name) {
            Some(place) => *place,
            None => {
                let place = self.names.len() as u32;
                self.places.insert(name.to_owned(), place);
                self.names.push(name.to_owned());
                place
            }
        }
    }

    pub(crate) fn extend<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            self.code(name);
        }
    }

    pub(crate) fn find(&self, name: &str) -> u32 {
        self.places.get(name).copied().unwrap_or(NONE)
    }

    /// The same names, sorted.
    pub(crate) fn sorted(mut self) -> Names {
        self.names.sort_unstable();
        self.places = self.names.iter().enumerate().map(|(place, name)| (name.clone(), place as u32)).collect();
        self
    }
}
