//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::civil::Date;
use lookalike_retrieve::Metric;
use lookalike_train::MOST_TRIALS;
use lookalike_train::device::DeviceChoice;

/// From purchases to embeddings, an index and recommendations: real files in, measured numbers out.
#[derive(Parser)]
#[command(name = "lookalike", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb understands.
#[derive(Args)]
pub struct Common {
    /// Folder with a `lookalike.toml`
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    pub project: PathBuf,
    /// Where to compute: auto, gpu, cpu, or gpu:NAME for an adapter whose name contains NAME
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceChoice,
    /// Seed of every random choice: same seed, same device, same bytes
    #[arg(long, global = true, default_value_t = 42, value_name = "N")]
    pub seed: u64,
    /// Print the result as one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress and no remarks on stderr, errors excepted
    #[arg(long, global = true)]
    pub quiet: bool,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Read the project's sources into its store, and say what was kept, fixed and quarantined
    Ingest,
    /// Compute the tags of every user as of a day, and keep them as a snapshot
    Profile(Profile),
    /// Find clusters of users, and say what sets a segment apart
    #[command(subcommand)]
    Segment(Segment),
    /// Train a model, evaluate it beside the baselines, export it and build its index
    Train(Train),
    /// Evaluate a trained run again, beside all baselines
    Evaluate(OfRun),
    /// Build the index of a run anew and audit it, or one over vectors from elsewhere; ask or measure such an index
    Index(Index),
    /// Items for one user, for users that a file tells of, or for all of them
    Recommend(Recommend),
    /// The nearest items of an item, or the nearest users of a user
    Similar(Similar),
    /// What a trained model, a preset, a user, a tag or a segment is
    #[command(subcommand)]
    Show(Show),
    /// Whether the project keeps what it promises; exit code 1 where it does not
    #[command(subcommand)]
    Check(Check),
    /// Erase a person from the store and from what was made of it, and prove it
    Forget(Forget),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Profile {
    #[command(subcommand)]
    pub verb: Option<ProfileVerb>,
    /// The day: events from its midnight on are not seen [default: the day after the last event]
    #[arg(long, value_name = "DATE")]
    pub as_of: Option<Date>,
    /// Compute every tag, even those whose definition is that of the snapshot there is
    #[arg(long)]
    pub anew: bool,
}

#[derive(Subcommand)]
pub enum ProfileVerb {
    /// Compare two snapshots: which tags changed, who moved between the values of a segment, and why
    Diff {
        /// Day of the older one
        before: Date,
        /// Day of the newer one
        after: Date,
    },
    /// How true a snapshot is: each tag by its two halves, and by what happened afterwards
    Validate {
        /// Day of the profile [default: the latest there is]
        #[arg(long, value_name = "DATE")]
        as_of: Option<Date>,
        /// Compare with the same tags over the days from the profile's to this one
        #[arg(long, value_name = "DATE")]
        until: Option<Date>,
        /// How well what users said of themselves is told from what they do, by the values of this preference tag
        #[arg(long, value_name = "TAG")]
        behaviour: Option<String>,
    },
}

#[derive(Args)]
pub struct Train {
    /// A preset's name, or the path of a preset that ends in .toml
    #[arg(long, default_value = "ials", value_name = "NAME|FILE")]
    pub model: String,
    /// At most so many epochs instead of the preset's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Try N settings of the model's knobs on the validation part first, the preset among them, and train the best one
    /// [default: a look at as many as `trials` of the preset says: 2 for ials, in small, and below towers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_TRIALS)))]
    pub tune: Option<u32>,
    /// Folder for what training leaves [default: runs/MODEL in the project]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Continue from the last checkpoint of this run
    #[arg(long)]
    pub resume: bool,
}

#[derive(Args)]
pub struct OfRun {
    /// Folder of a run, as `train` printed it
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Index {
    #[command(subcommand)]
    pub verb: Option<IndexVerb>,
    /// Folder of a run, as `train` printed it
    #[arg(long, value_name = "DIR", required_unless_present = "vectors", conflicts_with = "vectors")]
    pub run: Option<PathBuf>,
    /// Vectors from elsewhere in the place of a run: .fvecs, .npy, .safetensors with one table, or a .parquet file with a
    /// column of lists
    #[arg(long, value_name = "FILE", requires = "out")]
    pub vectors: Option<PathBuf>,
    /// The file for the index of --vectors
    #[arg(long, value_name = "FILE", requires = "vectors")]
    pub out: Option<PathBuf>,
    /// By what --vectors are compared: ip, cosine or l2
    #[arg(long, default_value_t, value_name = "METRIC")]
    pub metric: Metric,
    #[command(flatten)]
    pub size: GraphSize,
}

/// How large a graph is.
#[derive(Args)]
pub struct GraphSize {
    /// Half the neighbours that an item has room for in the graph
    #[arg(long, default_value_t = lookalike_retrieve::IndexSettings::default().m, value_name = "N")]
    pub m: usize,
    /// Candidates looked at for each inserted item: more is slower and finds better neighbours
    #[arg(long, default_value_t = lookalike_retrieve::IndexSettings::default().ef_construction, value_name = "N")]
    pub ef_construction: usize,
}

#[derive(Subcommand)]
pub enum IndexVerb {
    /// Build an index over vectors, and measure recall and speed over search widths beside exact search
    Bench {
        /// The vectors: .fvecs, .npy, .safetensors or .parquet
        #[arg(long, value_name = "FILE")]
        vectors: PathBuf,
        /// The queries, in the same way
        #[arg(long, value_name = "FILE")]
        queries: PathBuf,
        /// Rows of the nearest vectors of each query, best first: .ivecs or .npy [default: computed]
        #[arg(long, value_name = "FILE")]
        truth: Option<PathBuf>,
        /// By what they are compared: ip, cosine or l2
        #[arg(long, default_value_t, value_name = "METRIC")]
        metric: Metric,
        /// Threads that build, and that ask
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = threads)]
        threads: usize,
        #[command(flatten)]
        size: GraphSize,
    },
    /// The nearest vectors of some queries, by an index that `index --vectors` made
    Search {
        /// The index
        #[arg(long, value_name = "FILE")]
        index: PathBuf,
        /// The queries: .fvecs, .npy, .safetensors or .parquet
        #[arg(long, value_name = "FILE")]
        queries: PathBuf,
        /// How many vectors for each query
        #[arg(long, default_value_t = 10, value_name = "N", value_parser = count)]
        k: usize,
        /// A file for all lists: row numbers as .ivecs or .npy, or a .parquet file with query, rank, row and score
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1024) => Ok(n),
        _ => Err("must be a whole number from 1 to 1024".into()),
    }
}

