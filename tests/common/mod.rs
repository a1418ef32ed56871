//! A small shop with planted groups of taste, and the one way in which these tests run the program.
#![allow(dead_code, reason = "every test file compiles this module and uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub const USERS: usize = 100;
pub const ITEMS: usize = 120;
/// Every user buys mostly within a group of items; user and item numbers share it by their remainder.
pub const GROUPS: usize = 4;

pub const TOML: &str = r#"[project]
name = "corner-shop"
timezone = "Europe/Berlin"

[sources.lines]
path = "lines.csv"
table = "events"
kind = "purchase"
at = { column = "at", stored_as = "UTC" }
map = { user = "who", item = "what", value = "paid" }

[sources.shelf]
path = "shelf.csv"
table = "items"
map = { item = "what", title = "name", category = ["aisle", "sort"], brand = "brand" }

[sources.people]
path = "people.csv"
table = "users"
map = { user = "who", age = "age" }

[interactions]
kinds = { purchase = 1.0 }
split = { kind = "time", test_from = "2024-06-01", validation_days = 28 }
"#;

/// A preset that is slow enough to be interrupted: large equations, and no early end.
const SLOW: &str = r#"kind = "ials"
when = "A test interrupts it."
dim = 160
epochs = 24
patience = 24
trials = 2
alpha0 = 0.1
reg = 0.003
nu = 1.0
confidence = "log"
"#;

/// A SplitMix64 generator (Steele et al. 2014): seeded, small, and good enough for test data.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }
}

/// The purchases: 40 of each user in the first half of 2024, nine in ten of them within the user's group.
pub fn lines() -> String {
    let mut random = Random(1);
    let mut text = String::from("who,what,at,paid\n");
    for user in 0..USERS {
        for _ in 0..40 {
            let group = if random.below(10) == 0 { random.below(GROUPS) } else { user % GROUPS };
            let item = random.below(ITEMS / GROUPS) * GROUPS + group;
            let (month, day, hour) = (1 + random.below(6), 1 + random.below(28), random.below(24));
            let cents = 100 + random.below(900);
            let stamp = format!("2024-{month:02}-{day:02} {hour:02}:30:00");
            text += &format!("u{user:02},i{item:03},{stamp},{}.{:02}\n", cents / 100, cents % 100);
        }
    }
    text
}

/// Every item is sold for 60 days and then no more, so what is bought of late says what is bought next. The factorization
/// is not told. Users have their own favourites, which they buy again.
pub fn drifting() -> String {
    let (mut text, mut random) = ("who,what,at,paid\n".to_owned(), Random(7));
    for user in 0..USERS {
        for day in (0..180).step_by(2) {
            let first = (day * 2 / 3usize).saturating_sub(40);
            let item = if random.below(3) == 0 { user % 40 } else { 40 + first + random.below(40) };
            let (month, of_month, cents) = (1 + day / 30, 1 + day % 28, 100 + item * 10);
            let (hour, paid) = (random.below(20), format!("{}.{:02}", cents / 100, cents % 100));
            text += &format!("u{user:02},i{item:03},2024-{month:02}-{of_month:02} {hour:02}:30:00,{paid}\n");
        }
    }
    text
}

fn shelf(title: impl Fn(usize) -> String) -> String {
    let item = |n: usize| format!("i{n:03},{},aisle {},sort {},brand {}\n", title(n), n % GROUPS, n % 12, n % 7);
    "what,name,aisle,sort,brand\n".to_owned() + &(0..ITEMS).map(item).collect::<String>()
}

fn people() -> String {
    let user = |n: usize| format!("u{n:02},{}\n", ["young", "middle", "old"][n % 3]);
    "who,age\n".to_owned() + &(0..USERS).map(user).collect::<String>()
}

/// A project folder that goes away with the test.
pub struct Shop(TempDir);

impl Shop {
    pub fn new() -> Self {
        let shop = Self(TempDir::new().unwrap());
        shop.write("lookalike.toml", TOML).write("lines.csv", lines());
        shop.write("shelf.csv", shelf(|n| format!("Product {n}")))
            .write("people.csv", people())
            .write("slow.toml", SLOW);
        shop
    }

    /// A shop whose project file has one text replaced.
    pub fn with(from: &str, to: &str) -> Self {
        let shop = Self::new();
        assert!(TOML.contains(from), "{from}");
        shop.write("lookalike.toml", TOML.replacen(from, to, 1));
        shop
    }

