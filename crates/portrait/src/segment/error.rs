//! Why people cannot be divided as was asked.

/// Numbers, labels or settings of which no segments can be made; a message is one sentence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Numbers that a figure of crate measure cannot be made of.
    #[error(transparent)]
    Measure(#[from] lookalike_measure::Error),
    /// A table with more or fewer numbers than its rows need.
    #[error("{numbers} numbers are no rows of {columns} columns for {rows} people")]
    Shape {
        /// How many numbers there are.
        numbers: usize,
        /// How many people there are.
        rows: usize,
        /// How many numbers each should have.
        columns: usize,
    },
    /// A number that is infinite or not a number.
    #[error("column {column} of row {row} is {value}, which is not finite")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// What stands there.
        value: f64,
    },
    /// There is nobody to divide.
    #[error("there is nobody to divide")]
    Nobody,
    /// A setting outside its range.
    #[error("`{setting}` is {value}, not {wanted}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Its value as text.
        value: String,
        /// What it may be.
        wanted: &'static str,
    },
    /// More clusters than there are different rows.
    #[error("{clusters} clusters cannot be made of {distinct} different rows")]
    TooManyClusters {
        /// Clusters asked for.
        clusters: usize,
        /// Different rows there are.
        distinct: usize,
    },
    /// Cut points that do not ascend.
    #[error("cut point {at} is not above the one before it")]
    CutsNotAscending {
        /// Its position, from 0.
        at: usize,
    },
    /// Days of one person that are not in ascending order.
    #[error("day {at} of a person is before the one in front of it")]
    DaysNotAscending {
        /// Its position, from 0.
        at: usize,
    },
    /// Members of a segment that are not in ascending order, each once.
    #[error("member {at} of segment {segment} is not above the one before it")]
    MembersNotAscending {
        /// The segment, from 0.
        segment: usize,
        /// Position of the member, from 0.
        at: usize,
    },
    /// A member of a segment who is nobody.
    #[error("member {person} of segment {segment} is not one of {people} people")]
    UnknownPerson {
        /// The segment, from 0.
        segment: usize,
        /// The number of the person.
        person: u32,
        /// How many people there are.
        people: u64,
    },
    /// A label for which there is no segment.
    #[error("label {label} of person {person} is not below {segments}")]
    UnknownLabel {
        /// The label.
        label: u32,
        /// The person, from 0.
        person: usize,
        /// How many segments there are.
        segments: usize,
    },
    /// A count that contradicts another.
    #[error("tag value {at} has {part} people where there are {whole}")]
    Count {
        /// Position of the tag value, from 0.
        at: usize,
        /// How many were counted.
        part: u64,
        /// How many there can be.
        whole: u64,
    },
    /// What linfa said of a k-means that should have been fine.
    #[error("k-means with {clusters} clusters failed")]
    KMeans {
        /// Clusters asked for.
        clusters: usize,
        /// What it said.
        #[source]
        source: KMeansError,
    },
}

/// What linfa said, as text, so that its types stay inside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KMeansError(pub(crate) String);

/// What the functions of this module return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A setting outside its range.
pub(crate) fn setting(setting: &'static str, value: impl ToString, wanted: &'static str) -> Error {
    Error::Setting { setting, value: value.to_string(), wanted }
}