#[derive(Args)]
pub struct Recommend {
    #[command(flatten)]
    pub of: OfRun,
    /// Id of the user
    #[arg(long, value_name = "ID", required_unless_present_any = ["all", "history"], conflicts_with_all = ["all", "history"])]
    pub user: Option<String>,
    /// Users by what they had, new ones or known ones with more: a csv, tsv, jsonl or Parquet file with the columns item
    /// and, where there are such, user and weight
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub history: Option<PathBuf>,
    /// Every user, into a Parquet file
    #[arg(long, requires = "out")]
    pub all: bool,
    /// The Parquet file for --all: user, rank, item, score, and by which link of the chain the list is (model, friends, popular)
    #[arg(long, value_name = "FILE", requires = "all")]
    pub out: Option<PathBuf>,
    /// How many items
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = count)]
    pub k: usize,
    /// Let items the user already had come back, ranked by how often
    #[arg(long)]
    pub repeat: bool,
    /// Only items for which this SQL condition over the columns of the store's items is true, such as "brand = 'National'"
    #[arg(long = "where", value_name = "SQL")]
    pub condition: Option<String>,
    /// Compare with every item instead of asking the index
    #[arg(long)]
    pub exact: bool,
    /// Say of every item what adds most to its score
    #[arg(long, conflicts_with_all = ["all", "history"])]
    pub explain: bool,
}

#[derive(Args)]
pub struct Similar {
    #[command(flatten)]
    pub of: OfRun,
    /// Id of an item
    #[arg(long, value_name = "ID", required_unless_present_any = ["user", "history"], conflicts_with_all = ["user", "history"])]
    pub item: Option<String>,
    /// Id of a user
    #[arg(long, value_name = "ID", conflicts_with = "history")]
    pub user: Option<String>,
    /// Items by the users who had them: a file with the columns user and, where there are such, item and weight
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// How many neighbours
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = count)]
    pub k: usize,
}