    /// A shop whose items have such long titles that their table is by far the largest file of a bundle.
    pub fn wordy() -> Self {
        let shop = Self::new();
        let word = |seed: u64| format!("{:016x}", Random(seed).below(usize::MAX));
        shop.write("shelf.csv", shelf(|n| (0..300).map(|nth| word(n as u64 * 1000 + nth)).collect()));
        shop
    }

    /// A shop with a quickly trained run in `runs/ials`.
    pub fn trained() -> Self {
        let shop = Self::new();
        shop.train(&["--epochs", "4", "--quiet"]).ok();
        shop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    /// A command on this project, not started yet. It runs in the project's folder, as a user would.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookalike"));
        command.args(args).current_dir(self.0.path()).env("RUST_BACKTRACE", "1");
        // Without it some graphics drivers complain on stderr.
        command.env("XDG_RUNTIME_DIR", self.0.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        Said::from(self.command(args).output().unwrap())
    }

    /// Trains on the CPU, whatever else the computer has.
    pub fn train(&self, args: &[&str]) -> Said {
        self.run(&[&["train", "--device", "cpu"], args].concat())
    }

    /// Starts training the slow preset into `runs/slow` and does not wait.
    pub fn start_slow(&self, args: &[&str]) -> Child {
        let args = [&["train", "--device", "cpu", "--model", "slow.toml"], args].concat();
        self.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs under a limit on the size of any one file, which is what a full disk looks like to the program.
    pub fn run_with_small_files(&self, kib: u32, args: &[&str]) -> Said {
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_lookalike")]).args(args).current_dir(self.0.path());
        Said::from(command.output().unwrap())
    }

    /// Every file below a folder, by its path there.
    pub fn files(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path(folder)];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(&next).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(files.insert(path.clone(), std::fs::read(&path).unwrap())),
                }
            }
        }
        let root = self.path(folder);
        files.into_iter().map(|(path, bytes)| (path.strip_prefix(&root).unwrap().to_owned(), bytes)).collect()
    }

    /// Changes one file of a folder through its bytes.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> &Self {
        let mut bytes = std::fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        self.write(name, bytes)
    }
}

/// What the program left: its exit code and what it wrote.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self
    }

    /// The command succeeded and stdout holds these texts.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        let said = self.ok();
        parts.iter().for_each(|part| assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out));
        said
    }

    /// The command succeeded and stdout is one JSON document.
    #[track_caller]
    pub fn json(self) -> Value {
        let said = self.ok();
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}:\n{}", said.out))
    }

    /// The command ended with this code, and stderr is an error in plain words that holds these texts.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.starts_with("error: "), "{}", self.err);
        parts.iter().for_each(|part| assert!(self.err.contains(part), "`{part}` is not in:\n{}", self.err));
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace", "unwrap"] {
            assert!(!self.err.contains(word), "{}", self.err);
        }
        self
    }

    /// The same with advice after the error.
    #[track_caller]
    pub fn hints(self, code: i32, parts: &[&str]) {
        let said = self.fails(code, parts);
        assert!(said.err.lines().any(|line| line.starts_with("hint: ")), "no hint in: {}", said.err);
    }
}

/// Waits until `ready` or the end of the child; whether the child still runs.
pub fn wait_until(child: &mut Child, ready: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if ready() {
            return true;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "nothing happened for two minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Rows of a Parquet file as text, fields divided by bars.
pub fn parquet_rows(path: &Path) -> Vec<String> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let file = std::fs::File::open(path).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1024).unwrap();
    let options = FormatOptions::default();
    let rows = reader.flat_map(|batch| {
        let batch = batch.unwrap();
        let column = |at| ArrayFormatter::try_new(batch.column(at), &options).unwrap();
        let columns: Vec<_> = (0..batch.num_columns()).map(column).collect();
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    });
    rows.collect()
}

/// Cells of Parquet files below a folder that are this text.
pub fn cells(folder: &Path, text: &str) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => found += cells(&path, text),
            Some("parquet") => {
                let rows = parquet_rows(&path);
                found += rows.iter().flat_map(|row| row.split('|')).filter(|cell| *cell == text).count();
            }
            _ => {}
        }
    }
    found
}