#[derive(Subcommand)]
pub enum Show {
    /// A trained run (its folder) or a preset (its name): what it is, what it was made from, how good it is
    Model {
        /// Folder of a run, or name of a preset
        name: String,
    },
    /// The portrait of a user on one screen: who, what, when, which stage, how sure
    User {
        /// Id of the user
        id: String,
        #[command(flatten)]
        of: OfDay,
        /// Explain one tag: its definition, the events behind it, its version, when it expires
        #[arg(long, value_name = "TAG")]
        why: Option<String>,
    },
    /// All tags with their counts
    Tags {
        #[command(flatten)]
        of: OfDay,
    },
    /// A tag: its definition, its values, how many users have them
    Tag {
        /// Name of the tag, such as consumption/value/spend
        name: String,
        #[command(flatten)]
        of: OfDay,
    },
    /// A segment: its values, how many users have them, what is done for these
    Segment {
        /// Name of the tag whose values divide the users
        name: String,
        #[command(flatten)]
        of: OfDay,
    },
}

#[derive(Subcommand)]
pub enum Segment {
    /// Cluster users by numeric tags or by what a model learned, or learn rules that tell the values of a tag by them, and leave that as a tag of the
    /// project
    Fit {
        /// Name of the new tag, such as segment/behaviour
        name: String,
        /// Tags that are numbers, with commas between
        #[arg(long, value_name = "TAGS", value_delimiter = ',', required_unless_present = "run")]
        on: Vec<String>,
        /// Cluster by the vectors of users that this run learned, given from the project's folder on; --on then names the
        /// numbers that rules may use
        #[arg(long, value_name = "DIR", conflicts_with = "target")]
        run: Option<String>,
        /// With --run, in the place of clusters: how near each user is to the items for which this SQL condition is true
        #[arg(long, value_name = "SQL", requires = "run", conflicts_with_all = ["on", "k", "most"])]
        items: Option<String>,
        /// Rules that tell the values of this tag, in the place of clusters
        #[arg(long, value_name = "TAG", conflicts_with_all = ["k", "most"])]
        target: Option<String>,
        /// The most comparisons of a rule, with --target
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
        depth: u32,
        /// How many clusters [default: the most that are stable]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
        k: Option<u32>,
        /// The most clusters that are tried
        #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=50))]
        most: u32,
    },
    /// What is more common among the users of a segment than among all
    Describe {
        /// Name of a tag with values
        name: String,
        /// This value alone
        #[arg(long, value_name = "VALUE")]
        value: Option<String>,
        #[command(flatten)]
        of: OfDay,
    },
    /// How the values of two segments overlap, or how users moved between the values of one since an earlier day
    Compare {
        /// Name of a tag with values
        first: String,
        /// Name of another
        #[arg(required_unless_present = "since")]
        second: Option<String>,
        /// Day of an earlier profile: who moved from which value to which since then
        #[arg(long, value_name = "DATE", conflicts_with = "second")]
        since: Option<Date>,
        #[command(flatten)]
        of: OfDay,
    },
}

/// Which profile is looked at, and how it is read out.
#[derive(Args)]
pub struct OfDay {
    /// Day of the profile [default: the latest there is]
    #[arg(long, value_name = "DATE")]
    pub as_of: Option<Date>,
    /// Language of the titles
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    pub lang: Language,
}

/// A language that titles are there in.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// English
    En,
    /// 中文
    Zh,
}

#[derive(Subcommand)]
pub enum Check {
    /// Contracts, freshness and drift of the store
    Data {
        /// The day on which data must be fresh, as in 2017-11-27 [default: now]
        #[arg(long, value_name = "DATE")]
        as_of: Option<String>,
        /// Another project, against whose store drift is measured [default: the first half of the time]
        #[arg(long, value_name = "DIR")]
        against: Option<PathBuf>,
    },
    /// The nine principles of a system of tags, by the latest profile and the one before it
    Tags,
    /// Small groups and telling combinations in the latest profile
    Privacy,
}

#[derive(Args)]
pub struct Forget {
    /// Id of the person
    #[arg(value_name = "USER")]
    pub user: String,
    /// Do it; without this it is only said what would be erased
    #[arg(long)]
    pub yes: bool,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=10_000) => Ok(n),
        _ => Err("must be a whole number from 1 to 10000".into()),
    }
}
